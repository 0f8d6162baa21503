"""Measures running boxes' changed files as often as the disk's filling asks for.

`marks` decides; this owns the times, the measuring and the telling.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from devbox.edge.space import Space
from devbox.model.errors import DevboxError
from devbox.model.nodes import OverQuota, QuotaRule
from node_agent.journal import Box, Journal
from node_agent.quota.marks import Verdict, Watched
from node_agent.quota.shells import tell_shells

_log = structlog.get_logger()
_LOOK_S = 1.0
_GIB = 1 << 30


class Processes(Protocol):
    """What containerd runs."""

    async def first_process(self, container_id: str) -> int | None:
        """Of a container; None when it does not run."""


Measure = Callable[[Path], Awaitable[int]]


class Quotas:
    """Watches the boxes of one node."""

    def __init__(
        self,
        journal: Journal,
        processes: Processes,
        measure: Measure,
        look: Callable[[], Space],
        full: Callable[[OverQuota], None],
    ) -> None:
        self._journal = journal
        self._processes = processes
        self._measure = measure
        self._look = look
        self._full = full
        self._watched: dict[str, Watched] = {}

    async def run(self, rules: Callable[[], Sequence[QuotaRule]]) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look(rules())
            except (DevboxError, OSError) as error:
                _log.warning("quotas_not_watched", error=str(error))
            await asyncio.sleep(_LOOK_S)

    async def look(self, rules: Sequence[QuotaRule]) -> None:
        """Measure what is due."""
        boxes = {box.project_uid: box for box in self._journal.boxes() if box.may_write}
        known, self._watched = self._watched, {}
        for rule in rules:
            if rule.project_uid in boxes and rule.bytes > 0:
                self._watched[rule.project_uid] = _under(rule, known.get(rule.project_uid))
        free = self._look().free
        for uid, watched in list(self._watched.items()):
            if watched.due(free, _now()):
                await self._judge(watched, boxes[uid])

    async def _judge(self, watched: Watched, box: Box) -> None:
        upper = self._journal.upper(box.project_uid)
        if upper is None:
            return
        free, begun = self._look().free, _now()
        used = await self._measure(Path(upper.path))
        ended = _now()
        match watched.measured(used, free, ended, ended - begun):
            case Verdict.FULL:
                self._tell_controller(watched)
            case Verdict.WARN:
                await self._tell_shells(watched, box)

    def _tell_controller(self, watched: Watched) -> None:
        rule = watched.rule
        _log.info("quota_reached", project=rule.project_uid, used_bytes=watched.used)
        self._full(
            OverQuota(
                project_uid=rule.project_uid,
                generation=rule.generation,
                used_bytes=watched.used,
                quota_bytes=rule.bytes,
            )
        )

    async def _tell_shells(self, watched: Watched, box: Box) -> None:
        pid = await self._processes.first_process(box.container_id)
        if pid is not None:
            said = warning(watched.used, watched.bound)
            told = await asyncio.to_thread(tell_shells, pid, said)
            watched.warned = told > 0
            _log.info("quota_nearly_reached", project=box.project_uid, shells=told)


def warning(used: int, bound: int) -> str:
    """For people in the box."""
    return (
        f"this box has written {used / _GIB:.2f} of the {bound / _GIB:.2f} GiB that it may. "
        "At that size it is stopped and saved; no file is lost. Delete what you do not need, or "
        "have the quota raised: devbox edit NAME --quota SIZE"
    )


def _under(rule: QuotaRule, known: Watched | None) -> Watched:
    """What is known goes on for the same start of the box, also when its quota was changed."""
    if known is None or known.rule.generation != rule.generation:
        return Watched(rule=rule)
    if known.rule != rule:
        known.rule, known.warned = rule, False
    return known


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
