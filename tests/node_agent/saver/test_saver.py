"""The saver's processes: steps in order, cancelled and killed workers, the registry's upkeep."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from devbox.edge.registry import Registry
from devbox.model.errors import NotFound, Unavailable
from devbox.model.projects import Image
from devbox.model.saves import SaveStep
from node_agent.saver import Saver
from tests.node_agent.saver.saves import order
from tests.support.registry import RegistryServer
from tests.support.saved_images import push_base, unpack_with_umoci
from tests.support.trees import differences, facts


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    path = tmp_path / "upper"
    (path / "dir").mkdir(parents=True)
    (path / "dir" / "file").write_text("content")
    return path


@pytest.fixture
async def base(registry: Registry, tmp_path: Path) -> Image:
    tree = tmp_path / "base"
    tree.mkdir()
    (tree / "from-base").write_text("base")
    return await push_base(registry, "runtimes/plain", tree)


@pytest.fixture
async def saver(registry: Registry) -> AsyncIterator[Saver]:
    async with Saver(registry) as saver:
        yield saver


def workers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "node_agent.saver.worker" in child.cmdline()]


@pytest.mark.smoke
async def test_steps_are_recorded_before_the_next_begins(
    saver: Saver, registry: Registry, upper: Path, base: Image, tmp_path: Path
) -> None:
    seen: list[tuple[SaveStep, bool]] = []

    async def on_step(step: SaveStep) -> None:
        await asyncio.sleep(0)
        there = await registry.manifest_digest("projects/u1", "save-1") is not None
        seen.append((step, there))

    saved = await saver.save(
        order(upper, base, tmp_path / "index", tags=("save-1", "release-v1")), on_step=on_step
    )
    assert seen == [(SaveStep.WRITTEN, False), (SaveStep.PUSHED, True)]
    assert await registry.manifest_digest("projects/u1", "release-v1") == saved.image.digest
    unpacked = await unpack_with_umoci(registry, saved.image, tmp_path / "out")
    assert (unpacked / "from-base").read_text() == "base"
    (unpacked / "from-base").unlink()
    os.utime(unpacked, ns=(0, upper.stat().st_mtime_ns))
    assert differences(facts(upper), facts(unpacked)) == []


async def test_a_cancelled_save_ends_its_worker_and_can_be_made_again(
    saver: Saver, upper: Path, base: Image, tmp_path: Path
) -> None:
    written = asyncio.Event()

    async def on_step(step: SaveStep) -> None:
        written.set()
        await asyncio.Event().wait()

    ordered = order(upper, base, tmp_path / "index", "cancelled")
    task = asyncio.gather(saver.save(ordered, on_step=on_step))
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert workers() == []
    assert not (tmp_path / "index").exists()
    assert (await saver.save(ordered)).changed


async def test_a_killed_worker_is_told_as_a_failure(
    saver: Saver, upper: Path, base: Image, tmp_path: Path
) -> None:
    async def on_step(step: SaveStep) -> None:
        for worker in workers():
            worker.kill()

    ordered = order(upper, base, tmp_path / "index", "killed")
    with pytest.raises(Unavailable, match="in the middle"):
        await saver.save(ordered, on_step=on_step)
    assert (await saver.save(ordered)).layers == 1


async def test_a_missing_base_is_told(
    saver: Saver, upper: Path, base: Image, tmp_path: Path
) -> None:
    gone = Image(repository="runtimes/gone", digest=base.digest, architecture="amd64")
    with pytest.raises(NotFound):
        await saver.save(order(upper, gone, tmp_path / "index", "baseless"))


async def test_a_worker_is_used_again(
    saver: Saver, upper: Path, base: Image, tmp_path: Path
) -> None:
    before = workers()
    for number in range(2):
        await saver.save(order(upper, base, tmp_path / "index", f"again-{number}", full=True))
    assert workers() == before


async def test_a_dropped_repository_holds_nothing(
    saver: Saver, registry: Registry, upper: Path, base: Image, tmp_path: Path
) -> None:
    saved = await saver.save(order(upper, base, tmp_path / "index", "dropped", tags=("save-1",)))
    (upper / "more").write_text("more")
    more = await saver.save(order(upper, base, tmp_path / "index", "dropped", tags=("save-2",)))
    _, document = await registry.image(more.image.repository, more.image.digest)
    await saver.drop_repository("projects/dropped")
    assert await registry.tags("projects/dropped") == ()
    for digest in (saved.image.digest, more.image.digest):
        assert await registry.manifest_digest("projects/dropped", digest) is None
    for layer in document.manifest.layers:
        assert await registry.blob_size("projects/dropped", layer.digest) is None
    assert await registry.manifest_digest(base.repository, base.digest) == base.digest


async def test_dropped_saves_leave_what_others_use(
    saver: Saver, registry: Registry, upper: Path, base: Image, tmp_path: Path
) -> None:
    saves = []
    for number in range(3):
        (upper / "file").write_text(str(number))
        ordered = order(upper, base, tmp_path / "index", "some", tags=(f"save-{number}",))
        saves.append(await saver.save(ordered))
    _, middle = await registry.image("projects/some", saves[1].image.digest)
    await saver.drop_images("projects/some", (saves[0].image.digest, saves[1].image.digest), ())
    assert await registry.tags("projects/some") == ("save-2",)
    assert await registry.blob_size("projects/some", middle.manifest.config.digest) is None
    unpacked = await unpack_with_umoci(registry, saves[2].image, tmp_path / "out")
    assert (unpacked / "file").read_text() == "2"


async def test_killed_at_any_moment_the_next_try_is_one_complete_save(
    saver: Saver, registry: Registry, upper: Path, base: Image, tmp_path: Path
) -> None:
    (upper / "large").write_bytes(os.urandom(20 << 20))
    ordered = order(upper, base, tmp_path / "index", "torn", tags=("save-1",))
    for number in range(6):
        (upper / "large").write_bytes(os.urandom(20 << 20))
        task = asyncio.gather(saver.save(ordered))
        done, _ = await asyncio.wait([task], timeout=0.02 * 2**number)
        if not done:
            for worker in workers():
                worker.kill()
        with contextlib.suppress(Unavailable):
            await task
    saved = await saver.save(ordered)
    assert await registry.tags("projects/torn") == ("save-1",)
    assert await registry.manifest_digest("projects/torn", "save-1") == saved.image.digest
    unpacked = await unpack_with_umoci(registry, saved.image, tmp_path / "out")
    assert (unpacked / "large").read_bytes() == (upper / "large").read_bytes()
    assert list(tmp_path.glob("index*")) == [tmp_path / "index"]


async def test_an_image_is_copied_to_another_project(
    saver: Saver, registry: Registry, upper: Path, base: Image, tmp_path: Path
) -> None:
    saved = await saver.save(order(upper, base, tmp_path / "index", "source"))
    copied = await saver.copy_image(saved.image, "projects/target", "base")
    assert copied.digest == saved.image.digest
    assert await registry.manifest_digest("projects/target", "base") == copied.digest


async def test_a_registry_that_dies_in_the_middle_leaves_the_last_save(
    upper: Path, tmp_path: Path, server: RegistryServer
) -> None:
    async with Registry(server.url) as registry, Saver(registry) as saver:
        tree = tmp_path / "plain"
        tree.mkdir()
        base = await push_base(registry, "runtimes/plain", tree)
        ordered = order(upper, base, tmp_path / "index", "dies")
        first = await saver.save(ordered)
        (upper / "big").write_bytes(os.urandom(24 << 20))

        async def on_step(step: SaveStep) -> None:
            server.kill()

        with pytest.raises(Unavailable):
            await saver.save(ordered, on_step=on_step)
        server.start()
        assert await registry.manifest_digest("projects/dies", first.image.digest)
        again = await saver.save(ordered)
        assert again.layers == 2
