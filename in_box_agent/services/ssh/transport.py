"""An asyncio transport over a stream of a session, for asyncssh's connection.

Writes are gathered and given to the stream in large pieces; the protocol is told to pause when
the stream does not keep up.
"""

import asyncio
from typing import Any, Protocol

from devbox.edge.tasks import Tasks

_READ_BYTES = 128 << 10
_HIGH_BYTES = 256 << 10
_LOW_BYTES = 64 << 10
_PIECE_BYTES = 256 << 10


class ByteStream(Protocol):
    """What is needed of a stream."""

    async def read(self, limit: int) -> bytes:
        """Some bytes; b"" at the end."""

    async def write(self, data: bytes) -> None:
        """Returns when the stream has room again."""

    async def end(self) -> None:
        """No more writes come."""


class StreamTransport(asyncio.Transport):
    """Owns nothing but the two directions' tasks, which live in the caller's `Tasks`."""

    def __init__(self, stream: ByteStream, tasks: Tasks, connection: asyncio.Protocol) -> None:
        super().__init__()
        self._stream = stream
        self._connection = connection
        self._waiting: list[bytes] = []
        self._size = 0
        self._congested = False
        self._wake = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._closing = False
        self._lost = False
        self.closed = asyncio.Event()
        tasks.start(self._read_all(), "ssh-in")
        tasks.start(self._write_all(), "ssh-out")

    async def _read_all(self) -> None:
        error: Exception | None = None
        try:
            while not self._lost:
                await self._reading.wait()
                data = await self._stream.read(_READ_BYTES)
                if not data:
                    break
                self._connection.data_received(data)
        except (OSError, EOFError) as problem:
            error = problem
        self._lose(error)

    async def _write_all(self) -> None:
        error: Exception | None = None
        try:
            while not self._lost:
                await self._wake.wait()
                self._wake.clear()
                await self._flush()
                if self._closing and not self._waiting:
                    await self._stream.end()
                    break
        except (OSError, EOFError) as problem:
            error = problem
        self._lose(error)

    async def _flush(self) -> None:
        while self._waiting and not self._lost:
            data, self._waiting = b"".join(self._waiting), []
            for start in range(0, len(data), _PIECE_BYTES):
                piece = data[start : start + _PIECE_BYTES]
                await self._stream.write(piece)
                self._size -= len(piece)
                self._tell()

    def _tell(self) -> None:
        if self._congested and self._size <= _LOW_BYTES:
            self._congested = False
            self._connection.resume_writing()
        elif not self._congested and self._size > _HIGH_BYTES:
            self._congested = True
            self._connection.pause_writing()

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._wake.set()
        self._reading.set()
        self._connection.connection_lost(error)
        self.closed.set()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, without waiting."""
        if self._closing or not data:
            return
        self._waiting.append(bytes(data))
        self._size += len(data)
        self._wake.set()
        self._tell()

    def pause_reading(self) -> None:
        """Hold incoming data back."""
        self._reading.clear()

    def resume_reading(self) -> None:
        """Take incoming data again."""
        self._reading.set()

    def is_closing(self) -> bool:
        """Whether `close` was called or the stream ended."""
        return self._closing

    def close(self) -> None:
        """Send what waits, then end."""
        self._closing = True
        self._wake.set()

    def abort(self) -> None:
        """End at once."""
        self._waiting.clear()
        self._lose(None)

    def get_write_buffer_size(self) -> int:
        """Bytes that the stream has not taken."""
        return self._size

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The peer is the gateway's business; SSH sees a connection from the box itself."""
        return {"peername": ("127.0.0.1", 0), "sockname": ("127.0.0.1", 22)}.get(name, default)
