"""The frames of the conversation: layout, limits, version history. Knows no websocket, no socket.

A link carries frames back to back. Message boundaries of the websocket mean nothing, so an
intermediary may split and join messages as it likes.

    byte  0      1..3        4..7      8..15     16..
         +------+-----------+---------+---------+---------+
         | kind |  length   | stream  | number  | payload |      big-endian
         +------+-----------+---------+---------+---------+

Numbered frames (OPEN, DATA, CREDIT, END, RESET) count from 1 in each lane and direction, wait in
the sender's replay buffer until they are acknowledged, and are sent again on the next link. The
others belong to their link: HELLO, WELCOME and GOODBYE have number 0, in ACK it is the last number
received, in PING and PONG a token that is echoed.

Version history
    1   the first
"""

import enum
import struct
from typing import Any, NamedTuple, TypeVar

import msgspec

from devbox.model.errors import DevboxError
from devbox.wire.errors import ProtocolError

VERSION = 1
HEADER = struct.Struct("!IIQ")
HEADER_BYTES = HEADER.size
CREDIT_PAYLOAD = struct.Struct("!I")
MAX_DATA = 256 << 10
"""Bytes of payload in any frame."""
MAX_ALONE = 128 << 10
"""What one stream sends at a time while no other is open in its lane."""
MAX_CONTROL = 64 << 10
"""Bytes of payload in any frame but DATA."""
FRAME_COST = 64
"""What a frame weighs in a replay buffer beside its payload, so that tiny frames are bounded."""


class Lane(enum.StrEnum):
    """Which of a session's two links a stream uses."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Kind(enum.IntEnum):
    """A frame's first byte."""

    HELLO = 1
    WELCOME = 2
    OPEN = 3
    DATA = 4
    CREDIT = 5
    END = 6
    RESET = 7
    ACK = 8
    PING = 9
    PONG = 10
    GOODBYE = 11


NUMBERED = frozenset({Kind.OPEN, Kind.DATA, Kind.CREDIT, Kind.END, Kind.RESET})
_KINDS = frozenset(int(kind) for kind in Kind)


class Frame(NamedTuple):
    """One frame. `payload` is never changed after the frame was made."""

    kind: int
    stream: int
    number: int
    payload: bytes | memoryview

    @property
    def cost(self) -> int:
        """Its weight in a replay buffer, the same at both sides."""
        return len(self.payload) + FRAME_COST


def pack_header(frame: Frame) -> bytes:
    """The 16 bytes before the payload."""
    return HEADER.pack(frame.kind << 24 | len(frame.payload), frame.stream, frame.number)


def check_header(kind: int, length: int) -> None:
    """Raises ProtocolError for an unknown kind or a payload over its limit."""
    if kind not in _KINDS:
        raise ProtocolError(f"frame of unknown kind {kind}")
    if length > (MAX_DATA if kind == Kind.DATA else MAX_CONTROL):
        raise ProtocolError(f"frame of kind {kind} with {length} bytes is too long")


class LaneLimits(NamedTuple):
    """Sizes that both sides of version 1 agree on, per lane."""

    window: int
    """Bytes a sender may have under way in one stream before the reader took them."""
    replay: int
    """Bytes kept by a sender until acknowledged."""
    chunk: int
    """The most payload that one stream sends before it is another stream's turn."""
    streams: int
    """Open streams at the same time."""


LIMITS = {
    Lane.INTERACTIVE: LaneLimits(window=512 << 10, replay=2 << 20, chunk=32 << 10, streams=512),
    Lane.BULK: LaneLimits(window=4 << 20, replay=16 << 20, chunk=MAX_DATA, streams=64),
}


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """A client's first frame on a link."""

    version: int = VERSION
    session: str
    """128 random bits in hex, chosen by the client."""
    secret: str
    """128 random bits in hex: proves on later links that it is the same client."""
    lane: Lane
    received: int
    """The last number received in this lane."""
    new: bool
    """Begin the session if it is not known; else an unknown session is answered with GOODBYE."""

    def __repr__(self) -> str:
        return f"Hello({self.session} {self.lane} received={self.received} new={self.new})"


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's first frame on a link."""

    version: int = VERSION
    received: int
    """The last number received in this lane."""


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of OPEN."""

    service: str
    params: dict[str, Any] = {}


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of RESET and GOODBYE. An empty code is a clean end, else a DevboxError's code."""

    code: str = ""
    message: str = ""
    hint: str = ""


def reason_of(error: DevboxError | None) -> Reason:
    """The wire form of an error, or of a clean end."""
    if error is None:
        return Reason()
    return Reason(code=error.code, message=error.message[:4096], hint=error.hint[:4096])


T = TypeVar("T")


def decode(payload: bytes | memoryview, kind: type[T]) -> T:
    """Decode a JSON payload. Raises ProtocolError."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolError(f"malformed {kind.__name__}: {error}") from error


def encode(value: msgspec.Struct) -> bytes:
    """Encode a JSON payload. Raises ProtocolError when it is over the limit."""
    payload = msgspec.json.encode(value)
    if len(payload) > MAX_CONTROL:
        raise ProtocolError(f"{type(value).__name__} has {len(payload)} bytes, too many")
    return payload
