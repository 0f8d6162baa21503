"""Messages on a byte stream: LSP's base protocol (LSP 3.17, "Base Protocol").

Pure. A header part in ASCII, `Content-Length: N`, an empty line, N bytes of JSON.
"""

from devbox.model.errors import BadInput

HEADER_BYTES = 4096
MESSAGE_BYTES = 64 << 20
"""More than any server sends: a semantic-tokens answer of 10 MB is a file of 500,000 lines."""
_END = b"\r\n\r\n"
_LENGTH = b"content-length"


def frame(body: bytes) -> bytes:
    """A message with its header."""
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class Framing:
    """Takes bytes as they come, gives whole messages."""

    def __init__(self, limit: int = MESSAGE_BYTES) -> None:
        self._limit = limit
        self._held = bytearray()
        self._need = -1
        """Bytes of the message whose header was read; -1 before its header."""

    def feed(self, data: bytes) -> list[bytes]:
        """Messages that are whole now.

        Raises BadInput on a malformed header and on a message above the limit; nothing after it
        can be understood.
        """
        self._held += data
        found = []
        while (message := self._next()) is not None:
            found.append(message)
        return found

    def end(self) -> None:
        """The stream ended. Raises BadInput when a message was cut."""
        if self._held or self._need >= 0:
            raise BadInput("the stream ended in the middle of a message", "Start the editor again.")

    def _next(self) -> bytes | None:
        if self._need < 0 and not self._header():
            return None
        if len(self._held) < self._need:
            return None
        message = bytes(self._held[: self._need])
        del self._held[: self._need]
        self._need = -1
        return message

    def _header(self) -> bool:
        at = self._held.find(_END, 0, HEADER_BYTES)
        if at < 0:
            if len(self._held) >= HEADER_BYTES:
                raise _malformed(bytes(self._held[:40]))
            return False
        self._need = _length(bytes(self._held[:at]))
        if self._need > self._limit:
            raise BadInput(
                f"a message of {self._need} bytes is too large",
                f"The limit is {self._limit} bytes.",
            )
        del self._held[: at + len(_END)]
        return True


def _length(header: bytes) -> int:
    for line in header.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon:
            raise _malformed(line)
        if name.strip().lower() == _LENGTH:
            text = value.strip()
            if not text.isdigit() or len(text) > 18:
                raise _malformed(line)
            return int(text)
    raise _malformed(header)


def _malformed(found: bytes) -> BadInput:
    return BadInput(
        f"this is no header of LSP: {found[:40]!r}",
        "A message begins with `Content-Length: N` and an empty line.",
    )
