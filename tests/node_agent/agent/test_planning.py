"""Which saves are made next."""

import msgspec
import pytest

from devbox.model.nodes import AutosaveRule
from devbox.model.projects import WhenBusy
from devbox.model.saves import Save, SaveReason, SaveStep
from node_agent.agent.planning import autosaves_due, plan, retry_delay
from node_agent.journal import PendingSave

R, S = SaveReason, SaveStep


def row(
    seq: int, reason: SaveReason, step: SaveStep = S.INTENT, uid: str = "p1", retry_at: float = 0.0
) -> PendingSave:
    save = Save(
        project_uid=uid, seq=seq, generation=1, reason=reason, step=step, started_at=float(seq)
    )
    return PendingSave(save=save, tags=(), attempts=0, retry_at=retry_at, image=None, reported=True)


def written(one: PendingSave) -> PendingSave:
    """A kill came before it was told as pushed: its image may be in the registry."""
    return msgspec.structs.replace(one, written=True)


def seqs(rows: tuple[PendingSave, ...]) -> list[tuple[str, int]]:
    return [(r.save.project_uid, r.save.seq) for r in rows]


@pytest.mark.parametrize(
    ("rows", "begin", "drop"),
    [
        ([], [], []),
        ([row(1, R.STOPPED)], [1], []),
        ([row(1, R.STOPPED), row(2, R.CRASHED)], [2], [1]),
        ([row(1, R.STOPPED), row(2, R.ASKED)], [2], [1]),
        ([row(1, R.ASKED), row(2, R.STOPPED)], [1], []),
        ([row(1, R.ASKED), row(2, R.RELEASE)], [1], []),
        ([row(1, R.ASKED, S.PUSHED), row(2, R.RELEASE)], [2], []),
        ([row(1, R.STOPPED, S.FAILED), row(2, R.ASKED)], [2], [1]),
        ([written(row(1, R.STOPPED)), row(2, R.ASKED)], [1], []),
        ([row(1, R.RESTORED)], [1], []),
        ([row(1, R.STOPPED), row(2, R.RESTORED)], [1], []),
        ([row(1, R.RESTORED), row(2, R.STOPPED)], [2], []),
        ([row(1, R.STOPPED, S.PUSHED), row(2, R.RESTORED)], [], []),
    ],
)
def test_one_upper(rows: list[PendingSave], begin: list[int], drop: list[int]) -> None:
    made = plan(rows, busy=(), room=4, now=10.0)
    assert seqs(made.begin) == [("p1", seq) for seq in begin]
    assert seqs(made.drop) == [("p1", seq) for seq in drop]


def test_people_first_then_whoever_waits_longest_and_no_more_than_there_is_room() -> None:
    rows = [row(3, R.STOPPED, uid="a"), row(4, R.ASKED, uid="b"), row(1, R.STOPPED, uid="c")]
    assert seqs(plan(rows, busy=(), room=2, now=10.0).begin) == [("b", 4), ("c", 1)]
    assert seqs(plan(rows, busy={"b"}, room=2, now=10.0).begin) == [("c", 1), ("a", 3)]
    assert plan(rows, busy=(), room=0, now=10.0).begin == ()


def test_a_restore_waits_for_a_save_that_failed_and_for_one_that_is_not_recorded() -> None:
    failed = row(1, R.STOPPED, S.FAILED, retry_at=20.0)
    made = plan([failed, row(2, R.RESTORED)], busy=(), room=1, now=10.0)
    assert (made.begin, made.drop, made.wake_at) == ((), (), 20.0)
    pushed = row(1, R.STOPPED, S.PUSHED)
    made = plan([pushed, row(2, R.RESTORED)], busy=(), room=1, now=10.0)
    assert made.begin == ()
    assert made.wake_at is not None
    assert 10.0 < made.wake_at < 11.0


def test_a_failed_save_waits_for_its_time() -> None:
    failed = row(1, R.ASKED, S.FAILED, retry_at=20.0)
    assert plan([failed], busy=(), room=1, now=10.0).wake_at == 20.0
    assert plan([failed], busy=(), room=1, now=10.0).begin == ()
    assert plan([failed], busy=(), room=1, now=20.0).begin == (failed,)


def test_waits_grow_to_a_minute() -> None:
    assert [retry_delay(n) for n in (0, 1, 5, 6, 99)] == [1.0, 2.0, 32.0, 60.0, 60.0]


def test_autosaves() -> None:
    rule = AutosaveRule(project_uid="p1", generation=1, minutes=10, when_busy=WhenBusy.RETRY)
    off = msgspec.structs.replace(rule, project_uid="p2", minutes=0)
    due, last = autosaves_due([rule, off], {}, 0.0)
    assert (due, last) == ([], {"p1": 0.0})
    due, last = autosaves_due([rule, off], last, 599.0)
    assert (due, last) == ([], {"p1": 0.0})
    due, last = autosaves_due([rule, off], last, 600.0)
    assert (due, last) == ([rule], {"p1": 600.0})
    assert autosaves_due([], last, 700.0) == ([], {})
