"""A client and an agent in one process over real loopback, with a relay between that can be cut."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from devbox.edge.links import (
    ClientSession,
    DialOptions,
    Handler,
    Listener,
    Request,
    ServerLimits,
    SessionEvent,
    SessionServer,
    Stream,
    Target,
    connect,
    listen,
)
from devbox.edge.links.sessions import Clock, boot_clock
from devbox.edge.tasks import Tasks
from devbox.model.grants import Grant, Scope

SCOPE_HEADER = "x-test-scopes"
TOKEN_HEADER = "x-test-token"


def claimed_grant(request: Request) -> Grant:
    """A grant of what the test's client says of itself."""
    scopes = request.headers.get(SCOPE_HEADER, "full").split(",")
    return Grant(
        project_uid="p1",
        token_id=request.headers.get(TOKEN_HEADER, "t1"),
        scopes=tuple(Scope(scope) for scope in scopes),
        expires=0.0,
        nonce="0" * 32,
    )


class Relay:
    """A TCP relay in front of `port`, standing for the gateway: its connections can be cut."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._target = port
        self._tls = tls
        self._tasks = Tasks("relay")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.accepted = 0
        self.budget: int | None = None
        """Cut everything after so many more bytes."""
        self.refuse = False
        """Drop new connections at once."""
        self.deaf = False
        """Accept bytes but pass none: a dead peer whose sockets live."""
        self.mute = False
        """Pass down no more than the heads of HTTP: links open but nobody is greeted."""

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> int:
        """Refuse connections and cut those there are; answers the port, to start again on it."""
        assert self._server is not None
        self._server.close()
        self.cut()
        return self.port

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        await self._tasks.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refuse:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        self._tasks.start(self._copy(reader, back), "up")
        self._tasks.start(self._copy(there, writer, down=True), "down")

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.deaf or (down and self.mute and not data.startswith(b"HTTP/")):
                    continue
                writer.write(self._spend(data))
                await writer.drain()
        writer.close()
        self._writers.discard(writer)

    def _spend(self, data: bytes) -> bytes:
        if self.budget is None:
            return data
        data = data[: self.budget]
        self.budget -= len(data)
        if self.budget == 0:
            self.budget = None
            asyncio.get_running_loop().call_soon(self.cut)
        return data


async def echo(stream: Stream) -> None:
    """A service that sends back what it gets."""
    while data := await stream.read():
        await stream.write(data)
    await stream.end()


@dataclass
class Pair:
    """An agent, a relay before it, and the URL for clients."""

    server: SessionServer
    listener: Listener
    relay: Relay
    events: list[SessionEvent] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.relay.port}/session"

    def client(
        self, *, headers: dict[str, str] | None = None, **options: Any
    ) -> "contextlib.AbstractAsyncContextManager[ClientSession]":
        """`options` are those of DialOptions."""
        chosen: dict[str, Any] = {"patience_s": 1.0, "on_state": self.events.append} | options
        target = Target(self.url, headers=headers or {})
        return connect(self.url, target=target, options=DialOptions(**chosen))


@contextlib.asynccontextmanager
async def pair(
    handler: Handler = echo,
    *,
    may_open: Callable[[str, tuple[Scope, ...]], bool] = lambda service, scopes: True,
    limits: ServerLimits | None = None,
    clock: Clock = boot_clock,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Pair]:
    """Everything closed afterwards."""
    server = SessionServer(handler, may_open=may_open, limits=limits or ServerLimits(), clock=clock)
    listener = await listen("127.0.0.1", 0, server, verify=claimed_grant)
    relay = Relay(listener.port, tls)
    await relay.start()
    try:
        yield Pair(server, listener, relay)
    finally:
        await relay.close()
        await server.close()
        await listener.close()
