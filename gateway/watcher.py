"""Follows the Orchestrator's changes: news of projects, and links whose right has ended.

Owns the one long poll of this process. After a gap it asks again about every open link, so a
revoked token loses its links even if nobody told.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

import structlog

from devbox.model import orchestrator as o
from devbox.model.errors import DevboxError, NotFound
from devbox.model.projects import Desired
from gateway.tunnel.links import Links, Owner

_log = structlog.get_logger()
_AGAIN_S = 0.3
USER = "user:"
"""Before the token id of a user, so that it is never taken for a project's."""


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
        tell_boxes: Callable[[tuple[str, ...]], Awaitable[None]],
    ) -> None:
        self._orchestrator = orchestrator
        self._links = links
        self._news = news
        self._tell_boxes = tell_boxes

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
            await self._tell_boxes(ids)

    async def _check_all(self) -> None:
        owners = self._links.owners()
        if not owners:
            return
        users = {
            f"{USER}{u.token_id}" for u in (await self._orchestrator.list_users(o.Nothing())).users
        }
        for owner in owners:
            if not await self._still_good(owner, users):
                self._closed("checked_again", self._links.close_token(owner.token_id))

    async def _still_good(self, owner: Owner, users: set[str]) -> bool:
        try:
            project = await self._orchestrator.get_project(owner.key)
            if owner.token_id.startswith(USER):
                alive = users
            else:
                known = await self._orchestrator.list_tokens(owner.key)
                alive = {info.id for info in known.tokens}
        except NotFound:
            self._links.close_project(owner.project_uid)
            return True
        if project.uid != owner.project_uid or project.desired is Desired.DELETED:
            self._links.close_project(owner.project_uid)
            return True
        return owner.token_id in alive

    def _closed(self, why: str, count: int) -> None:
        if count:
            _log.info("links_closed", why=why, links=count)
