"""One link's incoming bytes as frames. Owns the receive buffer; knows no socket.

The common case is one whole frame in one whole websocket message. Then a large payload is not
copied: the frame has a view of the buffer, or what unmasking makes of it. Anything else an
intermediary made of it is put together again, more slowly.

Invariant: `_start <= _end <= len(_buffer)`, the bytes between are received and not yet read, and
they never hold a complete websocket message of legal size when `frames` returns. Bytes before
`_start` may be looked at by frames, and are not written again before all of these are gone.
"""

from typing import NamedTuple

from devbox.wire.blocks import SMALL, VIEW_FROM, Blocks, unused
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

_WHOLE = MAX_DATA + HEADER_BYTES
_NO_KEY = bytes(KEY_BYTES)


class Control(NamedTuple):
    """A websocket control message: `opcode` is CLOSE or PING."""

    opcode: int
    payload: bytes


class LinkReader:
    """Bytes in, frames out. After an error it must not be used again."""

    def __init__(self, *, masked: bool) -> None:
        self._masked = masked
        self._buffer = bytearray(SMALL)
        self._blocks = Blocks()
        self._needed = 0
        """Bytes from `_start` on that the message lying there takes."""
        self._start = 0
        self._end = 0
        self._key = b""
        self._left = 0
        self._pieces = bytearray()

    def room(self) -> memoryview:
        """Where to put the next bytes; never empty."""
        size = len(self._buffer)
        if self._start == self._end and (not self._end or unused(self._buffer)):
            self._start = self._end = 0
        elif size - self._end < size // 8 or size - self._start < self._needed:
            self._renew()
        return memoryview(self._buffer)[self._end :]

    def _renew(self) -> None:
        """Go on in another block; the beginning of a message comes along."""
        kept = self.waiting()
        self._buffer = self._blocks.after(self._buffer)
        self._buffer[: len(kept)] = kept
        self._start, self._end = 0, len(kept)

    def put(self, count: int) -> None:
        """`count` bytes were written to the start of `room()`."""
        self._end += count

    def waiting(self) -> memoryview:
        """Bytes received and not yet read, for what comes before the first frame (HTTP)."""
        return memoryview(self._buffer)[self._start : self._end]

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
        view = self.waiting()
        head = parse_header(view, masked=self._masked)
        if head is None:
            self._needed = MAX_HEADER
            return False
        body = view[head.size :]
        if head.opcode >= CLOSE:
            return self._control(head, body, found)
        if head.length > _WHOLE:
            self._start += head.size
            self._key, self._left = head.key, head.length
            return True
        if len(body) < head.length:
            self._needed = head.size + head.length
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
                payload = _payload(body[HEADER_BYTES:], head.key)
                found.append(Frame(word >> 24, stream, number, payload))
                return
        self._pieces += _unmask(body, head.key)
        self._join(found)

    def _piece(self, found: list[Frame | Control]) -> bool:
        """Take what is here of a long message. False when nothing is."""
        count = min(self._left, self._end - self._start)
        if not count:
            return False
        body = self.waiting()[:count]
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
    return apply_mask(data, key) if key and key != _NO_KEY else bytes(data)


def _payload(data: memoryview, key: bytes) -> bytes | memoryview:
    """As `_unmask`, but of the buffer itself where there is nothing to unmask."""
    if len(data) < VIEW_FROM or (key and key != _NO_KEY):
        return _unmask(data, key)
    return data.toreadonly()
