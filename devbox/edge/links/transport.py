"""An asyncio.Transport over a stream, for protocols written against asyncio (asyncssh)."""

import asyncio
from typing import Any, cast

from devbox.edge.links.streams import Stream
from devbox.model.errors import DevboxError

_GATHER_BYTES = 256 << 10
"""What is written in one turn of the loop goes out together, up to this."""


class StreamTransport(asyncio.Transport):
    """Calls the protocol as a socket's transport would; half closes both ways."""

    def __init__(
        self, stream: Stream, protocol: asyncio.Protocol, extra: dict[str, Any] | None = None
    ) -> None:
        super().__init__({"peername": ("session", 0), "sockname": ("box", 0)} | (extra or {}))
        self._stream = stream
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._reading = True
        self._closing = False
        self._ended = False
        self._full = False
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._high = 256 << 10
        self._low = 64 << 10
        self.closed: asyncio.Future[None] = self._loop.create_future()
        """Done when the protocol was told that the connection is lost."""
        self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._protocol.connection_made(self)
        self._stream.watch(self._step)
        self._step()

    def _step(self) -> None:
        """Something may have changed: resume a writer, deliver what can be read."""
        self._resume_writer()
        while self._reading and not self._closing and not self._ended:
            try:
                data = self._stream.read_now()
            except DevboxError as error:
                self._lose(ConnectionResetError(error.message))
                return
            if data is None:
                return
            if data:
                self._protocol.data_received(data)
            else:
                self._end_of_input()

    def _end_of_input(self) -> None:
        self._ended = True
        if not self._protocol.eof_received():
            self.close()

    def _resume_writer(self) -> None:
        if self._full and self._stream.pending_bytes <= self._low:
            self._full = False
            self._protocol.resume_writing()

    # -- reading

    def is_reading(self) -> bool:
        """Whether the protocol wants data."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Leave data with the sender."""
        self._reading = False

    def resume_reading(self) -> None:
        """Deliver again."""
        if not self._reading:
            self._reading = True
            self._loop.call_soon(self._step)

    # -- writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue; the protocol is paused when too much waits."""
        if self._closing or not len(data):
            return
        self._gathered.append(bytes(data))
        self._gathered_bytes += len(data)
        if self._gathered_bytes >= _GATHER_BYTES:
            self._flush()
        elif len(self._gathered) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Give the stream in one piece what was written in many."""
        if not self._gathered or self._closing:
            return
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._gathered_bytes = 0
        try:
            self._stream.write_now(data)
        except DevboxError as error:
            self._lose(ConnectionResetError(error.message))
            return
        if not self._full and self._stream.pending_bytes > self._high:
            self._full = True
            self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        """Bytes not yet given to the link."""
        return self._gathered_bytes + self._stream.pending_bytes

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Low and high water marks."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As asyncio's, within 64 KiB and up."""
        self._high = max(high if high is not None else 256 << 10, 64 << 10)
        self._low = min(low if low is not None else self._high // 4, self._high)

    def can_write_eof(self) -> bool:
        """Streams have half closes."""
        return True

    def write_eof(self) -> None:
        """No more will be written."""
        self._flush()
        self._stream.end_now()

    # -- ends

    def is_closing(self) -> bool:
        """Whether it is closed or closing."""
        return self._closing

    def close(self) -> None:
        """What was written arrives; the protocol hears no more."""
        self._flush()
        if not self._closing:
            self._stream.watch(None)
            self._stream.close_now()
            self._lose(None)

    def abort(self) -> None:
        """Close at once."""
        if not self._closing:
            self._stream.watch(None)
            self._stream.close_now("the connection was aborted")
            self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._stream.watch(None)
        self._loop.call_soon(self._tell_lost, error)

    def _tell_lost(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)
        if not self.closed.done():
            self.closed.set_result(None)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who is called."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Call another one from now on."""
        self._protocol = cast("asyncio.Protocol", protocol)
