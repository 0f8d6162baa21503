"""Every connection's first protocol: reads one head, then gives the connection away for good.

A request for a websocket goes to the tunnel, anything else to the HTTP server with the bytes read
so far. Neither ever gets a connection back, so no byte is read by two parsers.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec
import structlog

from devbox.edge.pacing import unpace_near
from devbox.edge.rpc import failure_of
from devbox.edge.tasks import Tasks
from devbox.model.errors import BadInput, DevboxError, Internal
from gateway.secrecy import without_secret
from gateway.tunnel.box import tune
from gateway.tunnel.copying import CopiedLink
from gateway.tunnel.door import Admitted, Door, send_all, status_of
from gateway.tunnel.head import END, LIMIT, Head, parse, wants_tunnel
from gateway.tunnel.links import Link, Links
from gateway.tunnel.splice import Pipes, SplicedLink

if TYPE_CHECKING:
    from gateway.tls import Secure

_log = structlog.get_logger()
_HEAD_S = 10.0
_TAIL = 64 << 10
"""Bytes that a client may send before it has its answer."""
_REASONS = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}


class Reception:
    """What all connections of a gateway share."""

    def __init__(
        self,
        door: Door,
        links: Links,
        pipes: Pipes,
        tasks: Tasks,
        http: Callable[[], asyncio.Protocol],
        *,
        head_s: float = _HEAD_S,
        most_waiting: int = 6000,
    ) -> None:
        self.door = door
        self.links = links
        self.pipes = pipes
        self.tasks = tasks
        self.http = http
        self.head_s = head_s
        self._most_waiting = most_waiting
        self._waiting: dict[Front | Secure, None] = {}

    def arrived(self, front: "Front | Secure") -> None:
        """A connection has not said what it wants. Beyond the bound the oldest one goes."""
        self._waiting[front] = None
        if len(self._waiting) > self._most_waiting:
            next(iter(self._waiting)).drop()

    def left(self, front: "Front | Secure") -> None:
        """It waits no more."""
        self._waiting.pop(front, None)

    def close(self) -> None:
        """Drop all that wait."""
        for front in list(self._waiting):
            front.drop()


class Front(asyncio.Protocol):
    """One connection until its head is read, and the opening of a tunnel."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._opening: asyncio.Task[None] | None = None
        self._taken = False
        self._log: Any = _log

    def __repr__(self) -> str:
        return "<Front>"

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the head."""
        self._transport = cast("asyncio.Transport", transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._reception.head_s, self.drop)
        self._reception.arrived(self)

    def data_received(self, data: bytes) -> None:
        """Gather the head; afterwards, what a hasty client sends."""
        start = max(0, len(self._buffer) - len(END) + 1)
        self._buffer += data
        if self._opening is not None:
            if len(self._buffer) > _TAIL:
                self.drop()
            return
        end = self._buffer.find(END, start)
        if end >= 0:
            self._decide(end + len(END))
        elif len(self._buffer) > LIMIT:
            self._refuse(BadInput("the head of the request is too long"), 431, 0.0)

    def connection_lost(self, _: Exception | None) -> None:
        """The client is gone."""
        self._rest()
        if self._opening is not None and not self._taken:
            self._opening.cancel()

    def drop(self) -> None:
        """Close it without a word."""
        self._rest()
        if self._transport is not None:
            self._transport.abort()

    def _rest(self) -> None:
        self._reception.left(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _decide(self, end: int) -> None:
        self._rest()
        head = bytes(self._buffer[:end])
        if not wants_tunnel(head):
            self._give_to_http()
            return
        del self._buffer[:end]
        self._opening = self._reception.tasks.start(self._tunnel(head), "tunnel")

    def _give_to_http(self) -> None:
        assert self._transport is not None
        server = self._reception.http()
        self._transport.set_protocol(server)
        server.connection_made(self._transport)
        server.data_received(bytes(self._buffer))
        self._buffer.clear()

    # The tunnel

    async def _tunnel(self, head_bytes: bytes) -> None:
        assert self._transport is not None
        began = time.monotonic()
        client = str((self._transport.get_extra_info("peername") or ("local",))[0])
        path = without_secret(head_bytes.split(b" ", 2)[1].decode("latin-1"))
        log = _log.bind(path=path, client=client)
        try:
            head = parse(head_bytes)
            admitted = await self._reception.door.admit(head, client)
            await self._open(admitted, head, client, log)
        except DevboxError as error:
            status, wait_s = status_of(error)
            log.info("tunnel_refused", status=status, code=error.code, s=_since(began))
            self._refuse(error, status, wait_s)
        except OSError as error:
            log.info("tunnel_lost", error=type(error).__name__, s=_since(began))
            self.drop()
        except asyncio.CancelledError:
            self.drop()
            raise
        except Exception:
            log.exception("tunnel_failed")
            self._refuse(Internal("the tunnel could not be opened", "Try again."), 500, 0.0)

    async def _open(self, admitted: Admitted, head: Head, client: str, log: Any) -> None:
        with self._reception.door.place(admitted, client) as held:
            box, answer = await self._reception.door.open(admitted, head)
            with contextlib.ExitStack() as dangling:
                dangling.callback(box.close)
                self._reception.links.check(admitted.owner)
                self._log = log.bind(token_id=admitted.token_id)
                await self._join(admitted, box, answer, held)
                dangling.pop_all()

    async def _join(
        self, admitted: Admitted, box: socket.socket, answer: bytes, held: contextlib.ExitStack
    ) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            raise ConnectionResetError
        self._transport.pause_reading()
        self._taken = True
        await send_all(box, bytes(self._buffer))
        self._buffer.clear()
        if self._transport.get_extra_info("ssl_object") is not None:
            await self._join_tls(admitted, box, answer, held)
            return
        client = _take_socket(self._transport)
        try:
            await send_all(client, answer)
            link = SplicedLink(client, box, self._reception.pipes)
            gone = self._registered(link, admitted, held)
        except BaseException:
            client.close()
            raise
        link.start(gone)

    async def _join_tls(
        self, admitted: Admitted, box: socket.socket, answer: bytes, held: contextlib.ExitStack
    ) -> None:
        assert self._transport is not None
        self._transport.write(answer)
        link = CopiedLink(self._transport, box)
        await link.start(self._registered(link, admitted, held))

    def _registered(
        self, link: Link, admitted: Admitted, held: contextlib.ExitStack
    ) -> Callable[[], None]:
        self._reception.links.add(link, admitted.owner)
        kept, links, log = held.pop_all(), self._reception.links, self._log
        began = time.monotonic()
        log.info("link_opened")

        def gone() -> None:
            links.remove(link)
            kept.close()
            log.info("link_closed", bytes=link.moved, s=_since(began))

        return gone

    def _refuse(self, error: DevboxError, status: int, wait_s: float) -> None:
        if self._transport is None or self._taken:
            self.drop()
            return
        self._rest()
        self._transport.write(_answer(error, status, wait_s))
        self._transport.close()


def _answer(error: DevboxError, status: int, wait_s: float) -> bytes:
    body = msgspec.json.encode(failure_of(error))
    lines = [
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Refused')}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if wait_s:
        lines.append(f"Retry-After: {int(wait_s + 0.999)}")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def _take_socket(transport: asyncio.Transport) -> socket.socket:
    """The connection without its transport: a descriptor of our own keeps it open."""
    theirs = transport.get_extra_info("socket")
    ours = socket.socket(fileno=os.dup(theirs.fileno()))
    ours.setblocking(False)
    tune(ours)
    unpace_near(ours)
    transport.abort()
    return ours


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
