"""When a box is measured, warned and full."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devbox.model.nodes import QuotaRule
from node_agent.quota.marks import Verdict, Watched

MIB = 1 << 20
QUOTA = 1000 * MIB
FREE = 10_000 * MIB


def watched(quota: int = QUOTA) -> Watched:
    return Watched(rule=QuotaRule(project_uid="p", generation=1, bytes=quota))


def verdict(box: Watched, used: int) -> Verdict:
    return box.measured(used, FREE, 0.0, 0.1)


@pytest.mark.smoke
def test_it_is_warned_at_nine_tenths_and_full_at_its_quota() -> None:
    box = watched()
    assert verdict(box, 0) is Verdict.FINE
    assert verdict(box, 899 * MIB) is Verdict.FINE
    assert verdict(box, 900 * MIB) is Verdict.WARN
    assert verdict(box, 910 * MIB) is Verdict.WARN, "nobody heard it"
    box.warned = True
    assert verdict(box, 920 * MIB) is Verdict.FINE
    assert verdict(box, 870 * MIB) is Verdict.FINE
    assert verdict(box, 920 * MIB) is Verdict.FINE, "about the mark it is told once"
    assert verdict(box, 840 * MIB) is Verdict.FINE
    assert verdict(box, 900 * MIB) is Verdict.WARN
    assert verdict(box, 1000 * MIB) is Verdict.FULL


def test_a_box_that_starts_full_has_a_little_room_to_be_tidied_in() -> None:
    box = watched()
    assert verdict(box, 1010 * MIB) is Verdict.WARN
    assert verdict(box, 1050 * MIB) is Verdict.WARN
    assert verdict(box, 1060 * MIB) is Verdict.FULL
    far = watched()
    assert verdict(far, 2000 * MIB) is Verdict.WARN
    assert verdict(far, 2016 * MIB) is Verdict.FULL
    nearly = watched()
    assert verdict(nearly, 999 * MIB) is Verdict.WARN
    assert verdict(nearly, 1001 * MIB) is Verdict.WARN


def test_it_is_measured_now_and_then_and_when_the_disk_filled_enough() -> None:
    box = watched()
    assert box.due(FREE, 0.0)
    box.measured(100 * MIB, FREE, 10.0, 0.1)
    assert not box.due(FREE, 20.0)
    assert box.due(FREE, 25.0)
    assert not box.due(FREE - 399 * MIB, 15.0)
    assert box.due(FREE - 400 * MIB, 15.0), "half of what it had to the mark"
    assert not box.due(FREE - 400 * MIB, 10.5), "and never without a pause"


def test_a_tree_that_takes_long_is_measured_more_seldom() -> None:
    box = watched()
    box.measured(0, FREE, 0.0, 3.0)
    assert not box.due(FREE, 59.0)
    assert box.due(FREE, 60.0)
    assert not box.due(0, 5.0)
    assert box.due(0, 6.0)


@given(st.integers(16 * MIB, 1 << 40), st.lists(st.integers(0, 1 << 41), min_size=1, max_size=8))
def test_it_is_never_full_below_its_quota_and_never_at_once(quota: int, sizes: list[int]) -> None:
    box = watched(quota)
    assert verdict(box, sizes[0]) is not Verdict.FULL
    for used in sizes:
        full = verdict(box, used) is Verdict.FULL
        assert full == (used >= box.bound)
        assert box.bound >= quota
