"""Which cgroup freezes a container, and which images nothing needs, on a real containerd."""

from pathlib import Path

import pytest

from devbox.edge.containerd.client import Containerd
from node_agent.agent import containers
from node_agent.agent.containers import ContainerdView, freezer
from tests.support import images
from tests.support.containerd import ContainerdServer

HOST = "127.0.0.1:1"

V1 = "11:freezer:/k8s.io/abc\n4:cpu,cpuacct:/k8s.io/other\n0::/k8s.io/abc\n"


@pytest.mark.parametrize(
    ("text", "ends"),
    [(V1, "freezer/k8s.io/abc"), ("0::/k8s.io/abc\n", "k8s.io/abc")],
)
def test_freezer(text: str, ends: str) -> None:
    path = freezer(text)
    assert path is not None
    assert path.is_relative_to(Path("/sys/fs/cgroup"))
    assert str(path).endswith(ends)


def test_none() -> None:
    assert freezer("4:cpu,cpuacct:/x\n") is None


async def imported(
    server: ContainerdServer, containerd: Containerd, repository: str, config: dict[str, str]
) -> str:
    """Give containerd an image under two names; its digest."""
    made = images.build([images.busybox_layer()], config)
    for tag in ("1", "2"):
        server.import_image(made, f"{HOST}/{repository}:{tag}")
    return (await containerd.image(f"{HOST}/{repository}:1")).target.digest


@pytest.mark.root
async def test_images_that_nothing_needs_are_told_longest_untouched_first_and_go(
    containerd_server: ContainerdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    containerd = Containerd(containerd_server.socket)
    view = ContainerdView(containerd, HOST)
    found = [
        await imported(containerd_server, containerd, repository, {"WorkingDir": f"/{number}"})
        for number, repository in enumerate(("runtimes/a", "projects/b", "devbox/pause"))
    ]
    try:
        assert await view.unused_images(()) == [], "touched just now"
        monkeypatch.setattr(containers, "_FRESH_S", 0.0)
        assert await view.unused_images(()) == found[:2], "sandboxes' image is nobody's to take"
        assert await view.unused_images(found[:1]) == found[1:2]
        await containerd.label_image(f"{HOST}/runtimes/a:1", "touched", "now")
        assert await view.unused_images(()) == [found[1], found[0]]
        await view.remove_image(found[1])
        await view.remove_image(found[1])
        assert await view.unused_images(()) == found[:1]
    finally:
        for digest in found:
            await view.remove_image(digest)
        await containerd.close()


@pytest.mark.root
async def test_the_image_of_a_container_is_needed(
    containerd_server: ContainerdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "_FRESH_S", 0.0)
    containerd = Containerd(containerd_server.socket)
    view = ContainerdView(containerd, HOST)
    digest = await imported(containerd_server, containerd, "runtimes/c", {"WorkingDir": "/c"})
    try:
        assert await view.unused_images(()) == [digest]
        containerd_server.ctr("containers", "create", f"{HOST}/runtimes/c:2", "needs-it")
        assert await view.unused_images(()) == []
    finally:
        containerd_server.ctr("containers", "delete", "needs-it", check=False)
        await view.remove_image(digest)
        await containerd.close()
