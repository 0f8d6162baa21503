"""Which saves go: the ones nobody asked for first, and never what something stands on."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.history import UNASKED, Budget, surplus
from devbox.model.saves import Save, SaveReason, SaveStep

R = SaveReason
PLENTY = Budget(saves=100, bytes=1000)


def save(
    seq: int,
    reason: SaveReason,
    size: int = 1,
    step: SaveStep = SaveStep.RECORDED,
    digest: str = "",
) -> Save:
    return Save(
        project_uid="p",
        seq=seq,
        generation=1,
        reason=reason,
        step=step,
        digest=digest or f"sha256:{seq}",
        new_bytes=size,
    )


def gone(saves: Sequence[Save], budget: Budget = PLENTY, needed: tuple[str, ...] = ()) -> list[int]:
    return [one.seq for one in surplus(saves, needed, budget)]


def test_of_saves_that_nobody_asked_for_only_the_newest_stays() -> None:
    saves = [save(1, R.AUTOSAVE), save(2, R.ASKED), save(3, R.CRASHED), save(4, R.STOPPED)]
    assert gone(saves) == [1, 3]
    assert gone([*saves, save(5, R.AUTOSAVE)], Budget(saves=1, bytes=1)) == [1, 3, 4]


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (Budget(saves=2, bytes=1000), [1]),
        (Budget(saves=100, bytes=25), [1]),
        (Budget(saves=100, bytes=19), [1, 2]),
        (Budget(saves=0, bytes=0), [1, 2, 3]),
    ],
)
def test_asked_saves_go_oldest_first(budget: Budget, expected: list[int]) -> None:
    saves = [save(n, R.ASKED, 10) for n in (1, 2, 3)]
    assert gone([*saves, save(4, R.ASKED, 10_000)], budget) == expected


def test_what_is_needed_stays_and_counts_for_nothing() -> None:
    saves = [save(1, R.RELEASE, 900), save(2, R.AUTOSAVE), save(3, R.ASKED), save(4, R.AUTOSAVE)]
    tight = Budget(saves=1, bytes=1)
    assert gone(saves, tight, ("sha256:1", "sha256:2")) == []
    assert gone(saves, tight) == [1, 2]


def test_an_image_that_a_kept_save_names_stays() -> None:
    same = [save(1, R.ASKED, digest="d"), save(2, R.ASKED, digest="d"), save(3, R.AUTOSAVE)]
    assert gone(same, Budget(saves=1, bytes=100)) == []
    assert gone(same, Budget(saves=0, bytes=100)) == [1, 2]


def test_only_recorded_saves_go() -> None:
    saves = [save(1, R.AUTOSAVE, step=SaveStep.FAILED), save(2, R.AUTOSAVE), save(3, R.AUTOSAVE)]
    assert gone(saves) == [2]


@given(
    st.lists(st.tuples(st.sampled_from(list(SaveReason)), st.integers(0, 50)), max_size=12),
    st.integers(0, 5),
    st.integers(0, 100),
)
def test_the_bounds_hold_and_a_second_look_finds_nothing(
    given_saves: list[tuple[SaveReason, int]], count: int, size: int
) -> None:
    saves = [save(seq, reason, taken) for seq, (reason, taken) in enumerate(given_saves, 1)]
    budget = Budget(saves=count, bytes=size)
    going = surplus(saves, (), budget)
    left = [one for one in saves if one not in going]
    assert left[-1:] == saves[-1:]
    asked = [one for one in left[:-1] if one.reason not in UNASKED]
    assert len(asked) <= count
    assert sum(one.new_bytes for one in asked) <= size
    assert len([one for one in left if one.reason in UNASKED]) <= 1
    assert surplus(left, (), budget) == ()
