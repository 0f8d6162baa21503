"""Tells boxes which tokens are no more, so that sessions without a link end too."""

import asyncio

import aiohttp
import msgspec
import structlog

from devbox.edge.tasks import Tasks
from devbox.model import orchestrator as o
from devbox.model.errors import DevboxError
from devbox.model.grants import GRANT_HEADER, Scope
from devbox.model.nodes import AGENT_PORT
from devbox.model.projects import Project
from gateway.grants import Signer

_log = structlog.get_logger()
_PAUSES_S = (0.0, 0.2, 1.0, 3.0)
_AT_ONCE = 32
_CALL_S = 3.0


class Revocation(msgspec.Struct, frozen=True):
    """The body of `POST /revoke`."""

    token_ids: tuple[str, ...]


class Revoker:
    """Posts to every running box: which one a token had sessions in, only the box knows."""

    def __init__(
        self, orchestrator: o.Orchestrator, signer: Signer, tasks: Tasks, *, port: int = AGENT_PORT
    ) -> None:
        self._orchestrator = orchestrator
        self._signer = signer
        self._tasks = tasks
        self._port = port
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def tell(self, token_ids: tuple[str, ...]) -> None:
        """Begin to tell all boxes; does not wait."""
        self._tasks.start(self._tell_all(token_ids), "revoke")

    async def _tell_all(self, token_ids: tuple[str, ...]) -> None:
        for pause in _PAUSES_S:
            await asyncio.sleep(pause)
            try:
                projects = (await self._orchestrator.list_projects(o.ListProjects())).projects
                break
            except DevboxError as error:
                _log.warning("revoke_waits", error=error.message)
        else:
            return
        limits = aiohttp.ClientTimeout(total=_CALL_S)
        async with aiohttp.ClientSession(timeout=limits) as http:
            boxes = [project for project in projects if project.status.box_ip]
            await asyncio.gather(*(self._tell(http, box, token_ids) for box in boxes))

    async def _tell(
        self, http: aiohttp.ClientSession, project: Project, token_ids: tuple[str, ...]
    ) -> None:
        body = msgspec.json.encode(Revocation(token_ids=token_ids))
        url = f"http://{_host(project.status.box_ip)}:{self._port}/revoke"
        async with self._turn:
            for pause in _PAUSES_S:
                await asyncio.sleep(pause)
                if await self._post(http, url, project.uid, body):
                    return
        _log.error("revoke_failed", project=f"{project.namespace}/{project.name}")

    async def _post(
        self, http: aiohttp.ClientSession, url: str, project_uid: str, body: bytes
    ) -> bool:
        grant = self._signer.grant(project_uid, "gateway", (Scope.REVOKE,))
        headers = {GRANT_HEADER: grant, "Content-Type": "application/json"}
        try:
            async with http.post(url, data=body, headers=headers) as answer:
                return answer.ok
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False


def _host(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip
