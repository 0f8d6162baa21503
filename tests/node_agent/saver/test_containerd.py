"""Saved images as containerd pulls and unpacks them, and what containerd's own differ makes."""

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devbox.edge.registry import Registry
from tests.node_agent.saver.saves import order, save
from tests.node_agent.saver.test_save import Story, fill
from tests.support.containerd import ContainerdServer
from tests.support.overlays import Overlay
from tests.support.registry import RegistryServer
from tests.support.saved_images import layers, mounted, push_base, push_gzip
from tests.support.trees import differences, facts

pytestmark = pytest.mark.root


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
    for number, image in enumerate((saved.image, await push_gzip(story.registry, saved.image))):
        with mounted(containerd_server, server, image, tmp_path / f"pulled-{number}") as seen:
            found = differences(facts(root), facts(seen))
        # containerd does not set the time of the root directory itself.
        assert [line for line in found if not line.startswith("b''.mtime_ns")] == []


@contextmanager
def snapshot(containerd: ContainerdServer, reference: str, parent: str, at: Path) -> Iterator[Path]:
    """A container's root that containerd made of an image, mounted at `at`; its upper."""
    key = f"differ-{at.parent.name}"
    at.mkdir()
    try:
        containerd.ctr("images", "pull", "--plain-http", reference)
        containerd.ctr("snapshots", "prepare", key, parent)
        command = containerd.ctr("snapshots", "mounts", str(at), key).stdout.split()
        subprocess.run(command, check=True)
        options = command[-1].split(",")
        (upper,) = [o.removeprefix("upperdir=") for o in options if o.startswith("upperdir=")]
        yield Path(upper)
    finally:
        subprocess.run(["umount", at], check=False, capture_output=True)
        containerd.ctr("snapshots", "rm", key, check=False)
        containerd.ctr("images", "rm", reference, check=False)


def same_size_and_time(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"y" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


async def test_what_containerds_own_differ_misses_is_in_ours(
    registry: Registry,
    box: Overlay,
    server: RegistryServer,
    containerd_server: ContainerdServer,
    tmp_path: Path,
) -> None:
    for name in ("rewritten", "attribute", "seen"):
        (box.base / name).write_text(f"base {name}")
    (box.base / "owned").mkdir()
    base = await push_base(registry, "runtimes/differ", box.base)
    _, document = await registry.image(base.repository, base.digest)
    (layer,) = document.diff_ids
    reference, root = f"{server.host}/{base.repository}@{base.digest}", tmp_path / "root"
    with snapshot(containerd_server, reference, layer, root) as upper:
        same_size_and_time(root / "rewritten")
        os.setxattr(root / "attribute", "user.note", b"new")
        os.chown(root / "owned", 5, 6)
        (root / "seen").write_text("longer than before")
        theirs = differ(containerd_server, f"differ-{tmp_path.name}")
        saved = await save(registry, order(upper, base, tmp_path / "index", "differ"))
    ours = names((await layers(registry, saved.image))[-1])
    assert {"rewritten", "attribute", "owned", "seen"} <= ours
    assert "seen" in theirs
    assert not {"rewritten", "attribute"} & theirs


def differ(containerd: ContainerdServer, key: str) -> set[str]:
    """What containerd says that has changed."""
    command = ["ctr", "--address", str(containerd.socket), "--namespace", "k8s.io"]
    done = subprocess.run(
        [*command, "snapshots", "diff", key], check=True, capture_output=True, timeout=60
    )
    return names(done.stdout)


def names(raw: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as found:
        return set(found.getnames())
