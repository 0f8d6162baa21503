"""The journal: what is told stays told, whoever is killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devbox.model.errors import Conflict, Internal
from devbox.model.nodes import SaveOrder
from devbox.model.projects import WhenBusy
from devbox.model.saves import SaveReason, SaveStep
from node_agent.journal import Box, Journal
from tests.support.journals import BOX, IMAGE, UPPER


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node" / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal.open(path)
    yield opened
    opened.close()


def want(journal: Journal, reason: SaveReason = SaveReason.STOPPED) -> int | None:
    return journal.want_save("p1", generation=2, reason=reason, now=1.0)


def order(order_id: str, tags: tuple[str, ...] = ()) -> SaveOrder:
    return SaveOrder(
        order_id=order_id,
        project_uid="p1",
        generation=2,
        reason=SaveReason.ASKED,
        when_busy=WhenBusy.RETRY,
        tags=tags,
    )


def push(journal: Journal, seq: int) -> None:
    journal.begin("p1")
    journal.move("p1", seq, SaveStep.WRITTEN)
    journal.move("p1", seq, SaveStep.PUSHED, image=IMAGE, digest=IMAGE.digest)


def test_only_its_owner_may_read_the_file(path: Path, journal: Journal) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_another_process_sees_what_was_told(path: Path, journal: Journal) -> None:
    journal.put_upper(UPPER)
    journal.link_box(BOX)
    other = Journal.open(path)
    try:
        upper = other.upper("p1")
        assert upper is not None
        assert (upper.dirty, upper.generation, upper.image) == (True, 2, IMAGE)
        assert other.boxes_of_sandbox("s1") == [BOX] == other.boxes_of_project("p1")
        assert other.box("c2") is None
    finally:
        other.close()


def test_a_clean_upper_wants_no_save(journal: Journal) -> None:
    assert want(journal) is None
    journal.put_upper(UPPER)
    assert want(journal) is None


def test_saves_that_nobody_asked_for_are_joined(journal: Journal) -> None:
    journal.put_upper(UPPER)
    journal.link_box(BOX)
    assert want(journal) == 1
    assert want(journal, SaveReason.REMOVED) is None
    assert journal.take_order(order("o1"), 2.0) == 2
    assert journal.take_order(order("o1"), 3.0) == 2
    assert [row.save.reason for row in journal.open_saves()] == [
        SaveReason.STOPPED,
        SaveReason.ASKED,
    ]


def test_an_upper_is_clean_only_while_no_box_may_write(journal: Journal) -> None:
    journal.put_upper(UPPER)
    journal.link_box(BOX)
    journal.begin("p1")
    assert journal.uppers()[0].dirty
    journal.box_ended("c1")
    journal.begin("p1")
    assert not journal.uppers()[0].dirty
    journal.link_box(Box("c3", "s3", "pod3", "p1", 3))
    assert journal.uppers()[0].dirty


def test_a_save_is_recorded_once_the_controller_has_it(journal: Journal) -> None:
    journal.put_upper(UPPER)
    journal.link_box(BOX)
    seq = want(journal)
    assert seq is not None
    push(journal, seq)
    row = journal.save("p1", seq)
    assert row is not None
    assert row.image == IMAGE
    assert journal.last_recorded("p1") is None
    journal.reported([row.save])
    recorded = journal.last_recorded("p1")
    assert recorded is not None
    assert recorded.save.step is SaveStep.RECORDED
    assert not recorded.reported
    journal.reported([recorded.save])
    assert journal.unreported_saves() == []
    assert journal.open_saves() == []


def test_an_answer_to_older_news_changes_nothing(journal: Journal) -> None:
    journal.put_upper(UPPER)
    journal.link_box(BOX)
    seq = want(journal)
    assert seq is not None
    (old,) = journal.unreported_saves()
    push(journal, seq)
    journal.reported([old.save])
    (row,) = journal.unreported_saves()
    assert row.save.step is SaveStep.PUSHED


def test_illegal_moves_raise_and_change_nothing(journal: Journal) -> None:
    journal.take_order(order("o1"), 1.0)
    with pytest.raises(Conflict, match="intent to recorded"):
        journal.move("p1", 1, SaveStep.RECORDED)
    with pytest.raises(Internal):
        journal.move("p1", 7, SaveStep.WRITTEN)
    row = journal.save("p1", 1)
    assert row is not None
    assert row.save.step is SaveStep.INTENT


@pytest.mark.smoke
def test_what_was_half_written_is_wanted_again(path: Path, journal: Journal) -> None:
    journal.put_upper(UPPER)
    journal.link_box(BOX)
    journal.box_ended("c1")
    seq = want(journal)
    assert seq is not None
    journal.begin("p1")
    journal.move("p1", seq, SaveStep.WRITTEN)
    journal.close()
    again = Journal.open(path)
    try:
        again.recover()
        (row,) = again.open_saves("p1")
        assert (row.save.step, row.save.seq) == (SaveStep.INTENT, seq)
        assert again.uppers()[0].dirty
    finally:
        again.close()


def test_a_failed_save_waits_and_its_upper_is_dirty_again(journal: Journal) -> None:
    journal.put_upper(UPPER)
    journal.link_box(BOX)
    journal.box_ended("c1")
    seq = want(journal)
    assert seq is not None
    journal.begin("p1")
    journal.fail("p1", seq, note="the registry is down", retry_at=9.0)
    (row,) = journal.open_saves()
    assert (row.save.step, row.attempts, row.retry_at) == (SaveStep.FAILED, 1, 9.0)
    assert journal.uppers()[0].dirty
    assert want(journal) is None
    journal.move("p1", seq, SaveStep.INTENT)


def test_a_deleted_project_leaves_nothing(journal: Journal) -> None:
    journal.put_upper(UPPER)
    journal.link_box(BOX)
    want(journal)
    journal.forget_project("p1")
    assert (journal.uppers(), journal.boxes(), journal.open_saves()) == ([], [], [])


def test_news_wait_until_heard(journal: Journal) -> None:
    journal.add_news("dropped", "p1")
    journal.add_news("prepared", "p2", b"1")
    told = journal.news("prepared")
    journal.add_news("prepared", "p2", b"2")
    journal.heard("prepared", told)
    assert journal.news("prepared") == [("p2", b"2")]
    journal.heard("prepared", [("p2", b"2")])
    assert journal.news("prepared") == []
    assert journal.news("dropped") == [("p1", b"")]
