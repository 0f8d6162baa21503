"""Sandbox and container configs such as a pod driver sends."""

from collections.abc import Sequence

from devbox.edge.cri.proto import runtime_pb2 as cri
from tests.support.containerd import BUSYBOX_IMAGE

SLEEP = ("/bin/sleep", "2000000000")


def sandbox_config(
    uid: str,
    *,
    network: bool = False,
    attempt: int = 0,
    labels: dict[str, str] | None = None,
    log_directory: str = "",
) -> cri.PodSandboxConfig:
    """A pod; without a network of its own it starts faster."""
    mode = cri.POD if network else cri.NODE
    context = cri.LinuxSandboxSecurityContext(
        namespace_options=cri.NamespaceOption(network=mode, pid=cri.CONTAINER)
    )
    return cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(
            name=f"pod-{uid}", uid=uid, namespace="tests", attempt=attempt
        ),
        hostname=uid[:40] if network else "",
        log_directory=log_directory,
        labels=labels or {},
        linux=cri.LinuxPodSandboxConfig(security_context=context),
    )


def container_config(
    command: Sequence[str] = SLEEP,
    *,
    image: str = BUSYBOX_IMAGE,
    name: str = "box",
    attempt: int = 0,
    labels: dict[str, str] | None = None,
) -> cri.ContainerConfig:
    """A container that runs a command; with an empty one, what the image says."""
    context = cri.LinuxContainerSecurityContext(
        namespace_options=cri.NamespaceOption(network=cri.NODE, pid=cri.CONTAINER)
    )
    return cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=name, attempt=attempt),
        image=cri.ImageSpec(image=image),
        command=list(command),
        labels=labels or {},
        linux=cri.LinuxContainerConfig(security_context=context),
    )
