"""The native client against a real containerd."""

from pathlib import Path

import pytest

from devbox.edge.containerd.client import PINNED_LABEL, Containerd
from devbox.model.errors import Conflict, NotFound, Unavailable
from tests.support.containerd import BUSYBOX_IMAGE, ContainerdServer

pytestmark = pytest.mark.root


async def test_images_content_and_labels(containerd_server: ContainerdServer) -> None:
    client = Containerd(containerd_server.socket)
    image = await client.image(BUSYBOX_IMAGE)
    manifest = await client.read_content(image.target.digest, limit=1 << 20)
    assert b"diff_ids" not in manifest
    assert (await client.content_info(image.target.digest)).size == len(manifest)
    await client.label_image(BUSYBOX_IMAGE, PINNED_LABEL, "pinned")
    assert (await client.image(BUSYBOX_IMAGE)).labels[PINNED_LABEL] == "pinned"
    await client.label_image(BUSYBOX_IMAGE, PINNED_LABEL, "")
    assert not (await client.image(BUSYBOX_IMAGE)).labels.get(PINNED_LABEL)
    assert BUSYBOX_IMAGE in {found.name for found in await client.images()}
    await client.close()


async def test_snapshots_from_prepare_to_remove(containerd_server: ContainerdServer) -> None:
    client = Containerd(containerd_server.socket)
    await client.create_lease("test-snapshots")
    mounts = await client.prepare("test-active", "", {"containerd.io/gc.root": "now"})
    assert [mount.type for mount in mounts] == ["bind"]
    assert await client.mounts("test-active") == mounts
    await client.commit("test-done", "test-active", {"containerd.io/gc.root": "now"})
    assert "test-done" in {info.name for info in await client.snapshots()}
    await client.view("test-view", "test-done", {"containerd.io/gc.root": "now"})
    with pytest.raises(Conflict):
        await client.remove_snapshot("test-done")
    await client.remove_snapshot("test-view")
    await client.remove_snapshot("test-done")
    with pytest.raises(NotFound):
        await client.stat_snapshot("test-done")
    await client.delete_lease("test-snapshots")
    assert "test-snapshots" not in {lease.id for lease in await client.leases()}
    await client.close()


async def test_what_is_not_there_and_nobody_there(
    containerd_server: ContainerdServer, tmp_path: Path
) -> None:
    client = Containerd(containerd_server.socket)
    with pytest.raises(NotFound):
        await client.container("nothing")
    with pytest.raises(NotFound):
        await client.task("nothing")
    await client.close()
    nobody = Containerd(tmp_path / "none.sock")
    with pytest.raises(Unavailable):
        await nobody.version()
    await nobody.close()
