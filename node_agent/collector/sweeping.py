"""When the registry's storage is swept: after deletions, and now and then.

Owns the times. What may go is `storage`'s to know; which projects are being saved, the caller's.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import structlog

from devbox.model.errors import DevboxError
from node_agent.collector.storage import Ages, Storage, Swept

_log = structlog.get_logger()
_EVERY_S = 1800.0
_PROJECTS = "projects/"

Hold = Callable[[str], AbstractContextManager[bool]]
"""Keeps saves of a project uid from beginning; gives False while one runs."""


class Sweeping:
    """Sweeps one registry's directory. Does nothing where the registry is not on this machine."""

    def __init__(self, directory: Path, ages: Ages | None = None) -> None:
        self._ages = ages or Ages()
        self._storage = Storage(directory, self._ages)
        self._directory = directory
        self._wanted = asyncio.Event()

    def want(self) -> None:
        """Something was deleted."""
        self._wanted.set()

    async def forget(self, repository: str) -> None:
        """Leave nothing of a repository that nobody pushes to any more."""
        if self._directory.is_dir():
            await asyncio.to_thread(self._storage.forget, repository)
        self.want()

    async def run(self, hold: Hold) -> None:
        """Until cancelled."""
        wait_s = self._ages.young_s
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            wanted = self._wanted.is_set()
            self._wanted.clear()
            try:
                swept = await self._round(hold)
            except (DevboxError, OSError) as error:
                _log.warning("not_swept", error=str(error))
                wait_s = self._ages.young_s
                continue
            wait_s = self._next(swept, wanted=wanted)

    def _next(self, swept: Swept, *, wanted: bool) -> float:
        if swept.aside:
            return self._ages.grace_s
        # What was deleted just now may have been too young.
        return self._ages.young_s if wanted else _EVERY_S

    async def _round(self, hold: Hold) -> Swept:
        if not self._directory.is_dir():
            return Swept()
        for repository in await asyncio.to_thread(self._storage.repositories):
            if not repository.startswith(_PROJECTS):
                continue
            with hold(repository.removeprefix(_PROJECTS)) as free:
                if free:
                    await asyncio.to_thread(self._storage.trim, repository)
        swept = await asyncio.to_thread(self._storage.sweep)
        if swept != Swept():
            _log.info("registry_swept", deleted=swept.deleted, freed_bytes=swept.freed_bytes)
        return swept
