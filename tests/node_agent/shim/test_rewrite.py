"""Rewritten messages keep what we do not know."""

from pathlib import Path

from devbox.edge.cri.proto import runtime_pb2 as cri
from node_agent.shim import rewrite
from node_agent.shim.usage import Usage

CDI_DEVICES = bytes([0x8A, 0x01, 0x05]) + b"\x0a\x03gpu"
"""Field 17 of ContainerConfig, which our subset does not hold."""


def test_a_container_becomes_a_box() -> None:
    config = cri.ContainerConfig(command=["a"], args=["b"], working_dir="/w")
    config.mounts.add(container_path="/etc/hosts", host_path="/h")
    config.mounts.add(container_path="/.devbox/box", host_path="/evil")
    raw = config.SerializeToString() + CDI_DEVICES
    request = cri.CreateContainerRequest(
        pod_sandbox_id="s", config=cri.ContainerConfig.FromString(raw)
    )
    rewrite.make_box(request, bundle=Path("/bundle/7"), box=Path("/boxes/pod"))
    again = cri.CreateContainerRequest.FromString(request.SerializeToString())
    assert list(again.config.command) == ["/.devbox/bin/devbox-init"]
    assert list(again.config.args) == []
    assert again.config.working_dir == "/w"
    assert [(m.container_path, m.host_path, m.readonly) for m in again.config.mounts] == [
        ("/etc/hosts", "/h", False),
        ("/.devbox", "/bundle/7", True),
        ("/.devbox/box", "/boxes/pod", False),
    ]
    assert CDI_DEVICES in again.config.SerializeToString()


def test_user_namespaces_are_seen() -> None:
    request = cri.CreateContainerRequest()
    assert not rewrite.has_user_namespace(request)
    options = request.config.linux.security_context.namespace_options
    options.userns_options.mode = cri.NODE
    assert not rewrite.has_user_namespace(request)
    options.userns_options.mode = cri.POD
    assert rewrite.has_user_namespace(request)


def stats(container_id: str, used: int) -> cri.ContainerStats:
    made = cri.ContainerStats(attributes=cri.ContainerAttributes(id=container_id))
    made.writable_layer.used_bytes.value = used
    made.writable_layer.inodes_used.value = 3
    return made


def test_only_boxes_stats_change() -> None:
    swap = bytes([0x2A, 0x02, 0x08, 0x07])
    one = cri.ContainerStats.FromString(stats("box", 4096).SerializeToString() + swap)
    answer = cri.ListContainerStatsResponse(stats=[one, stats("other", 5)]).SerializeToString()
    filled = rewrite.STATS["ListContainerStats"](answer, {"box": Usage(77, 4), "empty": Usage(0)})
    known = cri.ListContainerStatsResponse.FromString(filled)
    assert [s.writable_layer.used_bytes.value for s in known.stats] == [77, 5]
    assert known.stats[0].writable_layer.inodes_used.value == 4
    assert swap in known.stats[0].SerializeToString()
    assert rewrite.STATS["ListContainerStats"](answer, {"nobody": Usage(1)}) is answer


def test_stats_of_every_shape() -> None:
    inner = stats("box", 1)
    pod = cri.PodSandboxStats(linux=cri.LinuxPodSandboxStats(containers=[inner]))
    shapes = {
        "ContainerStats": cri.ContainerStatsResponse(stats=inner),
        "StreamContainerStats": cri.StreamContainerStatsResponse(container_stats=[inner]),
        "PodSandboxStats": cri.PodSandboxStatsResponse(stats=pod),
        "ListPodSandboxStats": cri.ListPodSandboxStatsResponse(stats=[pod]),
        "StreamPodSandboxStats": cri.StreamPodSandboxStatsResponse(pod_sandbox_stats=[pod]),
    }
    expected = stats("box", 99).SerializeToString()
    for name, answer in shapes.items():
        filled = rewrite.STATS[name](answer.SerializeToString(), {"box": Usage(99, 3)})
        assert expected in filled, name
