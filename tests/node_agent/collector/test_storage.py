"""Sweeping beside a real registry: what nothing refers to goes, all else can still be pulled."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from devbox.cli.server.collecting import collect
from devbox.edge.registry import Registry
from devbox.edge.registry.documents import CONFIG, MANIFEST
from devbox.edge.registry.images import assemble
from devbox.edge.tasks import Tasks
from devbox.model.errors import BadInput, Conflict, DevboxError
from node_agent.agent.saving import Saving
from node_agent.collector.storage import Ages, Storage
from node_agent.collector.sweeping import Sweeping
from tests.support.registry import RegistryServer, running_registry

LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
NOW = Ages(young_s=0, grace_s=0, leftover_s=0)
LATER = Ages(young_s=0, grace_s=3600, leftover_s=3600)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    with running_registry(tmp_path) as running:
        yield running


@pytest.fixture
async def registry(server: RegistryServer) -> AsyncIterator[Registry]:
    async with Registry(server.url) as client:
        yield client


async def push(registry: Registry, repository: str, *layers: bytes, tag: str = "save-1") -> str:
    """An image of these layers; gives its digest."""
    blobs = [await registry.put_blob(repository, layer, LAYER) for layer in layers]
    made = assemble({"architecture": "amd64"}, blobs, {"of": repository})
    await registry.put_blob(repository, made.config, CONFIG)
    await registry.put_manifest(repository, made.manifest, MANIFEST, tag)
    return made.digest


async def pull(registry: Registry, repository: str, tag: str = "save-1") -> list[bytes]:
    manifest = (await registry.get_manifest(repository, tag)).manifest()
    await registry.read_blob(repository, manifest.config.digest)
    return [await registry.read_blob(repository, layer.digest) for layer in manifest.layers]


@pytest.mark.smoke
async def test_a_forgotten_repository_leaves_nothing_and_others_everything(
    registry: Registry, server: RegistryServer
) -> None:
    await push(registry, "projects/a", b"shared", b"only in a")
    await registry.put_blob("projects/a", b"of a killed save", LAYER)
    await push(registry, "projects/b", b"shared", b"only in b")
    before = server.blobs()
    storage = Storage(server.root, NOW)
    storage.forget("projects/a")
    assert storage.sweep().aside == 3  # its layer, its manifest, the killed save's; one config
    assert storage.sweep().deleted == 3
    assert len(before) - len(server.blobs()) == 3
    assert await pull(registry, "projects/b") == [b"shared", b"only in b"]
    assert await registry.tags("projects/a") == ()
    assert not list(server.root.glob("**/projects/a"))
    assert storage.sweep().deleted == storage.sweep().aside == 0


async def test_what_is_linked_while_it_is_aside_is_put_back(
    registry: Registry, server: RegistryServer
) -> None:
    await push(registry, "projects/a", b"layer")
    links = server.root / "docker/registry/v2/repositories/projects/a"
    storage = Storage(server.root, LATER)
    links.rename(server.root / "hidden")
    assert storage.sweep().aside == 3
    assert not server.blobs()
    (server.root / "hidden").rename(links)
    swept = Storage(server.root, NOW).sweep()
    assert (swept.put_back, swept.aside, swept.deleted) == (3, 0, 0)
    assert await pull(registry, "projects/a") == [b"layer"]


async def test_a_blob_that_came_again_replaces_the_one_aside(
    registry: Registry, server: RegistryServer
) -> None:
    await push(registry, "projects/a", b"layer")
    storage = Storage(server.root, LATER)
    storage.forget("projects/a")
    storage.sweep()
    await push(registry, "projects/a", b"layer")
    assert Storage(server.root, NOW).sweep().aside == 0
    assert await pull(registry, "projects/a") == [b"layer"]


async def test_young_blobs_and_graces_are_waited_for(
    registry: Registry, server: RegistryServer
) -> None:
    await push(registry, "projects/a", b"layer")
    Storage(server.root).forget("projects/a")
    assert Storage(server.root).sweep().aside == 0
    assert Storage(server.root, LATER).sweep().aside == 3
    assert Storage(server.root, LATER).sweep().deleted == 0


async def test_an_upload_in_progress_goes_on_and_a_dead_one_goes(
    registry: Registry, server: RegistryServer
) -> None:
    data = os.urandom(17 << 20)
    async with registry.upload("projects/a") as upload:
        await upload.write(data)
        assert Storage(server.root, LATER).sweep().uploads == 0
        blob = await registry.put_blob("projects/b", b"digest of nothing", LAYER)
        assert Storage(server.root, NOW).sweep().uploads == 1
    assert await registry.blob_size("projects/b", blob.digest) == blob.size


async def test_trim_takes_what_no_manifest_needs(
    registry: Registry, server: RegistryServer
) -> None:
    await push(registry, "projects/a", b"layer")
    await registry.put_blob("projects/a", b"of a killed save", LAYER)
    assert Storage(server.root, LATER).trim("projects/a") == 0
    storage = Storage(server.root, NOW)
    assert storage.trim("projects/a") == 1
    assert storage.trim("projects/a") == 0
    storage.sweep()
    assert storage.sweep().deleted == 1
    assert await pull(registry, "projects/a") == [b"layer"]


async def test_trim_leaves_a_repository_alone_that_it_cannot_read(
    registry: Registry, server: RegistryServer
) -> None:
    digest = await push(registry, "projects/a", b"layer")
    await registry.put_blob("projects/a", b"other", LAYER)
    name = digest.removeprefix("sha256:")
    next(server.root.glob(f"**/blobs/sha256/*/{name}/data")).write_bytes(b"torn")
    assert Storage(server.root, NOW).trim("projects/a") == 0


def test_one_sweep_at_a_time_and_only_names_of_repositories(server: RegistryServer) -> None:
    storage = Storage(server.root, NOW)
    with storage._alone(), pytest.raises(Conflict):
        Storage(server.root, NOW).sweep()
    for name in ("..", "../x", "a/../../b", "/etc", ""):
        with pytest.raises(BadInput):
            storage.forget(name)


async def saved(registry: Registry, mine: int, number: int) -> None:
    """As the node agent: a save that failed is made again."""
    repository, tag = f"projects/p{mine}", f"save-{number}"
    for _ in range(10):
        try:
            await push(registry, repository, b"shared %d" % number, b"own %d" % mine, tag=tag)
            await pull(registry, repository, tag)
        except DevboxError:
            await asyncio.sleep(0.3)
        else:
            return
    raise AssertionError("the save never succeeded")


async def test_saves_go_on_while_everything_deleted_is_swept(
    registry: Registry, server: RegistryServer
) -> None:
    """Projects come and go with the same layers while one is swept again and again."""
    storage = Storage(server.root, Ages(young_s=0, grace_s=1, leftover_s=3600))

    async def pushes(mine: int) -> None:
        for number in range(10):
            await saved(registry, mine, number)
            assert await pull(registry, f"projects/p{mine}", f"save-{number}")

    async def comes_and_goes() -> None:
        for number in range(10):
            await push(registry, "projects/gone", b"shared %d" % number)
            await asyncio.to_thread(storage.forget, "projects/gone")

    work = asyncio.gather(pushes(1), pushes(2), comes_and_goes())
    while not work.done():
        await asyncio.to_thread(storage.sweep)
    await work
    for mine in (1, 2):
        for number in range(10):
            assert len(await pull(registry, f"projects/p{mine}", f"save-{number}")) == 2


async def test_a_want_is_swept_within_its_graces(
    registry: Registry, server: RegistryServer
) -> None:
    await push(registry, "projects/a", b"layer")
    keep = await push(registry, "projects/b", b"other")
    ages = Ages(young_s=0.05, grace_s=0.05, leftover_s=3600)
    sweeping = Sweeping(server.root, ages)
    saving = Saving.__new__(Saving)
    saving._running, saving._held, saving._wake = {}, set(), asyncio.Event()
    async with Tasks("sweeping") as tasks:
        tasks.start(sweeping.run(saving.hold), "sweeping", vital=True)
        await sweeping.forget("projects/a")
        async with asyncio.timeout(10):
            while len(server.blobs()) > 3:
                await asyncio.sleep(0.02)
    assert await registry.manifest_digest("projects/b", "save-1") == keep


async def test_gc_by_hand_needs_no_server(registry: Registry, server: RegistryServer) -> None:
    await push(registry, "projects/a", b"layer")
    Storage(server.root).forget("projects/a")
    server.kill()
    done = collect(server.root, NOW)
    assert done.deleted == 3
    assert done.freed_bytes > 0
    assert not server.blobs()
    assert collect(server.root / "nothing").deleted == 0
