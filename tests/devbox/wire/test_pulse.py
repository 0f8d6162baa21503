"""Pings, death and delays, by a clock that is only a number."""

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
