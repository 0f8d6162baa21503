"""Pings, death and delays, by a clock that is only a number."""

from collections.abc import Iterator
from itertools import cycle, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from devbox.wire.frames import Frame, Lane
from devbox.wire.lane import LaneCore
from devbox.wire.pulse import Backoff, Pulse


def test_a_quiet_link_is_pinged_and_then_dead() -> None:
    pulse = Pulse(100.0)
    assert pulse.next_look(100.0) == 4.0
    assert not pulse.ping_due(103.9)
    assert pulse.ping_due(104.0)
    assert not pulse.ping_due(104.1)
    assert not pulse.dead(108.9)
    assert pulse.dead(109.0)


def test_any_byte_is_life() -> None:
    pulse = Pulse(0.0)
    pulse.heard(8.0)
    assert not pulse.dead(16.9)
    assert pulse.dead(17.0)


def test_a_clock_that_jumped_in_sleep() -> None:
    pulse = Pulse(0.0)
    assert pulse.next_look(5000.0) == 0.0
    assert pulse.dead(5000.0)


def test_a_network_change_makes_doubt() -> None:
    pulse = Pulse(0.0)
    pulse.doubt(1.0)
    assert pulse.ping_due(1.0)
    assert not pulse.dead(2.4)
    assert pulse.dead(2.5)


def test_doubt_ends_with_a_byte() -> None:
    pulse = Pulse(0.0)
    pulse.doubt(1.0)
    pulse.heard(1.2)
    assert not pulse.dead(10.1)
    assert pulse.dead(10.2)


def test_delays_double_from_50_ms_to_10_s() -> None:
    backoff = Backoff()
    assert [backoff.next_delay(1.0) for _ in range(9)] == [
        0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0,
    ]  # fmt: skip
    assert backoff.next_delay(0.0) == 5.0
    backoff.reset()
    assert backoff.next_delay(0.0) == 0.025


PROXY_S = 60.0
"""What common proxies call idle."""
NOTICED_S = 10.0


class Side:
    """One end of a link: its pulse and its lane, and a scheduler that may be late."""

    def __init__(self, *, opens: bool) -> None:
        self.lane = LaneCore(Lane.INTERACTIVE, opens=opens)
        self.pulse = Pulse(0.0)
        self.sent_at = [0.0]
        self.dead_at: float | None = None
        self.look_at = 0.0

    def look(self, now: float, late: float) -> list[Frame]:
        """What the edge does when its timer fires."""
        if self.pulse.dead(now):
            self.dead_at = now
            return []
        if self.pulse.ping_due(now):
            self.lane.ping(int(now * 1e6))
        self.look_at = now + self.pulse.next_look(now) + late
        return self.flush(now)

    def hear(self, frames: list[Frame], now: float) -> list[Frame]:
        self.pulse.heard(now)
        for frame in frames:
            self.lane.receive(frame)
        return self.flush(now)

    def flush(self, now: float) -> list[Frame]:
        frames = list(iter(self.lane.next_frame, None))
        if frames:
            self.sent_at.append(now)
        return frames


def idle(cut_at: float, lateness: Iterator[float], until: float = 1200.0) -> list[Side]:
    """Nobody says anything. From `cut_at` on nothing arrives, and nothing tells so."""
    sides = [Side(opens=True), Side(opens=False)]
    while alive := [side for side in sides if side.dead_at is None and side.look_at < until]:
        side = min(alive, key=lambda one: one.look_at)
        now = side.look_at
        other = sides[1 - sides.index(side)]
        said = side.look(now, next(lateness))
        while said and now < cut_at and other.dead_at is None:
            said = other.hear(said, now)
            side, other = other, side
    return sides


lateness = st.lists(st.floats(0.0, 0.9), min_size=1, max_size=40).map(cycle)


@settings(max_examples=50, deadline=None)
@given(lateness)
def test_an_idle_link_lives_and_no_proxy_calls_it_idle(late: Iterator[float]) -> None:
    for side in idle(1e9, late):
        assert side.dead_at is None
        gaps = [two - one for one, two in pairwise(side.sent_at)]
        assert max(gaps) < PROXY_S / 10
        assert side.sent_at[-1] > 1200.0 - PROXY_S / 10


@settings(max_examples=100, deadline=None)
@given(st.floats(0.0, 600.0), lateness)
def test_a_link_that_dies_in_silence_is_noticed_by_both(cut: float, late: Iterator[float]) -> None:
    for side in idle(cut, late):
        assert side.dead_at is not None
        assert side.dead_at - cut <= NOTICED_S
