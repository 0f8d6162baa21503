"""Every blob of a real registry is counted once, for whoever alone needs it."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from devbox.edge.registry import Registry
from devbox.edge.registry.documents import CONFIG, MANIFEST
from devbox.edge.registry.images import assemble
from node_agent.collector.blobs import Blobs, read_blobs
from node_agent.collector.storage import Ages, Storage
from tests.support.registry import RegistryServer, running_registry

LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
MIB = 1 << 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    with running_registry(tmp_path) as running:
        yield running


@pytest.fixture
async def registry(server: RegistryServer) -> AsyncIterator[Registry]:
    async with Registry(server.url) as client:
        yield client


async def push(registry: Registry, repository: str, tag: str, *layers: bytes) -> None:
    blobs = [await registry.put_blob(repository, layer, LAYER) for layer in layers]
    made = assemble({"architecture": "amd64"}, blobs, {"of": f"{repository} {tag}"})
    await registry.put_blob(repository, made.config, CONFIG)
    await registry.put_manifest(repository, made.manifest, MANIFEST, tag)


def near(count: int, mib: int) -> bool:
    """So many MiB, and configs and manifests beside them."""
    return mib * MIB <= count < mib * MIB + 128 * 1024


async def test_blobs_belong_to_runtime_releases_and_saves_in_this_order(
    registry: Registry, server: RegistryServer
) -> None:
    ground, shared, released, saved = (os.urandom(count * MIB) for count in (8, 4, 2, 1))
    await push(registry, "runtimes/python", "1", ground)
    await push(registry, "projects/a", "base", ground)
    await push(registry, "projects/a", "save-1", ground, shared, saved)
    await push(registry, "projects/a", "release-v1", ground, shared, released)
    await push(registry, "projects/b", "save-1", ground, shared)
    found = read_blobs(server.root)
    assert near(found.runtimes.pop("python"), 8)
    assert near(found.releases.pop("a"), 2)
    assert near(found.saves.pop("a"), 1)
    assert near(found.saves.pop("b"), 0)
    assert near(found.shared, 4)
    assert (found.runtimes, found.releases, found.saves, found.unused) == ({}, {}, {}, 0)


async def test_what_a_deleted_project_shared_is_the_others_and_its_own_is_waste_until_swept(
    registry: Registry, server: RegistryServer
) -> None:
    shared, own = os.urandom(4 * MIB), os.urandom(MIB)
    await push(registry, "projects/a", "save-1", shared, own)
    await push(registry, "projects/b", "save-1", shared)
    storage = Storage(server.root, Ages(young_s=0, grace_s=0, leftover_s=0))
    storage.forget("projects/a")
    found = read_blobs(server.root)
    assert near(found.saves["b"], 4)
    assert near(found.unused, 1)
    assert storage.sweep().deleted == 0
    assert near(read_blobs(server.root).unused, 1), "aside, and still on the disk"
    assert storage.sweep().deleted == 2, "its layer and its manifest; the config is one"
    after = read_blobs(server.root)
    assert (after.unused, after.shared) == (0, 0)
    assert storage.sweep().deleted == storage.sweep().aside == 0


async def test_an_upload_counts_as_waste(registry: Registry, server: RegistryServer) -> None:
    async with registry.upload("projects/a") as upload:
        await upload.write(os.urandom(17 * MIB))
        assert read_blobs(server.root).unused > 8 * MIB


def test_no_registry_has_no_blobs(tmp_path: Path) -> None:
    assert read_blobs(tmp_path / "none") == Blobs()
