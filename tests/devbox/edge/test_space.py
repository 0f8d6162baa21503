"""What follows from how full a disk is."""

import pytest

from devbox.edge.space import Space


@pytest.mark.parametrize(
    ("free", "low", "at_floor"),
    [(10, False, False), (9, True, False), (2, True, False), (1, True, True), (0, True, True)],
)
def test_space_gets_low_and_then_reaches_the_floor(free: int, *, low: bool, at_floor: bool) -> None:
    space = Space(free=free, total=100)
    assert (space.low, space.at_floor) == (low, at_floor)


def test_space_is_told_in_gib_and_percent() -> None:
    assert str(Space(free=3 << 30, total=300 << 30)) == "3.0 GiB are free (1 %)"
