"""Saved images as containerd pulls and unpacks them."""

import os
import subprocess
from pathlib import Path

import pytest

from devbox.edge.registry import Registry
from devbox.model.projects import Image
from tests.node_agent.saver.test_save import Story, fill
from tests.support.containerd import ContainerdServer
from tests.support.overlays import Overlay
from tests.support.registry import RegistryServer
from tests.support.trees import differences, facts

pytestmark = pytest.mark.root


def mounted(containerd: ContainerdServer, server: RegistryServer, image: Image, at: Path) -> Path:
    """The image, pulled and unpacked by containerd, as a read-only mount."""
    at.mkdir()
    reference = f"{server.host}/{image.repository}@{image.digest}"
    containerd.ctr("images", "pull", "--plain-http", reference)
    containerd.ctr("images", "mount", reference, str(at))
    return at


@pytest.fixture
def story(box: Overlay, registry: Registry, tmp_path: Path) -> Story:
    for name in ("kept", "gone", "edited", "dir/inside", "dir/also", "tree/a/b/c"):
        path = box.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"base {name}")
    return Story(box, registry, tmp_path, "containerd")


async def test_containerd_sees_what_the_box_sees(
    story: Story,
    server: RegistryServer,
    containerd_server: ContainerdServer,
    tmp_path: Path,
) -> None:
    await story.begin()
    root = story.box.merged
    fill(root)
    os.utime(root / "edited", ns=(1, 1_700_000_000_123_456_789))
    await story.save()
    (root / "kept").unlink()
    subprocess.run(["rm", "-r", root / "tree"], check=True)
    (root / "tree").mkdir()
    (root / "tree" / "fresh").write_text("opaque")
    (root / "new").write_text("changed")
    saved = await story.save()
    at = tmp_path / "pulled"
    try:
        seen = mounted(containerd_server, server, saved.image, at)
        found = differences(facts(root), facts(seen))
        # containerd does not set the time of the root directory itself.
        assert [line for line in found if not line.startswith("b''.mtime_ns")] == []
    finally:
        subprocess.run(["umount", at], check=False, capture_output=True)
        reference = f"{server.host}/{saved.image.repository}@{saved.image.digest}"
        containerd_server.ctr("images", "unmount", "--rm", str(at), check=False)
        containerd_server.ctr("images", "rm", reference, check=False)
