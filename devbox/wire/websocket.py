"""RFC 6455 as far as links use it: frame headers, masking, the accept key. Pure.

No extension, no text messages; message boundaries carry no meaning.
"""

import base64
import hashlib
import struct
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import Any, NamedTuple

from devbox.wire.errors import LinkBroken


def _compiled() -> Any:
    """Masking in C, without the package around it: that takes longer to load than all of this."""
    package = find_spec("websockets")
    places = package.submodule_search_locations if package else None
    found = PathFinder.find_spec("websockets.speedups", places)
    if found is None or found.loader is None:
        raise ImportError("websockets has no speedups here")
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


try:
    apply_mask = _compiled().apply_mask
except ImportError:  # a platform without the compiled one: a tenth of the speed
    from websockets.utils import apply_mask

CONTINUATION = 0
BINARY = 2
CLOSE = 8
PING = 9
PONG = 10
KEY_BYTES = 4
MAX_HEADER = 14
_MAX_CONTROL = 125
_SHORT = struct.Struct("!BB")
_MIDDLE = struct.Struct("!BBH")
_LONG = struct.Struct("!BBQ")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

__all__ = ["MessageHeader", "accept_key", "apply_mask", "pack_header", "parse_header"]


class MessageHeader(NamedTuple):
    """Header of one websocket frame."""

    opcode: int
    length: int
    """Of the payload, in bytes."""
    key: bytes
    """Masking key; empty when not masked."""
    size: int
    """Bytes the header itself takes."""


def accept_key(key: str) -> str:
    """`Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1(key.encode("ascii", "replace") + _GUID).digest()  # noqa: S324
    return base64.b64encode(digest).decode("ascii")


def pack_header(opcode: int, length: int, key: bytes) -> bytes:
    """Header of a final frame, masked when there is a key."""
    first = 0x80 | opcode
    mask = 0x80 if key else 0
    if length <= _MAX_CONTROL:
        return _SHORT.pack(first, mask | length) + key
    if length < 1 << 16:
        return _MIDDLE.pack(first, mask | 126, length) + key
    return _LONG.pack(first, mask | 127, length) + key


def parse_header(data: memoryview, *, masked: bool) -> MessageHeader | None:
    """Parse the header at the start of `data`; None when more bytes are needed.

    Raises LinkBroken for reserved bits, unknown opcodes, wrong masking, long control frames.
    """
    if len(data) < _SHORT.size:
        return None
    first, second = data[0], data[1]
    opcode = first & 0x0F
    _check_first(first, second, opcode, masked=masked)
    length = second & 0x7F
    size = _SHORT.size if length <= _MAX_CONTROL else _MIDDLE.size if length == 126 else _LONG.size
    total = size + (KEY_BYTES if masked else 0)
    if len(data) < total:
        return None
    if length == 126:
        length = _MIDDLE.unpack_from(data)[2]
    elif length == 127:
        length = _LONG.unpack_from(data)[2]
    return MessageHeader(opcode, length, bytes(data[size:total]), total)


def _check_first(first: int, second: int, opcode: int, *, masked: bool) -> None:
    if first & 0x70:
        raise LinkBroken("websocket frame with reserved bits")
    if bool(second & 0x80) != masked:
        raise LinkBroken("websocket frame with wrong masking")
    if opcode >= CLOSE:
        if opcode > PONG or not first & 0x80 or second & 0x7F > _MAX_CONTROL:
            raise LinkBroken("malformed websocket control frame")
    elif opcode not in {CONTINUATION, BINARY}:
        raise LinkBroken(f"websocket frame with opcode {opcode}")
