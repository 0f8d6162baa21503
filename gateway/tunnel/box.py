"""From a project to a socket of its box on which a session has begun.

Owns the waiting for a box to start, and the dialling. Knows nothing of clients.
"""

import asyncio
import socket
import time
from dataclasses import dataclass

import msgspec

from devbox.edge.pacing import unpace
from devbox.edge.rpc import Failure, error_of
from devbox.model import orchestrator as o
from devbox.model.errors import DevboxError, Internal, NotFound, Unauthorized, Unavailable
from devbox.model.nodes import AGENT_PORT
from devbox.model.projects import Desired, Phase, Project
from gateway.access import no_project
from gateway.tunnel.head import END, LIMIT, status_of
from gateway.watcher import News

_UPGRADED = 101
_POLL_S = 1.0
_AGAIN_S = 0.1
_GRACE_S = 3.0
"""How long an old failure is not believed after we asked for a start."""
_KEEPALIVE = (
    (socket.TCP_KEEPIDLE, 30),
    (socket.TCP_KEEPINTVL, 10),
    (socket.TCP_KEEPCNT, 3),
    (socket.TCP_NODELAY, 1),
)


@dataclass(frozen=True)
class Patience:
    """Deadlines in seconds."""

    start: float = 55.0
    """Below the 60 s after which clients and most proxies take silence for death."""
    dial: float = 5.0
    answer: float = 5.0


class Boxes:
    """Brings boxes up and dials them."""

    def __init__(
        self,
        orchestrator: o.Orchestrator,
        news: News,
        *,
        port: int = AGENT_PORT,
        patience: Patience | None = None,
    ) -> None:
        self._orchestrator = orchestrator
        self._news = news
        self._port = port
        self._patience = patience or Patience()

    async def running(self, project: Project) -> Project:
        """The project once its box can be dialled; starts it if need be.

        Raises Unavailable when that takes too long or fails, NotFound when it was deleted.
        """
        key = o.ProjectKey(namespace=project.namespace, name=project.name)
        believed = time.monotonic()
        if project.desired is Desired.STOPPED:
            project = await self._orchestrator.start_project(key)
            believed += _GRACE_S
        try:
            async with asyncio.timeout(self._patience.start):
                while not self._ready(project, old=time.monotonic() < believed):
                    await self._news.of(project.uid, _POLL_S)
                    project = await self._again(key, project.uid)
        except TimeoutError:
            raise _still_starting(project) from None
        return project

    def _ready(self, project: Project, *, old: bool) -> bool:
        if project.desired is Desired.DELETED:
            raise no_project(project.namespace, project.name)
        if project.desired is Desired.STOPPED and not old:
            raise Unavailable(
                f"project {project.name} was stopped while it started", "Its files are safe."
            )
        if project.status.phase in {Phase.FAILED, Phase.BACKING_OFF} and not old:
            raise _failed(project)
        return project.status.phase is Phase.RUNNING and bool(project.status.box_ip)

    async def _again(self, key: o.ProjectKey, uid: str) -> Project:
        project = await self._orchestrator.get_project(key)
        if project.uid != uid:
            raise no_project(key.namespace, key.name)
        return project

    async def dial(self, project: Project) -> socket.socket:
        """A socket to the box's agent. One that refuses is tried again until the deadline."""
        try:
            async with asyncio.timeout(self._patience.dial):
                while True:
                    try:
                        return await self._connect(project.status.box_ip)
                    except ConnectionRefusedError:
                        await asyncio.sleep(_AGAIN_S)
        except (TimeoutError, OSError) as error:
            raise Unavailable(
                f"the box of project {project.name} runs but its agent does not answer",
                "Its files are safe. Try again; `devbox stop` and `devbox start` make a new box.",
            ) from error

    async def _connect(self, ip: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        box = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            unpace(box)
            await asyncio.get_running_loop().sock_connect(box, (ip, self._port))
            tune(box)
        except BaseException:
            box.close()
            raise
        return box

    async def session(self, box: socket.socket, request: bytes) -> bytes:
        """Ask for a session; the answer's head and what came behind it. Raises what it refused."""
        loop = asyncio.get_running_loop()
        answer = b""
        try:
            async with asyncio.timeout(self._patience.answer):
                await loop.sock_sendall(box, request)
                while END not in answer and len(answer) <= LIMIT:
                    more = await loop.sock_recv(box, LIMIT)
                    if not more:
                        break
                    answer += more
                if END in answer and status_of(answer) == _UPGRADED:
                    return answer
                raise _refused(await self._body(box, answer))
        except (TimeoutError, OSError) as error:
            raise Unavailable("the box's agent does not answer", "Try again.") from error

    async def _body(self, box: socket.socket, answer: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        _, _, body = answer.partition(END)
        while len(body) <= LIMIT and not _complete(body):
            more = await loop.sock_recv(box, LIMIT)
            if not more:
                break
            body += more
        return body


def tune(side: socket.socket) -> None:
    """No delay for keystrokes; a peer that is gone is noticed."""
    side.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        side.setsockopt(socket.IPPROTO_TCP, option, value)


def _complete(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except msgspec.DecodeError:
        return False
    return True


def _refused(body: bytes) -> DevboxError:
    try:
        error = error_of(msgspec.json.decode(body, type=Failure))
    except msgspec.MsgspecError:
        text = body.decode("ascii", "replace").strip().partition("\n")[0][:200]
        return Unavailable(
            f"the box refused the link: {text or 'it did not say why'}", "Try again."
        )
    if isinstance(error, (Unauthorized, NotFound)):
        # The client's credential was good: what the box did not like is ours.
        return Internal(f"the box refused the gateway: {error.message}", "Try again.")
    return error


def _still_starting(project: Project) -> Unavailable:
    why = project.status.message or f"it is {project.status.phase.value}"
    return Unavailable(
        f"project {project.name} is not up yet: {why}",
        "Its files are safe. It goes on starting; connect again in a while.",
    )


def _failed(project: Project) -> Unavailable:
    why = project.status.message or "its box does not run"
    return Unavailable(
        f"project {project.name} does not start: {why}",
        "Its files are safe. `devbox logs` shows what its main process wrote.",
    )
