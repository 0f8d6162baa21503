"""Deletes uppers in the background, at the lowest priority, however large they are."""

import asyncio
import time
from pathlib import Path

import structlog

from devbox.edge.tasks import Tasks
from devbox.model.saves import UpperState
from node_agent.upper.keeping import Uppers

_log = structlog.get_logger()
_NICELY = ("nice", "-n", "19", "ionice", "-c", "3", "rm", "-rf", "--one-file-system", "--")


class Removing:
    """Implements UpperKeeper. Close it to stop; what is left is deleted after the next start."""

    def __init__(self, uppers: Uppers) -> None:
        self._uppers = uppers
        self._tasks = Tasks("upper-removing")
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Go on with what an earlier process left."""
        for path in await asyncio.to_thread(self._uppers.leftovers, time.time()):
            self._delete(path)

    async def remove(self, project_uid: str) -> None:
        """Remove the project's upper. Returns once its name is free.

        Raises Unavailable while a container uses it, or could start with it.
        """
        trash = await asyncio.to_thread(self._uppers.put_away, project_uid, UpperState.DROPPED)
        if trash is not None:
            self._delete(trash)

    async def collect(self, project_uid: str) -> None:
        """The same, and Unavailable too when a box ran on it since its newest save was begun."""
        trash = await asyncio.to_thread(self._uppers.put_away, project_uid, UpperState.COLLECTED)
        if trash is not None:
            self._delete(trash)

    def _delete(self, path: Path) -> None:
        task = self._tasks.start(_rm(path), path.name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def idle(self) -> None:
        """Wait until all is deleted."""
        while self._running:
            await asyncio.wait(self._running)

    async def close(self) -> None:
        """Stop deleting."""
        await self._tasks.close()


async def _rm(path: Path) -> None:
    process = await asyncio.create_subprocess_exec(*_NICELY, str(path))
    try:
        status = await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if status:
        _log.warning("upper_not_deleted", path=str(path), status=status)
