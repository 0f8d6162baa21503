"""Uppers are made whole or not at all, taken up again, and removed by name first."""

import os
import stat
import time
from pathlib import Path

import pytest

from devbox.edge.layout import Layout
from devbox.model.errors import Conflict, Unavailable
from devbox.model.projects import Image
from devbox.model.saves import UpperState
from node_agent.journal import Box, Journal
from node_agent.upper import Uppers
from node_agent.upper.keeping import TRASH, UNDONE
from node_agent.upper.removing import Removing

IMAGE = Image(repository="runtimes/x", digest="sha256:" + "1" * 64, architecture="amd64")


class Place:
    def __init__(self, directory: Path) -> None:
        self.layout = Layout(data=directory / "data", run=directory / "run")
        self.layout.uppers.mkdir(parents=True)
        self.journal = Journal.open(self.layout.journal)
        self.uppers = Uppers(self.layout, self.journal)
        self.lower = directory / "lower"
        self.lower.mkdir()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_new_upper_looks_like_the_images_root(place: Place) -> None:
    place.lower.chmod(0o1751)
    os.setxattr(place.lower, "user.kept", b"1")
    os.setxattr(place.lower, "user.devbox.upper", b"not this")
    os.utime(place.lower, ns=(5, 1_234_567_891))
    row = place.uppers.open("p", IMAGE, "sha256:chain", place.lower)
    upper = Path(row.path)
    assert stat.S_IMODE(upper.stat().st_mode) == 0o1751
    assert upper.stat().st_mtime_ns == 1_234_567_891
    assert os.listxattr(upper) == ["user.kept"]
    assert place.journal.upper("p") == row
    assert place.uppers.open("p", IMAGE, "sha256:chain", place.lower) == row


def test_another_chain_is_refused(place: Place) -> None:
    place.uppers.open("p", IMAGE, "sha256:chain", place.lower)
    with pytest.raises(Conflict, match="another image"):
        place.uppers.open("p", IMAGE, "sha256:other", place.lower)


def test_an_upper_that_the_journal_does_not_know_is_taken_up(place: Place) -> None:
    row = place.uppers.open("p", IMAGE, "sha256:chain", place.lower)
    (Path(row.path) / "work").write_text("mine")
    place.journal.forget_upper("p")
    again = place.uppers.open("p", IMAGE, "sha256:chain", place.lower)
    assert again.dirty
    assert (Path(again.path) / "work").read_text() == "mine"
    place.journal.forget_upper("p")
    with pytest.raises(Conflict, match="another image"):
        place.uppers.open("p", IMAGE, "sha256:other", place.lower)


def test_a_damaged_upper_is_never_replaced(place: Place) -> None:
    row = place.uppers.open("p", IMAGE, "sha256:chain", place.lower)
    place.journal.forget_upper("p")
    (Path(row.path).parent / "upper.json").write_text("{")
    with pytest.raises(Conflict, match="nobody knows"):
        place.uppers.open("p", IMAGE, "sha256:chain", place.lower)
    assert Path(row.path).is_dir()


def test_a_lost_directory_is_told(place: Place) -> None:
    row = place.uppers.open("p", IMAGE, "sha256:chain", place.lower)
    Path(row.path).parent.rename(place.layout.data / "elsewhere")
    with pytest.raises(Conflict, match="gone from this node"):
        place.uppers.open("p", IMAGE, "sha256:chain", place.lower)


def test_one_holder_at_a_time(place: Place) -> None:
    other = Uppers(place.layout, place.journal)
    with place.uppers.hold("p"):
        with pytest.raises(Unavailable), other.hold("p"):
            pass
        with other.hold("q"):
            pass
    with other.hold("p"):
        pass


async def test_removal_frees_the_name_at_once(place: Place) -> None:
    row = place.uppers.open("p", IMAGE, "sha256:chain", place.lower)
    for number in range(50):
        (Path(row.path) / str(number)).write_bytes(b"x" * 5000)
    removing = Removing(place.uppers)
    await removing.remove("p")
    assert place.journal.upper("p") is None
    assert not Path(row.path).exists()
    await removing.remove("p")
    await removing.idle()
    assert place.uppers.leftovers(time.time()) == []
    await removing.close()


async def test_an_upper_in_use_stays(place: Place) -> None:
    place.uppers.open("p", IMAGE, "sha256:chain", place.lower)
    place.journal.link_box(Box("c", "s", "pod", "p", 1))
    removing = Removing(place.uppers)
    with pytest.raises(Unavailable):
        await removing.remove("p")
    assert place.uppers.path("p").is_dir()
    place.journal.box_ended("c")
    await removing.remove("p")
    await removing.close()


async def test_only_a_clean_upper_is_collected(place: Place) -> None:
    row = place.uppers.open("p", IMAGE, "sha256:chain", place.lower)
    removing = Removing(place.uppers)
    with pytest.raises(Unavailable, match="have changed"):
        await removing.collect("p")
    assert Path(row.path).is_dir()
    place.journal.begin("p")
    await removing.collect("p")
    assert not Path(row.path).exists()
    with pytest.raises(Unavailable):
        await removing.collect("p")
    await removing.close()


class Died(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("step", ["given up", "put aside"])
@pytest.mark.parametrize("first", ["a box", "the node agent"])
async def test_a_kill_while_an_upper_goes_leaves_nothing_of_it(
    place: Place, step: str, first: str
) -> None:
    def fault(name: str) -> None:
        if name == step:
            raise Died

    place.uppers.open("p", IMAGE, "sha256:chain", place.lower)
    place.journal.begin("p")
    with pytest.raises(Died):
        Uppers(place.layout, place.journal, fault).put_away("p", UpperState.COLLECTED)
    assert place.journal.uppers() == []
    if first == "a box":
        # From the newest save, so on another chain; the old upper must not be in its way.
        place.uppers.open("p", IMAGE, "sha256:other", place.lower)
    removing = Removing(place.uppers)
    await removing.start()
    await removing.idle()
    await removing.close()
    kept = ["p"] if first == "a box" else []
    assert [path.name for path in place.layout.uppers.glob("[!.]*")] == kept
    assert list(place.layout.uppers.glob(f"{TRASH}*")) == []
    assert [upper.project_uid for upper in place.journal.uppers()] == kept


async def test_what_was_left_is_deleted_after_a_start(place: Place) -> None:
    (place.layout.uppers / f"{TRASH}a" / "deep").mkdir(parents=True)
    (place.layout.uppers / f"{UNDONE}young").mkdir()
    old = place.layout.uppers / f"{UNDONE}old"
    old.mkdir()
    os.utime(old, (0, 0))
    removing = Removing(place.uppers)
    await removing.start()
    await removing.idle()
    assert sorted(path.name for path in place.layout.uppers.iterdir()) == [f"{UNDONE}young"]
    await removing.close()
