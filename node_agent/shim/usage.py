"""How much disk boxes' changed files take: containerd sees only the link to them.

Measures because somebody asks for stats, and answers at once with what was measured last. A process
of its own counts, at the lowest priority, one at a time, and at most a twentieth of the time.
"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from node_agent.journal import Box, Journal

_log = structlog.get_logger()
_EVERY_S = 5.0
_SHARE = 20.0
_LIMIT_S = 600.0
_LOWEST = ("nice", "-n", "39", "ionice", "-c", "3")
_DU = ("du", "--summarize", "--one-file-system", "--block-size=1")


class Usage(msgspec.Struct, frozen=True):
    """Of one upper."""

    bytes: int
    """On disk, hard links counted once."""
    inodes: int = 0
    """0: not counted yet."""


class _Measured(msgspec.Struct, frozen=True):
    usage: Usage
    due_at: float


class Usages:
    """What is known of the uppers of this node."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._asked = asyncio.Event()
        self._known: dict[str, _Measured] = {}

    def by_container(self) -> Mapping[str, Usage]:
        """Of all boxes, by container id. Blocks for a moment."""
        saved = {upper.project_uid: upper.bytes for upper in self._journal.uppers()}
        return {
            box.container_id: self._of(box, saved.get(box.project_uid, 0))
            for box in (self._journal.boxes() if saved else [])
        }

    def _of(self, box: Box, saved: int) -> Usage:
        known = self._known.get(box.project_uid)
        return known.usage if known else Usage(saved)

    def asked(self) -> None:
        """Somebody asked for stats, and will again."""
        self._asked.set()

    async def keep(self) -> None:
        """Measure what is due whenever somebody asked, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self._measure_due()
            except Exception:  # one bad record must not end the measuring
                _log.exception("uppers_not_measured")

    async def _measure_due(self) -> None:
        uppers = await asyncio.to_thread(self._journal.uppers)
        running = {
            box.project_uid for box in await asyncio.to_thread(self._journal.boxes) if box.may_write
        }
        kept = {upper.project_uid for upper in uppers}
        self._known = {uid: known for uid, known in self._known.items() if uid in kept}
        for upper in uppers:
            known = self._known.get(upper.project_uid)
            if upper.project_uid in running and (known is None or known.due_at <= _now()):
                began = _now()
                usage = await measure(Path(upper.path))
                pause = max(_EVERY_S, _SHARE * (_now() - began))
                if usage is not None:
                    self._known[upper.project_uid] = _Measured(usage, _now() + pause)


async def measure(path: Path) -> Usage | None:
    """Count a tree that changes meanwhile; None when it cannot be counted."""
    size, inodes = await _du(path), await _du(path, "--inodes")
    return None if size is None else Usage(size, inodes or 0)


async def _du(path: Path, *more: str) -> int | None:
    process = await asyncio.create_subprocess_exec(
        *_LOWEST,
        *_DU,
        *more,
        "--",
        str(path),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_LIMIT_S):
            out, _ = await process.communicate()
    except TimeoutError:
        _log.warning("upper_not_measured", path=str(path))
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    # A file that went away meanwhile makes du's status bad and its sum none the worse.
    first = out.split()[:1]
    return int(first[0]) if first and first[0].isdigit() else None


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
