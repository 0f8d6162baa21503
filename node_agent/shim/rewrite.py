"""What intercepted CRI messages become. Pure; fields that we do not know survive."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from devbox.edge.cri.proto import runtime_pb2 as cri
from devbox.model.nodes import BOX_DIRECTORY
from node_agent.shim.usage import Usage

BUNDLE_DIRECTORY = "/.devbox"
INIT = f"{BUNDLE_DIRECTORY}/bin/devbox-init"
PROJECT_LABEL = "devbox.dev/project"
"""On a box's sandbox. It makes nothing a box: it only says that one was meant."""


def make_box(request: cri.CreateContainerRequest, *, bundle: Path, box: Path) -> None:
    """Turn a plain container into a box: two mounts, and init as its command."""
    config = request.config
    kept = [mount for mount in config.mounts if not _is_ours(mount.container_path)]
    del config.mounts[:]
    config.mounts.extend(kept)
    config.mounts.add(container_path=BUNDLE_DIRECTORY, host_path=str(bundle), readonly=True)
    config.mounts.add(container_path=BOX_DIRECTORY, host_path=str(box))
    del config.command[:]
    del config.args[:]
    config.command.append(INIT)


def _is_ours(path: str) -> bool:
    return path == BUNDLE_DIRECTORY or path.startswith(f"{BUNDLE_DIRECTORY}/")


def has_user_namespace(request: cri.CreateContainerRequest) -> bool:
    """Does the pod have a user namespace of its own?"""
    contexts = (
        request.config.linux.security_context.namespace_options,
        request.sandbox_config.linux.security_context.namespace_options,
    )
    return any(
        options.HasField("userns_options") and options.userns_options.mode == cri.POD
        for options in contexts
    )


def _one(answer: cri.ContainerStatsResponse) -> Iterable[cri.ContainerStats]:
    return [answer.stats]


def _listed(answer: cri.ListContainerStatsResponse) -> Iterable[cri.ContainerStats]:
    return answer.stats


def _streamed(answer: cri.StreamContainerStatsResponse) -> Iterable[cri.ContainerStats]:
    return answer.container_stats


def _pod(answer: cri.PodSandboxStatsResponse) -> Iterable[cri.ContainerStats]:
    return answer.stats.linux.containers


def _pods(answer: cri.ListPodSandboxStatsResponse) -> Iterable[cri.ContainerStats]:
    return [stats for pod in answer.stats for stats in pod.linux.containers]


def _streamed_pods(answer: cri.StreamPodSandboxStatsResponse) -> Iterable[cri.ContainerStats]:
    return [stats for pod in answer.pod_sandbox_stats for stats in pod.linux.containers]


Fill = Callable[[bytes, Mapping[str, Usage]], bytes]


def _filler(answer_type: type, stats_of: Callable[..., Iterable[cri.ContainerStats]]) -> Fill:
    def fill(data: bytes, usages: Mapping[str, Usage]) -> bytes:
        answer = answer_type.FromString(data)  # type: ignore[attr-defined]
        changed = False
        for stats in stats_of(answer):
            usage = usages.get(stats.attributes.id)
            if usage and usage.bytes:
                stats.writable_layer.used_bytes.value = usage.bytes
                if usage.inodes:
                    stats.writable_layer.inodes_used.value = usage.inodes
                changed = True
        return answer.SerializeToString() if changed else data

    return fill


STATS: Mapping[str, Fill] = {
    "ContainerStats": _filler(cri.ContainerStatsResponse, _one),
    "ListContainerStats": _filler(cri.ListContainerStatsResponse, _listed),
    "StreamContainerStats": _filler(cri.StreamContainerStatsResponse, _streamed),
    "PodSandboxStats": _filler(cri.PodSandboxStatsResponse, _pod),
    "ListPodSandboxStats": _filler(cri.ListPodSandboxStatsResponse, _pods),
    "StreamPodSandboxStats": _filler(cri.StreamPodSandboxStatsResponse, _streamed_pods),
}
"""Method -> gives boxes' writable layers what their uppers use, by container id."""
