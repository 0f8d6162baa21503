"""One stream as one side sees it: what waits to be sent, what waits to be read, and credit.

Invariant: `credit` is what we may still send, `allowed` what the peer may still send; `allowed +
buffered + owed` is the window, so what is buffered never exceeds it.
"""

from collections import deque
from typing import Any

from devbox.model.errors import BY_CODE, DevboxError, Internal, Unavailable
from devbox.wire.errors import ProtocolError
from devbox.wire.frames import LaneLimits, Open, Reason
from devbox.wire.states import STREAM, Machine, StreamMove, StreamState


class StreamCore:
    """State of one stream. Only its lane and the face of it for applications touch this."""

    __slots__ = (
        "_limits",
        "allowed",
        "buffered",
        "chunks",
        "credit",
        "ending",
        "error",
        "ident",
        "machine",
        "owed",
        "owner",
        "params",
        "pending",
        "pending_bytes",
        "queued",
        "service",
        "stopping",
    )

    def __init__(self, ident: int, opening: Open, limits: LaneLimits) -> None:
        self._limits = limits
        self.ident = ident
        self.service = opening.service
        self.params: dict[str, Any] = opening.params
        self.machine = Machine(STREAM)
        self.chunks: deque[bytes | memoryview] = deque()
        self.buffered = 0
        self.allowed = limits.window
        self.owed = 0
        self.credit = limits.window
        self.pending: deque[memoryview] = deque()
        self.pending_bytes = 0
        self.ending = False
        self.queued = False
        self.stopping = False
        """Nobody reads any more: what comes is dropped, and RESET follows our END."""
        self.owner: Any = None
        """The edge's own, never looked at here."""
        self.error: DevboxError | None = None

    # -- sending

    def queue(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes to send. Raises DevboxError when the stream cannot take any.

        Bytes and read-only views are kept as they are: they must not change any more.
        """
        self.check_sending()
        if len(data):
            view = memoryview(data)
            kept = view if view.readonly else memoryview(bytes(data))
            self.pending.append(kept)
            self.pending_bytes += len(kept)

    def check_sending(self) -> None:
        """Raises DevboxError when nothing more can be sent."""
        if self.error is not None:
            raise self.error
        if self.ending or self.machine.state in {StreamState.WE_ENDED, StreamState.CLOSED}:
            raise Unavailable("the stream is closed")

    @property
    def sendable(self) -> bool:
        """Whether a frame could be made now."""
        return (self.pending_bytes > 0 and self.credit > 0) or (
            self.ending and not self.pending_bytes
        )

    def take(self, limit: int) -> memoryview:
        """The next payload to send, within credit and `limit`."""
        size = min(limit, self.credit)
        first = self.pending[0]
        if len(first) > size:
            self.pending[0] = first[size:]
            first = first[:size]
        else:
            self.pending.popleft()
        self.pending_bytes -= len(first)
        self.credit -= len(first)
        return first

    def add_credit(self, count: int) -> None:
        """The peer's reader took bytes. Raises ProtocolError when it overdoes."""
        self.credit += count
        if self.credit > self._limits.window:
            raise ProtocolError(f"stream {self.ident} was given more credit than its window")

    # -- receiving

    def deliver(self, data: bytes | memoryview) -> None:
        """Bytes from the peer. Raises ProtocolError when it had no credit or had ended."""
        if self.machine.state not in {StreamState.OPEN, StreamState.WE_ENDED}:
            raise ProtocolError(f"data after the end of stream {self.ident}")
        if len(data) > self.allowed:
            raise ProtocolError(f"stream {self.ident} sent more than its credit")
        self.allowed -= len(data)
        if self.stopping:
            self.owed += len(data)
            return
        self.buffered += len(data)
        self.chunks.append(data)

    def read(self, limit: int) -> bytes | memoryview | None:
        """Up to `limit` bytes; b"" at the end; None when there is nothing yet.

        A view is of memory that is used again once it is gone: to be passed on or copied at once.

        Raises the peer's error once all before it was read.
        """
        if self.chunks:
            return self._pop(limit)
        if self.error is not None:
            raise self.error
        ended = self.machine.state in {StreamState.THEY_ENDED, StreamState.CLOSED}
        return b"" if ended else None

    def _pop(self, limit: int) -> bytes | memoryview:
        first = self.chunks[0]
        if len(first) > limit:
            view = memoryview(first)
            self.chunks[0] = view[limit:]
            first = view[:limit]
        else:
            self.chunks.popleft()
        self.buffered -= len(first)
        self.owed += len(first)
        return first

    def settle(self) -> None:
        """What nobody read at once may wait for long: hold its bytes alone, not all around them.

        To be called after every delivery, so that only the last chunk can be a view.
        """
        if self.chunks and isinstance(self.chunks[-1], memoryview):
            self.chunks[-1] = bytes(self.chunks[-1])

    def grant(self) -> int:
        """Credit worth giving back now, or 0."""
        if self.machine.state not in {StreamState.OPEN, StreamState.WE_ENDED}:
            return 0
        if self.owed * 4 < self._limits.window:
            return 0
        count, self.owed = self.owed, 0
        self.allowed += count
        return count

    # -- ends

    def stop(self) -> None:
        """Nobody will read: drop what is here and what comes."""
        self.stopping = True
        self.owed += self.buffered
        self.buffered = 0
        self.chunks.clear()

    def close(self, move: StreamMove, error: DevboxError | None) -> None:
        """Closed at once: nothing more is sent; what was received can still be read."""
        self.machine.move(move)
        self.pending.clear()
        self.pending_bytes = 0
        self.ending = False
        if error is not None:
            self.error = error


def error_of(reason: Reason) -> DevboxError | None:
    """The error that a peer sent; None for a clean end."""
    if not reason.code:
        return None
    return BY_CODE.get(reason.code, Internal)(reason.message, reason.hint)
