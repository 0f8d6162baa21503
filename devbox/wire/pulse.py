"""When to ping, when a link is dead, how long to wait before the next dial. Time is an argument."""

PING_S = 4.0
DEAD_S = 9.0
DOUBT_S = 1.5
FIRST_DELAY_S = 0.05
LONGEST_DELAY_S = 10.0


class Pulse:
    """Of one link. Any byte counts as life; a ping is sent every PING_S whatever else is sent."""

    def __init__(self, now: float) -> None:
        self._pinged = now
        self._dead_at = now + DEAD_S

    def heard(self, now: float) -> None:
        """Bytes came."""
        self._dead_at = now + DEAD_S

    def doubt(self, now: float) -> None:
        """The network changed: ping at once and wait no longer than DOUBT_S for a byte."""
        self._pinged = now - PING_S
        self._dead_at = min(self._dead_at, now + DOUBT_S)

    def dead(self, now: float) -> bool:
        """Whether nothing came for too long."""
        return now >= self._dead_at

    def ping_due(self, now: float) -> bool:
        """Whether to ping now; if so, it counts as done."""
        if now - self._pinged < PING_S:
            return False
        self._pinged = now
        return True

    def next_look(self, now: float) -> float:
        """Seconds until there is something to decide."""
        return max(0.0, min(self._pinged + PING_S, self._dead_at) - now)


class Backoff:
    """Delays between dials: from 50 ms doubling to 10 s, each between half and whole of that."""

    def __init__(self) -> None:
        self._tries = 0

    def reset(self) -> None:
        """A link was good."""
        self._tries = 0

    def next_delay(self, chance: float) -> float:
        """Seconds to wait; `chance` is uniform in [0, 1)."""
        whole = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0**self._tries)
        self._tries = min(self._tries + 1, 16)
        return whole * (0.5 + 0.5 * chance)
