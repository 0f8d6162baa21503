"""Bytes both ways where the gateway itself speaks TLS: copied, with the same ends and bounds.

As with spliced links: each direction ends for itself, a break breaks both, a slow reader stops its
sender, and a half-closed link where nothing moves ends.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import cast

from gateway.tunnel.splice import HALF_CLOSED_S

_HIGH = 256 << 10
"""Bytes held for a slow reader before its sender is stopped."""


class _Side(asyncio.Protocol):
    __slots__ = ("_link", "ended", "moved", "peer", "transport")

    def __init__(self, link: "CopiedLink") -> None:
        self._link = link
        self.transport: asyncio.Transport | None = None
        self.peer: _Side | None = None
        self.moved = 0
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_HIGH)

    def data_received(self, data: bytes) -> None:
        self.moved += len(data)
        if self.peer and self.peer.transport:
            self.peer.transport.write(data)

    def pause_writing(self) -> None:
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def eof_received(self) -> bool:
        self.ended = True
        other = self.peer.transport if self.peer else None
        if other and not other.is_closing():
            other.write_eof()
        self._link.half_ended()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.transport = None
        self._link.lost()


class CopiedLink:
    """A client's TLS transport and a box's socket, joined until both ended."""

    __slots__ = (
        "_box", "_box_socket", "_client", "_client_transport", "_gone", "_linger", "_seen",
    )  # fmt: skip

    def __init__(self, client: asyncio.Transport, box: socket.socket) -> None:
        self._client_transport = client
        self._box_socket = box
        self._gone: Callable[[], None] | None = None
        self._client = _Side(self)
        self._box = _Side(self)
        self._client.peer, self._box.peer = self._box, self._client
        self._linger: asyncio.TimerHandle | None = None
        self._seen = -1

    async def start(self, gone: Callable[[], None]) -> None:
        """Begin; `gone` is called once, at the end."""
        self._gone = gone
        loop = asyncio.get_running_loop()
        self._client.connection_made(self._client_transport)
        self._client_transport.set_protocol(self._client)
        await loop.create_connection(lambda: self._box, sock=self._box_socket)
        if self._client_transport.is_closing():  # nobody may be told any more
            self._client.transport = None
            self.abort()
        else:
            self._client_transport.resume_reading()

    @property
    def moved(self) -> int:
        """Bytes of both directions."""
        return self._client.moved + self._box.moved

    @property
    def held(self) -> int:
        """Bytes taken from one side and not yet given to the other."""
        there = (side.transport for side in self._sides if side.transport is not None)
        return sum(transport.get_write_buffer_size() for transport in there)

    @property
    def _sides(self) -> tuple[_Side, _Side]:
        return self._client, self._box

    def half_ended(self) -> None:
        """One direction is through."""
        if all(side.ended for side in self._sides):
            for side in self._sides:
                if side.transport is not None:
                    side.transport.close()
        elif self._linger is None:
            self._watch_half_closed()

    def _watch_half_closed(self) -> None:
        if self._seen == self.moved:
            self.abort()
            return
        self._seen = self.moved
        self._linger = asyncio.get_running_loop().call_later(HALF_CLOSED_S, self._watch_half_closed)

    def abort(self) -> None:
        """Reset both sides: nothing more comes or goes."""
        for side in self._sides:
            if side.transport is not None:
                _reset(side.transport)

    def lost(self) -> None:
        """A connection is gone: after both ends in order, or broken, and then the other breaks."""
        if not all(side.ended for side in self._sides):
            self.abort()
        if all(side.transport is None for side in self._sides):
            self._finish()

    def _finish(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()


def _reset(transport: asyncio.Transport) -> None:
    """Abort with a reset instead of an end."""
    sock = transport.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):  # closed, or not there
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
