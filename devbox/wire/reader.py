"""One link's incoming bytes as frames. Owns the receive buffer; knows no socket.

The common case, one whole frame in one whole websocket message, costs one copy of the payload:
unmasking it. Anything else an intermediary made of it is put together again, more slowly.

Invariant: `_start <= _end <= len(_buffer)`, the bytes between are received and not yet read, and
they never hold a complete websocket message of legal size when `frames` returns.
"""

from typing import NamedTuple

from devbox.wire.frames import HEADER, HEADER_BYTES, MAX_DATA, Frame, check_header
from devbox.wire.websocket import (
    CLOSE,
    KEY_BYTES,
    MAX_HEADER,
    PING,
    MessageHeader,
    apply_mask,
    parse_header,
)

BUFFER_BYTES = 512 << 10
_WHOLE = MAX_DATA + HEADER_BYTES
_MIN_ROOM = 64 << 10


class Control(NamedTuple):
    """A websocket control message: `opcode` is CLOSE or PING."""

    opcode: int
    payload: bytes


class LinkReader:
    """Bytes in, frames out. After an error it must not be used again."""

    def __init__(self, *, masked: bool) -> None:
        self._masked = masked
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._key = b""
        self._left = 0
        self._pieces = bytearray()

    def room(self) -> memoryview:
        """Where to put the next bytes; never empty."""
        if self._start == self._end:
            self._start = self._end = 0
        elif BUFFER_BYTES - self._end < _MIN_ROOM or (
            BUFFER_BYTES - self._start < _WHOLE + MAX_HEADER
        ):
            kept = self._end - self._start
            self._view[:kept] = self._view[self._start : self._end]
            self._start, self._end = 0, kept
        return self._view[self._end :]

    def put(self, count: int) -> None:
        """`count` bytes were written to the start of `room()`."""
        self._end += count

    def waiting(self) -> memoryview:
        """Bytes received and not yet read, for what comes before the first frame (HTTP)."""
        return self._view[self._start : self._end]

    def skip(self, count: int) -> None:
        """Forget the first `count` of the waiting bytes."""
        self._start += count

    def feed(self, data: bytes) -> list[Frame | Control]:
        """Put and read `data`, whatever its size."""
        found: list[Frame | Control] = []
        rest = memoryview(data)
        while rest:
            room = self.room()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            self.put(count)
            rest = rest[count:]
            found += self.frames()
        return found

    def frames(self) -> list[Frame | Control]:
        """All complete frames received. Raises LinkBroken or ProtocolError."""
        found: list[Frame | Control] = []
        while self._left or self._message(found):
            if self._left and not self._piece(found):
                break
        return found

    def _message(self, found: list[Frame | Control]) -> bool:
        """Read one websocket message, or the header of one that comes in pieces."""
        view = self._view[self._start : self._end]
        head = parse_header(view, masked=self._masked)
        if head is None:
            return False
        body = view[head.size :]
        if head.opcode >= CLOSE:
            return self._control(head, body, found)
        if head.length > _WHOLE:
            self._start += head.size
            self._key, self._left = head.key, head.length
            return True
        if len(body) < head.length:
            return False
        self._start += head.size + head.length
        self._whole(head, body[: head.length], found)
        return True

    def _control(self, head: MessageHeader, body: memoryview, found: list[Frame | Control]) -> bool:
        if len(body) < head.length:
            return False
        self._start += head.size + head.length
        if head.opcode in {CLOSE, PING}:
            payload = bytes(body[: head.length])
            found.append(Control(head.opcode, _unmask(payload, head.key)))
        return True

    def _whole(self, head: MessageHeader, body: memoryview, found: list[Frame | Control]) -> None:
        if not self._pieces and head.length >= HEADER_BYTES:
            first = _unmask(body[:HEADER_BYTES], head.key)
            word, stream, number = HEADER.unpack(first)
            length = word & 0xFFFFFF
            if length + HEADER_BYTES == head.length:
                check_header(word >> 24, length)
                payload = _unmask(body[HEADER_BYTES:], head.key)
                found.append(Frame(word >> 24, stream, number, payload))
                return
        self._pieces += _unmask(body, head.key)
        self._join(found)

    def _piece(self, found: list[Frame | Control]) -> bool:
        """Take what is here of a long message. False when nothing is."""
        count = min(self._left, self._end - self._start)
        if not count:
            return False
        body = self._view[self._start : self._start + count]
        self._pieces += _unmask(body, self._key)
        self._start += count
        self._left -= count
        turn = count % KEY_BYTES
        self._key = self._key[turn:] + self._key[:turn]
        self._join(found)
        return True

    def _join(self, found: list[Frame | Control]) -> None:
        at = 0
        while len(self._pieces) - at >= HEADER_BYTES:
            word, stream, number = HEADER.unpack_from(self._pieces, at)
            length = word & 0xFFFFFF
            check_header(word >> 24, length)
            end = at + HEADER_BYTES + length
            if len(self._pieces) < end:
                break
            payload = bytes(self._pieces[at + HEADER_BYTES : end])
            found.append(Frame(word >> 24, stream, number, payload))
            at = end
        del self._pieces[:at]


def _unmask(data: memoryview | bytes, key: bytes) -> bytes:
    return apply_mask(data, key) if key else bytes(data)
