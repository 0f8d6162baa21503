"""Everything together: the listener, who may come in, and which service a stream gets."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import msgspec
import uvloop

from devbox.edge import log
from devbox.edge.links import Request, Response, Route, SessionServer, Stream, listen
from devbox.model.errors import BadInput, Forbidden, NotFound, Unavailable
from devbox.model.grants import GRANT_HEADER, Grant, Scope
from devbox.model.nodes import StartRecord
from in_box_agent.admission import Admission, may_open
from in_box_agent.isolation import isolate
from in_box_agent.services.events import serve_events
from in_box_agent.services.reverse import Reverse
from in_box_agent.services.tcp import serve_tcp
from in_box_agent.surroundings import BUNDLE, Surroundings, look_around
from in_box_agent.upper import NOT_KEPT, is_kept

if TYPE_CHECKING:
    from in_box_agent.services.lsp import Bridge
    from in_box_agent.services.ssh.server import SshBox

_END_S = 2.0

Service = Callable[[Stream], Awaitable[None]]


class TokenIds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /revoke`, and the answer to `GET /tokens`."""

    token_ids: tuple[str, ...]


class Desk:
    """Decides about requests and hands streams to services."""

    def __init__(self, record: StartRecord, around: Surroundings, port: int) -> None:
        self._record = record
        self._around = around
        self._admission = Admission(record.project_uid, record.grant_keys)
        self._kept = is_kept(record.upper_nonce)
        self._reverse = Reverse()
        self._services: dict[str, Service] = {
            "ssh": self._ssh,
            "pty": self._pty,
            "lsp": self._lsp,
            "tcp": serve_tcp,
            "reverse": self._reverse.serve,
            "events": lambda stream: serve_events(stream, lambda: self._reverse.ports | {port}),
        }
        self._ssh_box: SshBox | None = None
        self._lsp_bridge: Bridge | None = None
        self.sessions = SessionServer(self.serve, may_open=may_open)

    async def serve(self, stream: Stream) -> None:
        """One stream."""
        service = self._services.get(stream.service)
        if service is None:
            raise NotFound(
                f"this box has no service {stream.service!r}",
                "Update devbox where the older one is: the client, or the server.",
            )
        await service(stream)

    async def _ssh(self, stream: Stream) -> None:
        """SSH, whose library is loaded by the first one who asks: many boxes never need it."""
        if self._ssh_box is None:
            from in_box_agent.services.ssh.server import SshBox

            self._ssh_box = SshBox.make(self._record.host_key, self._around)
        await self._ssh_box.serve(stream)

    async def _lsp(self, stream: Stream) -> None:
        if self._lsp_bridge is None:
            from in_box_agent.services.lsp import Bridge

            self._lsp_bridge = Bridge(self._record, self._around)
        await self._lsp_bridge.serve(stream)

    async def _pty(self, stream: Stream) -> None:
        from in_box_agent.services.pty import serve_pty

        await serve_pty(stream, self._around)

    def verify(self, request: Request) -> Grant:
        """The grant of a request. Raises Unavailable for a throw-away upper, Unauthorized."""
        if not self._kept:
            raise Unavailable(*NOT_KEPT)
        return self._admission.admit(request.headers.get(GRANT_HEADER.lower(), ""), time.time())

    @property
    def routes(self) -> dict[tuple[str, str], Route]:
        """What the listener serves beside sessions."""
        return {
            ("GET", "/healthz"): self.healthz,
            ("GET", "/tokens"): self.tokens,
            ("POST", "/revoke"): self.revoke,
        }

    async def healthz(self, request: Request) -> Response:
        """Whether the box serves."""
        del request
        if not self._kept:
            raise Unavailable(*NOT_KEPT)
        return Response(body=b'{"serves": true}')

    async def tokens(self, request: Request) -> Response:
        """Whose sessions are here: a gateway that was away asks, and revokes what it must."""
        self._check_gateway(request)
        return Response(body=msgspec.json.encode(TokenIds(self.sessions.token_ids)))

    def _check_gateway(self, request: Request) -> None:
        if Scope.REVOKE not in self.verify(request).scopes:
            raise Forbidden("this grant does not allow to revoke")

    async def revoke(self, request: Request) -> Response:
        """End the sessions of tokens that are valid no more."""
        self._check_gateway(request)
        try:
            body = msgspec.json.decode(request.body, type=TokenIds)
        except msgspec.MsgspecError as error:
            raise BadInput(f"the request is malformed: {error}") from error
        ended = await self.sessions.end_tokens(body.token_ids)
        return Response(body=msgspec.json.encode({"ended": ended}))


def run(record: StartRecord, inherited: Mapping[str, str], host: str, port: int) -> None:
    """Serve until SIGTERM."""
    _log_to_stderr()
    around = look_around(record, inherited)
    isolate(f"{BUNDLE}/box")
    os.environ["HOME"] = around.env["HOME"]  # libraries ask for it
    uvloop.run(_serve(Desk(record, around, port), host, port))


def _log_to_stderr() -> None:
    """Stderr is also where the image's own command writes: say only what is wrong."""
    log.from_level("warning", _write_json)


def _write_json() -> None:
    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


async def _serve(desk: Desk, host: str, port: int) -> None:
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    listener = await listen(host, port, desk.sessions, verify=desk.verify, routes=desk.routes)
    await ending.wait()
    try:
        async with asyncio.timeout(_END_S):
            await listener.close()
            await desk.sessions.close()
    except TimeoutError:
        return
