"""Bytes both ways where the gateway itself speaks TLS: copied, with the same ends and bounds.

TLS has no half-closed state in asyncio: the client's end closes both directions.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

_HIGH = 256 << 10
"""Bytes held for a slow reader before its sender is stopped."""


class _Side(asyncio.Protocol):
    __slots__ = ("_ended", "moved", "peer", "transport")

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self.transport: asyncio.Transport | None = None
        self.peer: _Side | None = None
        self.moved = 0

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
        other = self.peer.transport if self.peer else None
        if other and not other.is_closing() and other.can_write_eof():
            other.write_eof()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        other = self.peer.transport if self.peer else None
        if other and not other.is_closing():
            if exc is not None:
                other.abort()
            else:
                other.close()
        self._ended()


class CopiedLink:
    """A client's TLS transport and a box's socket, joined until both ended."""

    def __init__(self, client: asyncio.Transport, box: socket.socket) -> None:
        self._client_transport = client
        self._box_socket = box
        self._open = 2
        self._gone: Callable[[], None] | None = None
        self._client = _Side(self._ended)
        self._box = _Side(self._ended)
        self._client.peer, self._box.peer = self._box, self._client

    async def start(self, gone: Callable[[], None]) -> None:
        """Begin; `gone` is called once, at the end."""
        self._gone = gone
        loop = asyncio.get_running_loop()
        self._client.connection_made(self._client_transport)
        self._client_transport.set_protocol(self._client)
        await loop.create_connection(lambda: self._box, sock=self._box_socket)
        if self._client_transport.is_closing():
            self.abort()
            self._finish()
        else:
            self._client_transport.resume_reading()

    @property
    def moved(self) -> int:
        """Bytes of both directions."""
        return self._client.moved + self._box.moved

    def abort(self) -> None:
        """Close both sides at once."""
        for side in (self._client, self._box):
            if side.transport is not None:
                side.transport.abort()

    def _ended(self) -> None:
        self._open -= 1
        if not self._open:
            self._finish()

    def _finish(self) -> None:
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()
