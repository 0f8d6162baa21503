"""Follows the Orchestrator's changes: news of projects, and links whose right has ended.

Owns the one long poll of this process. After a gap, and a start is one, it asks again about every
open link and every box, so a revoked token loses links and sessions even if nobody told.
"""

import asyncio
from collections import defaultdict
from typing import Protocol

import structlog

from devbox.model import orchestrator as o
from devbox.model.errors import DevboxError
from devbox.model.projects import Desired
from gateway.rights import USER, Rights
from gateway.tunnel.links import Links

_log = structlog.get_logger()
_AGAIN_S = 0.3


class Boxes(Protocol):
    """What makes sessions end in boxes."""

    async def tell(self, token_ids: tuple[str, ...]) -> None:
        """These tokens are no more."""

    async def ask_all(self) -> None:
        """Something was missed."""


class News:
    """Lets others wait for a change of one project."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)

    async def of(self, project_uid: str, wait_s: float) -> None:
        """Return when the project changed, or after a while."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[project_uid].add(future)
        try:
            async with asyncio.timeout(wait_s):
                await future
        except TimeoutError:
            return
        finally:
            self._waiting[project_uid].discard(future)
            if not self._waiting[project_uid]:
                del self._waiting[project_uid]

    def tell(self, project_uid: str) -> None:
        """The project changed."""
        for future in self._waiting.get(project_uid, ()):
            if not future.done():
                future.set_result(None)


class Watcher:
    """Closes what must not stay open."""

    def __init__(
        self,
        orchestrator: o.Orchestrator,
        links: Links,
        news: News,
        boxes: Boxes,
    ) -> None:
        self._orchestrator = orchestrator
        self._links = links
        self._news = news
        self._boxes = boxes
        self._rights = Rights(orchestrator)

    async def run(self) -> None:
        """Until cancelled."""
        revision, said = 0, ""
        while True:
            try:
                changes = await self._orchestrator.watch(o.Watch(revision=revision))
                if not changes.complete:
                    await self._check_all()
            except DevboxError as error:
                if said != error.message:
                    _log.warning("watch_failed", error=error.message)
                said = error.message
                await asyncio.sleep(_AGAIN_S)
                continue
            said = ""
            await self._apply(changes)
            revision = changes.revision

    async def _apply(self, changes: o.Changes) -> None:
        deleted = [p.uid for p in changes.projects if p.desired is Desired.DELETED]
        for uid in (*deleted, *changes.deleted_uids):
            self._closed("project_deleted", self._links.close_project(uid))
        for project in changes.projects:
            self._news.tell(project.uid)
        for uid in changes.deleted_uids:
            self._news.tell(uid)
        ids = tuple(
            form for token_id in changes.revoked_token_ids for form in (token_id, USER + token_id)
        )
        for token_id in ids:
            self._closed("token_revoked", self._links.close_token(token_id))
        if ids:
            await self._boxes.tell(ids)

    async def _check_all(self) -> None:
        """Something was missed: look at every link here, and at every box's sessions."""
        for key, project_uid in {(one.key, one.project_uid) for one in self._links.owners()}:
            alive = await self._rights.alive(key, project_uid)
            if alive is None:
                self._closed("checked_again", self._links.close_project(project_uid))
                continue
            for owner in self._links.owners():
                if owner.project_uid == project_uid and owner.token_id not in alive:
                    self._closed("checked_again", self._links.close_token(owner.token_id))
        await self._boxes.ask_all()

    def _closed(self, why: str, count: int) -> None:
        if count:
            _log.info("links_closed", why=why, links=count)
