"""Tells boxes which tokens are no more, so that sessions without a link end too.

Two ways, because a gateway may have been away or a box unreachable: what was just revoked is told
to every box at once; a box that may have missed something is asked whose sessions it has, and told
which of them have no right any more. It is asked until it answers, or is no more.
"""

import asyncio
from collections.abc import Iterable

import aiohttp
import msgspec
import structlog

from devbox.edge.tasks import Tasks
from devbox.model import orchestrator as o
from devbox.model.errors import DevboxError, NotFound
from devbox.model.grants import GRANT_HEADER, Scope
from devbox.model.nodes import AGENT_PORT
from devbox.model.projects import Project
from gateway.grants import Signer
from gateway.rights import Rights

_log = structlog.get_logger()
_PAUSE_S = 0.3
_LONGEST_PAUSE_S = 60.0
_AT_ONCE = 32
_CALL_S = 3.0
_ANSWER_BYTES = 64 << 10
"""A box is not trusted to answer briefly."""


class TokenIds(msgspec.Struct, frozen=True):
    """The body of `POST /revoke`, and the answer to `GET /tokens`."""

    token_ids: tuple[str, ...]


class Revoker:
    """Knows which boxes are behind. Which sessions a token has where, only the boxes know."""

    def __init__(
        self, orchestrator: o.Orchestrator, signer: Signer, tasks: Tasks, *, port: int = AGENT_PORT
    ) -> None:
        self._orchestrator = orchestrator
        self._rights = Rights(orchestrator)
        self._signer = signer
        self._tasks = tasks
        self._port = port
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._behind: dict[str, bool] = {}
        """Project uids whose box is being asked; true: once more when that is done."""

    async def tell(self, token_ids: tuple[str, ...]) -> None:
        """Begin to tell all boxes of revoked tokens; does not wait."""
        self._tasks.start(self._tell_all(token_ids), "revoke")

    async def ask_all(self) -> None:
        """Begin to ask all boxes, because news were missed; does not wait."""
        self._tasks.start(self._ask_all(), "ask-boxes")

    # -- what was just revoked

    async def _tell_all(self, token_ids: tuple[str, ...]) -> None:
        body = msgspec.json.encode(TokenIds(token_ids=token_ids))
        boxes = await self._boxes()
        await asyncio.gather(*(self._tell(box, body) for box in boxes))

    async def _tell(self, box: Project, body: bytes) -> None:
        if await self._call(box, "POST", "/revoke", body) is None:
            self._follow(box)

    # -- what may have been missed

    async def _ask_all(self) -> None:
        for box in await self._boxes():
            self._follow(box)

    def _follow(self, box: Project) -> None:
        """Ask this box until it answered."""
        if box.uid in self._behind:
            self._behind[box.uid] = True
            return
        self._behind[box.uid] = False
        self._tasks.start(self._catch_up(box), "catch-up")

    async def _catch_up(self, box: Project) -> None:
        pause = _PAUSE_S
        try:
            while not await self._ask(box) or self._again(box):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
        finally:
            del self._behind[box.uid]

    def _again(self, box: Project) -> bool:
        again, self._behind[box.uid] = self._behind[box.uid], False
        return again

    async def _ask(self, box: Project) -> bool:
        """Whether this box has nobody in it who has no right, or is no more."""
        try:
            if not await self._is_there(box):
                return True
            answer = await self._call(box, "GET", "/tokens", b"")
            if answer is None:
                return False
            known = msgspec.json.decode(answer, type=TokenIds).token_ids if answer else ()
            alive = await self._rights.alive(_key(box), box.uid)
        except (DevboxError, msgspec.MsgspecError):
            return False
        ended = _without(known, alive or frozenset())
        if not ended:
            return True
        _log.info("box_was_behind", project=f"{box.namespace}/{box.name}", tokens=len(ended))
        body = msgspec.json.encode(TokenIds(token_ids=ended))
        return await self._call(box, "POST", "/revoke", body) is not None

    async def _is_there(self, box: Project) -> bool:
        try:
            now = await self._orchestrator.get_project(_key(box))
        except NotFound:
            return False
        same = (now.uid, now.status.box_ip) == (box.uid, box.status.box_ip)
        return same and now.generation == box.generation

    # -- calls

    async def _boxes(self) -> list[Project]:
        """Every box there is; asked until somebody answers."""
        pause = _PAUSE_S
        while True:
            try:
                projects = (await self._orchestrator.list_projects(o.ListProjects())).projects
            except DevboxError as error:
                _log.warning("revoke_waits", error=error.message)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            else:
                return [project for project in projects if project.status.box_ip]

    async def _call(self, box: Project, method: str, path: str, body: bytes) -> bytes | None:
        """The answer; empty from an agent too old to know the path; None when there was none."""
        url = f"http://{_host(box.status.box_ip)}:{self._port}{path}"
        limits = aiohttp.ClientTimeout(total=_CALL_S)
        async with self._turn:
            grant = self._signer.grant(box.uid, "gateway", (Scope.REVOKE,))
            headers = {GRANT_HEADER: grant, "Content-Type": "application/json"}
            try:
                async with (
                    aiohttp.ClientSession(timeout=limits) as http,
                    http.request(method, url, data=body, headers=headers) as answer,
                ):
                    if answer.status == NotFound.http_status:
                        return b""
                    return await answer.content.read(_ANSWER_BYTES) if answer.ok else None
            except (aiohttp.ClientError, TimeoutError, OSError):
                return None


def _without(known: Iterable[str], alive: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted({one for one in known if one not in alive}))


def _key(box: Project) -> o.ProjectKey:
    return o.ProjectKey(namespace=box.namespace, name=box.name)


def _host(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip
