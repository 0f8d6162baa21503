"""The journal lets an upper go only when nothing of it would be lost."""

import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from devbox.model.errors import Conflict, NoSpace, Unavailable
from devbox.model.saves import UPPER_MOVES, SaveReason, SaveStep, UpperState
from node_agent.journal import Journal
from node_agent.journal.schema import MIGRATIONS
from tests.support.disks import small_disk
from tests.support.journals import BOX, IMAGE, UPPER


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "node" / "journal.db")
    yield opened
    opened.close()


def state_in(journal: Journal) -> UpperState:
    ((state,),) = journal._rows("SELECT state FROM uppers")
    return UpperState(state)


def test_what_holds_unsaved_files_is_never_collected(journal: Journal) -> None:
    journal.put_upper(UPPER)
    journal.link_box(BOX)
    with pytest.raises(Unavailable, match="may still write"):
        journal.give_up("p1", UpperState.COLLECTED)
    journal.box_ended("c1")
    with pytest.raises(Unavailable, match="have changed"):
        journal.give_up("p1", UpperState.COLLECTED)
    seq = journal.want_save("p1", generation=2, reason=SaveReason.STOPPED, now=1.0)
    assert seq is not None
    journal.begin("p1")
    for step in (SaveStep.WRITTEN, SaveStep.PUSHED):
        with pytest.raises(Unavailable, match="not recorded yet"):
            journal.give_up("p1", UpperState.COLLECTED)
        journal.move("p1", seq, step)
    journal.reported([row.save for row in journal.unreported_saves()])
    journal.give_up("p1", UpperState.COLLECTED)
    assert (journal.upper("p1"), journal.uppers(), journal.going()) == (None, [], ["p1"])


def test_a_deleted_projects_upper_goes_whatever_it_holds(journal: Journal) -> None:
    journal.put_upper(UPPER)
    journal.link_box(BOX)
    with pytest.raises(Unavailable):
        journal.give_up("p1", UpperState.DROPPED)
    journal.box_ended("c1")
    journal.give_up("p1", UpperState.DROPPED)
    assert state_in(journal) is UpperState.DROPPED


def move(journal: Journal, after: UpperState) -> None:
    if after is UpperState.CLEAN:
        journal.begin("p1")
    elif after is UpperState.DIRTY:
        journal.keep_dirty("p1")
    else:
        journal.give_up("p1", after)


@pytest.mark.parametrize(("before", "after"), [*itertools.permutations(UpperState, 2)])
def test_an_upper_moves_only_as_the_table_says(
    journal: Journal, before: UpperState, after: UpperState
) -> None:
    journal.put_upper(msgspec.structs.replace(UPPER, state=before))
    if after in UPPER_MOVES[before]:
        move(journal, after)
        assert state_in(journal) is after
    else:
        with pytest.raises((Conflict, Unavailable)):
            move(journal, after)
        assert state_in(journal) is before


def test_no_box_is_linked_to_what_is_going(journal: Journal) -> None:
    journal.put_upper(msgspec.structs.replace(UPPER, state=UpperState.COLLECTED))
    with pytest.raises(Conflict):
        journal.link_box(BOX)
    assert journal.boxes() == []


def test_a_journal_of_the_first_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    old = sqlite3.connect(path)
    old.executescript(MIGRATIONS[0] + "PRAGMA user_version = 1;")
    for uid, dirty in (("p1", 0), ("p2", 1)):
        row = (uid, f"/u/{uid}/fs", msgspec.json.encode(IMAGE), "x", 1, dirty, 7)
        old.execute("INSERT INTO uppers VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    old.commit()
    old.close()
    journal = Journal.open(path)
    assert [upper.state for upper in journal.uppers()] == [UpperState.CLEAN, UpperState.DIRTY]
    assert [upper.bytes for upper in journal.uppers()] == [7, 7]
    journal.close()


def test_what_came_to_nothing_and_was_told_leaves_no_row(journal: Journal) -> None:
    journal.put_upper(UPPER)
    for _ in range(3):
        journal.link_box(BOX)
        journal.box_ended("c1")
        seq = journal.want_save("p1", generation=2, reason=SaveReason.CRASHED, now=1.0)
        assert seq is not None
        journal.begin("p1")
        journal.move("p1", seq, SaveStep.DROPPED)
        journal.reported([row.save for row in journal.unreported_saves()])
    assert journal._rows("SELECT COUNT(*) FROM saves") == [(0,)]
    journal.link_box(BOX)
    assert journal.want_save("p1", generation=2, reason=SaveReason.CRASHED, now=1.0) == 4


def write_much(journal: Journal) -> None:
    for number in range(1000):
        journal.add_news("kind", str(number), bytes(8192))


@pytest.mark.root
def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", mebibytes=2) as disk:
        journal = Journal.open(disk.path / "journal.db")
        journal.put_upper(UPPER)
        disk.fill()
        with pytest.raises(NoSpace, match="the node's disk is full"):
            write_much(journal)
        journal.close()
        with_what_is_there = Journal.open(disk.path / "journal.db")
        assert with_what_is_there.upper("p1") is not None
        with_what_is_there.recover()
        disk.free()
        with_what_is_there.link_box(BOX)
        assert with_what_is_there.boxes() == [BOX]
        with_what_is_there.close()
