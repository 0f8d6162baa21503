"""Saves of running boxes: what the image holds was on the box's disk in one moment."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devbox.edge.registry import Registry
from devbox.model.projects import Image, WhenBusy
from node_agent.saver.freezing import Freeze
from node_agent.saver.thaw_guard import Freezer
from node_agent.saver.watch import Changed, Watch
from tests.node_agent.saver.saves import order, save
from tests.support.inhabitants import cgroup, inhabitant, remove
from tests.support.overlays import Overlay
from tests.support.saved_images import push_base, unpack_with_umoci
from tests.support.trees import differences, facts

pytestmark = pytest.mark.root


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    with cgroup(f"devbox-test-{os.getpid()}-{tmp_path.name}") as path:
        yield path


@pytest.fixture
async def base(registry: Registry, box: Overlay) -> Image:
    (box.base / "etc").mkdir()
    for number in range(300):
        (box.base / f"file-{number}").write_text(str(number))
    image = await push_base(registry, "runtimes/live", box.base)
    times = box.base.stat()
    box.mount()
    os.utime(box.merged, ns=(times.st_atime_ns, times.st_mtime_ns))
    for number in range(200):
        (box.merged / f"dir-{number}").mkdir()
        (box.merged / f"dir-{number}" / "file").write_bytes(b"x" * 2000)
    return image


async def test_an_idle_box_is_saved_whole(
    registry: Registry, box: Overlay, base: Image, group: Path, tmp_path: Path
) -> None:
    with inhabitant(box.merged, group, "idle"):
        saved = await save(registry, order(box.upper, base, tmp_path / "i", cgroup=str(group)))
    assert saved.note == ""
    assert saved.layers == 1
    assert 0 < saved.frozen_ms < 500
    unpacked = await unpack_with_umoci(registry, saved.image, tmp_path / "out")
    assert differences(facts(box.merged), facts(unpacked)) == []


async def test_writes_mappings_and_names_are_of_one_moment(
    registry: Registry, box: Overlay, base: Image, group: Path, tmp_path: Path
) -> None:
    with inhabitant(box.merged, group, "pairs"):
        for number in range(3):
            ordered = order(box.upper, base, tmp_path / "i", cgroup=str(group), seq=number)
            saved = await save(registry, ordered)
            assert saved.note == ""
            of_one_moment(
                await unpack_with_umoci(registry, saved.image, tmp_path / f"out-{number}")
            )


def of_one_moment(unpacked: Path) -> None:
    """What `pairs` wrote."""
    one = int((unpacked / "one").read_bytes())
    two = int((unpacked / "two").read_bytes()[:12])
    names = sorted(int(name) for name in os.listdir(unpacked / "names"))
    assert one - two in {0, 1}
    assert two - names[-1] in {0, 1}
    assert names == list(range(names[0], names[-1] + 1))
    assert len(names) in {5, 6} or one < 6


async def test_a_lost_watch_costs_another_walk_and_not_the_moment(
    registry: Registry,
    box: Overlay,
    base: Image,
    group: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drain = Watch.drain
    watches: list[Watch] = []

    def lossy(watch: Watch) -> Changed:
        if not watches:
            watch.lost = True
        watches.append(watch)
        return drain(watch)

    monkeypatch.setattr(Watch, "drain", lossy)
    with inhabitant(box.merged, group, "pairs"):
        saved = await save(registry, order(box.upper, base, tmp_path / "i", cgroup=str(group)))
    assert saved.note == ""
    assert watches[0] is not watches[-1]
    of_one_moment(await unpack_with_umoci(registry, saved.image, tmp_path / "out"))


async def test_a_database_that_is_written_is_intact(
    registry: Registry, box: Overlay, base: Image, group: Path, tmp_path: Path
) -> None:
    with inhabitant(box.merged, group, "sqlite"):
        saved = await save(registry, order(box.upper, base, tmp_path / "i", cgroup=str(group)))
    assert saved.note == ""
    unpacked = await unpack_with_umoci(registry, saved.image, tmp_path / "out")
    with sqlite3.connect(unpacked / "bank.db") as bank:
        assert bank.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert bank.execute("select sum(balance) from accounts").fetchall() == [(0,)]
    bank.close()


@pytest.mark.parametrize("when_busy", list(WhenBusy))
async def test_a_box_that_is_too_busy_is_saved_per_file_and_says_so(
    registry: Registry,
    box: Overlay,
    base: Image,
    group: Path,
    tmp_path: Path,
    when_busy: WhenBusy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node_agent.saver.delta.MOST_BYTES", 16 << 20)
    with inhabitant(box.merged, group, "flood"):
        ordered = order(box.upper, base, tmp_path / "i", cgroup=str(group), when_busy=when_busy)
        saved = await save(registry, ordered)
        assert "/flood" in saved.note
        assert "per file only" in saved.note
        assert not Freezer(str(group)).frozen


async def test_changes_after_a_live_save_are_in_the_next(
    registry: Registry, box: Overlay, base: Image, group: Path, tmp_path: Path
) -> None:
    ordered = order(box.upper, base, tmp_path / "i", cgroup=str(group))
    with inhabitant(box.merged, group, "pairs"):
        await save(registry, ordered)
    saved = await save(registry, order(box.upper, base, tmp_path / "i"))
    unpacked = await unpack_with_umoci(registry, saved.image, tmp_path / "out")
    assert differences(facts(box.merged), facts(unpacked)) == []


async def test_processes_in_cgroups_of_the_box_itself_stand_still_too(
    registry: Registry, box: Overlay, base: Image, group: Path, tmp_path: Path
) -> None:
    inner = group / "inner"
    inner.mkdir()
    try:
        with inhabitant(box.merged, inner, "idle"):
            saved = await save(registry, order(box.upper, base, tmp_path / "i", cgroup=str(group)))
            assert saved.frozen_ms > 0
    finally:
        remove(inner)


_HOLDER = """
import sys, time
from node_agent.saver.freezing import Freeze
freeze = Freeze(sys.argv[1], int(sys.argv[2]))
freeze.prepare()
with freeze:
    print("frozen", flush=True)
    time.sleep(60)
"""


async def test_a_guard_that_is_killed_is_stood_in_for(
    box: Overlay, base: Image, group: Path
) -> None:
    freeze = Freeze(str(group), 60_000)
    with inhabitant(box.merged, group, "idle"):
        freeze.prepare()
        with freeze:
            assert freeze._guard is not None
            freeze._guard.kill()
        assert not Freezer(str(group)).frozen
    assert not freeze.held


@pytest.mark.parametrize(("limit_ms", "kill"), [(60_000, True), (100, False)])
async def test_the_box_thaws_whatever_happens(
    box: Overlay, base: Image, group: Path, limit_ms: int, kill: bool
) -> None:
    with inhabitant(box.merged, group, "idle"):
        holder = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _HOLDER, str(group), str(limit_ms), stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"frozen\n"
        if kill:
            assert Freezer(str(group)).frozen
            holder.kill()
        async with asyncio.timeout(5):
            while Freezer(str(group)).frozen:
                await asyncio.sleep(0.01)
        if not kill:
            holder.kill()
        await holder.wait()
