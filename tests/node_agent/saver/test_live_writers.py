"""Stores that are written without pause are whole in a save, with all that they acknowledged."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import lmdb
import pytest

from devbox.edge.registry import Registry
from node_agent.saver.freezing import Freeze
from tests.node_agent.saver.saves import order, save
from tests.support import live_writers
from tests.support.inhabitants import cgroup, inhabitant
from tests.support.live_writers import POSTGRES, POSTGRES_USER, SETTINGS, acknowledged
from tests.support.overlays import Overlay
from tests.support.saved_images import push_base, unpack_with_umoci

pytestmark = pytest.mark.root


def output(*command: str | Path, **how: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **how)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def git(root: Path) -> int:
    """The commits of a whole repository."""
    here = ("git", "-C", root / "repo")
    assert "error" not in output(*here, "fsck", "--full", "--strict")
    return int(output(*here, "rev-list", "--count", "HEAD"))


def lmdb_writemap(root: Path) -> int:
    """The last number put, after every value was read."""
    assert output("mdb_dump", root / "lmdb").rstrip().endswith("DATA=END")
    with lmdb.open(str(root / "lmdb"), readonly=True) as store, store.begin() as reader:
        values = {int(key): value for key, value in reader.cursor() if key != b"last"}
        last = reader.get(b"last")
    assert all(len({*value.split()}) == 1 for value in values.values())
    assert last is not None
    assert max(int(value.split()[0]) for value in values.values()) == int(last)
    return int(last)


def sqlite(root: Path) -> int:
    """The rows of a whole database."""
    with closing(sqlite3.connect(root / "things.db")) as store:
        assert store.execute("pragma integrity_check").fetchall() == [("ok",)]
        return int(store.execute("select count(*) from things").fetchone()[0])


def postgres(root: Path) -> int:
    """The rows of a database that recovered and is whole."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o755)
        data = Path(name) / "pg"
        shutil.move(root / "pg", data)
        (data / "postmaster.pid").unlink()
        how = {**POSTGRES_USER, "cwd": name}
        options = " ".join((*SETTINGS, "-k", str(data)))
        control = (POSTGRES / "pg_ctl", "-D", data, "-w", "-s", "-l", data / "log")
        output(*control, "-o", options, "start", **how)
        try:
            there = ("-h", data, "-d", "postgres")
            output(POSTGRES / "pg_amcheck", *there, "--install-missing", "--heapallindexed", **how)
            count = "select count(*) from things"
            rows = output(POSTGRES / "psql", "-XAt", *there, "-c", count, **how)
        finally:
            output(*control, "-m", "fast", "stop", **how)
        output(POSTGRES / "pg_checksums", "--check", "-D", data, **how)
        return int(rows)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    with cgroup(f"devbox-test-{os.getpid()}-{tmp_path.name}") as path:
        yield path


def make_database(box: Overlay) -> None:
    data = box.base / "pg"
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        shutil.chown(name, "postgres")
        made = Path(name) / "pg"
        how = {**POSTGRES_USER, "cwd": name}
        output(POSTGRES / "initdb", "-k", "-N", "--no-instructions", "-D", made, **how)
        output("cp", "-a", made, data)


@pytest.mark.parametrize(
    ("what", "check"),
    [("git", git), ("postgres", postgres), ("lmdb", lmdb_writemap), ("sqlite", sqlite)],
)
async def test_a_store_that_is_written_is_whole_in_two_saves(
    registry: Registry,
    box: Overlay,
    group: Path,
    tmp_path: Path,
    what: str,
    check: Callable[[Path], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live_writers.prepare(box.base)
    if what == "postgres":
        make_database(box)
    if what == "lmdb":
        (box.base / "lmdb").mkdir()
    base = await push_base(registry, f"runtimes/{what}", box.base)
    box.mount()
    acks = tmp_path / "acks"
    at_freeze: list[int] = []
    enter = Freeze.__enter__

    def entered(self: Freeze) -> Freeze:
        frozen = enter(self)
        at_freeze.append(acknowledged(acks))
        return frozen

    monkeypatch.setattr(Freeze, "__enter__", entered)
    with inhabitant(box.merged, group, what, str(acks), program=live_writers.__file__):
        for seq in (1, 2):
            ordered = order(box.upper, base, tmp_path / "i", uid=what, cgroup=str(group), seq=seq)
            saved = await save(registry, ordered)
            assert saved.note == ""
            out = tmp_path / f"out-{seq}"
            found = check(await unpack_with_umoci(registry, saved.image, out))
            assert found - at_freeze[-1] in {0, 1}
            shutil.rmtree(out)
    assert at_freeze[-1] > at_freeze[0]
