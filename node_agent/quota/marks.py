"""When a box is measured, warned and full. Pure.

Invariant: a box that starts above its quota may still write a little, so that somebody can open it
and delete files; far above it, hardly anything.
"""

import enum

import msgspec

from devbox.model.nodes import QuotaRule

WARN = 0.9
"""Of the bound, from which shells are told."""
_CALM = 0.85
"""Below this part, the next crossing of `WARN` is told again."""
_FAR_ABOVE = 1.25
_LEAST_ROOM = 16 << 20
_OFTEN_S = 1.0
_SELDOM_S = 15.0
_SHARE = 20.0
"""Measuring takes at most one part in so many of the time, unless the disk fills fast."""
_EAGER_SHARE = 2.0


class Verdict(enum.Enum):
    """What a measurement means."""

    FINE = "fine"
    WARN = "warn"
    """Tell the shells."""
    FULL = "full"
    """The box must stop."""


class Watched(msgspec.Struct, kw_only=True):
    """What is known of one start of a box."""

    rule: QuotaRule
    first: int | None = None
    """Used when it was measured first."""
    used: int = 0
    free: int = 0
    """Of the disk, when it was measured last."""
    at_s: float = 0.0
    took_s: float = 0.0
    warned: bool = False
    """A shell was told since the mark was crossed."""
    full: bool = False

    @property
    def bound(self) -> int:
        """What it may use: the quota, or what it had when it started and a little more."""
        quota = self.rule.bytes
        first = self.first or 0
        room = quota // 20 if first < _FAR_ABOVE * quota else 0
        return max(quota, first + max(room, _LEAST_ROOM) if first > quota - _LEAST_ROOM else 0)

    def due(self, free: int, now_s: float) -> bool:
        """Whether it is to be measured now, with so much free on the disk."""
        if self.first is None:
            return True
        since = now_s - self.at_s
        if since >= max(_SELDOM_S, _SHARE * self.took_s):
            return True
        # Nobody can have written more than the disk lost, but for what others deleted meanwhile.
        mark = WARN * self.bound if self.used < WARN * self.bound else self.bound
        near = self.free - free >= (mark - self.used) / 2
        return near and since >= max(_OFTEN_S, _EAGER_SHARE * self.took_s)

    def measured(self, used: int, free: int, at_s: float, took_s: float) -> Verdict:
        """Take a measurement in. WARN is told again until `warned` says that somebody heard it."""
        self.first = used if self.first is None else self.first
        self.used, self.free, self.at_s, self.took_s = used, free, at_s, took_s
        if used >= self.bound:
            self.full = True
            return Verdict.FULL
        if used < _CALM * self.bound:
            self.warned = False
        if used >= WARN * self.bound and not self.warned:
            return Verdict.WARN
        return Verdict.FINE
