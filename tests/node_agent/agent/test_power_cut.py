"""Power is cut at every moment of a project's life: what was told as done is on the disk.

Nothing of a project is ever lost: until its newest save is whole in the registry, on disk, the
upper is there.
"""

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from devbox.model.saves import SaveStep
from node_agent.journal import Journal
from node_agent.saver import index as indexes
from tests.support.power import Moment, Replay, record

pytestmark = pytest.mark.root
UID = "p1"
_NODE = "data/node/"
_UPPER = f"data/uppers/{UID}/"
_REGISTRY = "data/registry/docker/registry/v2/"
_REPOSITORY = f"{_REGISTRY}repositories/projects/{UID}/"
Disk = Mapping[str, bytes]


@pytest.fixture(scope="module")
def moments() -> Iterator[list[Moment]]:
    directory = Path(tempfile.mkdtemp(prefix="dvp-", dir="/tmp"))
    try:
        disk = directory / "disk"
        disk.mkdir()
        story = (sys.executable, "-m", "tests.support.power_story", str(disk / "data"))
        record(story, directory / "log")
        yield list(Replay(disk).run(directory / "log"))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Restart:
    """The node after power came back, as its journal and indexes know it."""

    def __init__(self, disk: Disk, directory: Path) -> None:
        for path in directory.iterdir():
            path.unlink()
        for name in ("journal.db", "journal.db-wal"):
            if (data := disk.get(_NODE + name)) is not None:
                (directory / name).write_bytes(data)
        journal = Journal.open(directory / "journal.db")
        journal.recover()
        self.keeps = journal.upper(UID) is not None
        self.steps = {row.save.seq: row.save.step for row in journal.open_saves()}
        last = journal.last_recorded(UID)
        self.recorded = last.save.digest if last else ""
        self.recorded_seq = last.save.seq if last else 0
        journal.close()
        self.indexed = self._index(disk, directory / "index")

    def _index(self, disk: Disk, path: Path) -> str:
        """Digest of the save that the index is of."""
        data = disk.get(f"{_NODE}indexes/{UID}.index")
        if data is None:
            return ""
        path.write_bytes(data)
        index = indexes.load(path)
        assert index is not None, "an index that is half there"
        return index.head.image


def whole(disk: Disk, digest: str) -> bool:
    """The registry serves the image: every blob, and every link that makes it visible."""
    name = digest.removeprefix("sha256:")
    manifest = _blob(disk, name)
    if manifest is None or not disk.get(f"{_REPOSITORY}_manifests/revisions/sha256/{name}/link"):
        return False
    told = json.loads(manifest)
    blobs = [item["digest"].removeprefix("sha256:") for item in (told["config"], *told["layers"])]
    links = [disk.get(f"{_REPOSITORY}_layers/sha256/{blob}/link") for blob in blobs]
    return all(links) and all(_blob(disk, blob) is not None for blob in blobs)


def _blob(disk: Disk, name: str) -> bytes | None:
    data = disk.get(f"{_REGISTRY}blobs/sha256/{name[:2]}/{name}/data")
    return data if data is not None and hashlib.sha256(data).hexdigest() == name else None


def check(disk: Disk, marks: tuple[str, ...], restart: Restart) -> None:
    there = f"{_UPPER}fs/" in disk and bool(disk.get(f"{_UPPER}upper.json"))
    if "upper" in marks:
        assert there or whole(disk, restart.recorded), "the project's files are nowhere"
    assert there or not restart.keeps, "the journal keeps an upper that is not there"
    if "gone" in marks:
        assert not there
        assert whole(disk, restart.recorded)
    for words in marks:
        said, *facts = words.split()
        if said in {"wanted", "pushed"}:
            seq = int(facts[0])
            assert restart.recorded_seq >= seq or seq in restart.steps
        if said == "pushed":
            allowed = {SaveStep.PUSHED, None}
            assert restart.steps.get(int(facts[0])) in allowed
        if said == "recorded":
            assert restart.recorded_seq >= int(facts[0])
    pushed = [words.split()[2] for words in marks if words.startswith("pushed")]
    assert not pushed or restart.indexed, "the index that was stored is gone"


@pytest.mark.parametrize("kind", ["strict", "eager"])
def test_whatever_was_not_synced_is_lost(moments: list[Moment], tmp_path: Path, kind: str) -> None:
    node = tmp_path / "node"
    node.mkdir()
    before: Disk = {}
    restart: Restart | None = None
    seen: set[str] = set()
    for moment in moments:
        disk: Disk = getattr(moment, kind)
        if "journal" not in moment.marks:
            continue
        if restart is None or _of_node(disk) != before:
            before = _of_node(disk)
            restart = Restart(disk, node)
        check(disk, moment.marks, restart)
        seen |= set(moment.marks)
    assert "gone" in seen
    assert len(moments) > 100


def _of_node(disk: Disk) -> Disk:
    return {path: data for path, data in disk.items() if path.startswith(_NODE)}
