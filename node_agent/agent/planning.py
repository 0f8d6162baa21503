"""Which saves are made next. Pure: rows in, a plan out.

Invariant: of the saves of one upper that nobody asked for, only the newest is made, and none at all
where a newer one that somebody asked for waits: it holds the same files. A restored save holds
others, and gives the upper up: it comes last.
"""

from collections.abc import Collection, Iterable, Mapping
from itertools import groupby

import msgspec

from devbox.model.nodes import AutosaveRule
from devbox.model.saves import SaveReason, SaveStep
from node_agent.journal.rows import WAITS_FOR_NOBODY, PendingSave

_LONGEST_WAIT_S = 60.0
_UNTIL_RECORDED_S = 0.1


class Plan(msgspec.Struct, frozen=True):
    """Saves to begin now, and saves that a newer one makes needless."""

    begin: tuple[PendingSave, ...]
    drop: tuple[PendingSave, ...]
    wake_at: float | None
    """When the next failed save may be tried again."""


def plan(rows: Iterable[PendingSave], *, busy: Collection[str], room: int, now: float) -> Plan:
    """`busy` projects are being saved; `room` more saves may run."""
    begin: list[PendingSave] = []
    drop: list[PendingSave] = []
    waiting: list[float] = []
    ordered = sorted(rows, key=lambda row: (row.save.project_uid, row.save.seq))
    for uid, group in groupby(ordered, key=lambda row: row.save.project_uid):
        rows_of_one = list(group)
        unwritten = [r for r in rows_of_one if r.save.step in (SaveStep.INTENT, SaveStep.FAILED)]
        ours = [row for row in unwritten if row.save.reason is not SaveReason.RESTORED]
        needless = _needless(ours)
        drop += needless
        wanted = [row for row in ours if row not in needless]
        wanted += [row for row in unwritten if row not in ours]
        if not wanted or uid in busy:
            continue
        if wanted[0] not in ours and len(unwritten) < len(rows_of_one):
            # What was pushed is not recorded yet, and the upper is given up for nothing less.
            waiting.append(now + _UNTIL_RECORDED_S)
            continue
        if wanted[0].retry_at > now:
            waiting.append(wanted[0].retry_at)
        else:
            begin.append(wanted[0])
    begin.sort(key=_urgency)
    return Plan(tuple(begin[:room]), tuple(drop), min(waiting, default=None))


def _needless(rows: list[PendingSave]) -> list[PendingSave]:
    """What may be in the registry already is made again instead: that clears its first try away."""
    return [row for row in rows[:-1] if row.save.reason in WAITS_FOR_NOBODY and not row.written]


def _urgency(row: PendingSave) -> tuple[bool, float]:
    """People first, then whoever waits longest."""
    return (row.save.reason in WAITS_FOR_NOBODY, row.save.started_at)


def retry_delay(attempts: int) -> float:
    """Seconds before a save is tried again: 1, 2, 4 … a minute."""
    return min(_LONGEST_WAIT_S, 2.0 ** min(attempts, 10))


def autosaves_due(
    rules: Iterable[AutosaveRule], last: Mapping[str, float], now: float
) -> tuple[list[AutosaveRule], dict[str, float]]:
    """Rules whose minutes are over, and when each project was last looked at (seconds).

    A project that is new here waits its minutes first.
    """
    due: list[AutosaveRule] = []
    looked: dict[str, float] = {}
    for rule in rules:
        if rule.minutes <= 0:
            continue
        since = last.get(rule.project_uid, now)
        over = now - since >= 60.0 * rule.minutes
        if over:
            due.append(rule)
        looked[rule.project_uid] = now if over else since
    return due, looked
