"""Gives disk back when it runs low: what the registry has too, longest unused first.

Between low and high water: nothing goes before less than `LOW` of the disk is free, and no more
than it takes to have `HIGH` of it free again. Images that no box and no upper needs go first, then
uppers whose newest save is recorded and confirmed. Whether an upper may go at all is decided where
it is given up, in one place, and never here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

import structlog

from devbox.edge.space import Space
from devbox.model.errors import DevboxError

_log = structlog.get_logger()
_LOOK_S = 5.0

Look = Callable[[], Space]
Collect = Callable[[str], Awaitable[bool]]
"""Gives a project's upper back, and tells whether it went; its disk may be freed later."""


class Images(Protocol):
    """Local copies of images."""

    async def unused_images(self, kept: Collection[str]) -> Sequence[str]:
        """Digests of images that no container uses, without `kept`, longest unused first."""

    async def remove_image(self, digest: str) -> None:
        """Returns once its disk is given back."""


class Evicting:
    """Watches one disk. `collected` returns once the disk of collected uppers is free."""

    def __init__(
        self,
        look: Look,
        images: Images,
        collect: Collect,
        collected: Callable[[], Awaitable[None]],
    ) -> None:
        self._look = look
        self._images = images
        self._collect = collect
        self._collected = collected

    async def run(
        self, evictable: Callable[[], Sequence[str]], grounds: Callable[[], Collection[str]]
    ) -> None:
        """Until cancelled. `evictable`: uids of idle projects, longest stopped first.

        `grounds`: digests of images that uppers stand on.
        """
        while True:
            try:
                if self._look().low:
                    await self.round(evictable(), grounds())
            except (DevboxError, OSError) as error:
                _log.warning("disk_not_given_back", error=str(error))
            await asyncio.sleep(_LOOK_S)

    async def round(self, uids: Sequence[str], grounds: Collection[str]) -> None:
        """Give back, one after the other, until enough is free."""
        for digest in await self._images.unused_images(grounds):
            if self._look().high:
                return
            await self._images.remove_image(digest)
            _log.info("image_given_back", digest=digest, free_bytes=self._look().free)
        for uid in uids:
            if self._look().high:
                return
            if await self._given_back(uid):
                await self._collected()
                _log.info("upper_given_back", project=uid, free_bytes=self._look().free)

    async def _given_back(self, uid: str) -> bool:
        """One that cannot go now holds nobody up."""
        try:
            return await self._collect(uid)
        except (DevboxError, OSError) as error:
            _log.info("upper_stays", project=uid, error=str(error))
            return False
