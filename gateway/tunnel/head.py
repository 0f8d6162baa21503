"""The head of a request that wants a tunnel, and of the box's answer (RFC 9112, RFC 6455). Pure.

Only heads that ask for a websocket are read here, and strictly; everything else is the HTTP
server's. The box never sees a byte of the client's head: `session_request` writes a new one.
"""

import re
from dataclasses import dataclass

from devbox.model.errors import BadInput
from devbox.model.grants import GRANT_HEADER

END = b"\r\n\r\n"
LIMIT = 16 << 10
"""Bytes of a head."""

_LINE = re.compile(r"([A-Z]+) (/[!-~]*) HTTP/1\.1")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_UPGRADE = re.compile(rb"^upgrade[ \t]*:[ \t]*websocket[ \t]*\r?$", re.I | re.M)
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})(?: |\r\n)")
_PASSED = (
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
)
_ONCE = {"host", "authorization", "upgrade", "sec-websocket-key", "sec-websocket-version"}
_BODY = {"content-length", "transfer-encoding", "trailer", "expect"}


@dataclass(frozen=True)
class Head:
    """An upgrade request. `repr` hides its credential."""

    target: str
    headers: dict[str, str]
    """Names in lower case; repeated ones joined by a comma."""

    def __repr__(self) -> str:
        return "Head(…)"


def wants_tunnel(head: bytes) -> bool:
    """Whether a complete head asks for a websocket."""
    return head.startswith(b"GET ") and _UPGRADE.search(head) is not None


def parse(head: bytes) -> Head:
    """Read a head that ends in an empty line. Raises BadInput that repeats nothing of it."""
    line, *fields = head[: -len(END)].decode("latin-1").split("\r\n")
    found = _LINE.fullmatch(line)
    if found is None or found[1] != "GET":
        raise BadInput("the request line is malformed")
    headers: dict[str, str] = {}
    for text in fields:
        name, value = _field(text)
        if name in headers and name in _ONCE:
            raise BadInput(f"the request has more than one {name} header")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    _check(headers)
    return Head(found[2], headers)


def _field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise BadInput("a header of the request is malformed")
    return name.lower(), value.strip(" \t")


def _check(headers: dict[str, str]) -> None:
    connection = {part.strip().lower() for part in headers.get("connection", "").split(",")}
    if "upgrade" not in connection or headers.get("upgrade", "").lower() != "websocket":
        raise BadInput("the request asks for no websocket")
    if not headers.get("host") or not headers.get("sec-websocket-key"):
        raise BadInput("the request lacks a Host or a Sec-WebSocket-Key header")
    if _BODY & headers.keys():
        raise BadInput("a websocket request has no body")


def session_request(head: Head, grant: str) -> bytes:
    """The request to the box: the client's websocket headers and the grant, nothing else."""
    lines = ["GET /session HTTP/1.1", "Host: box", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"{name}: {head.headers[name]}" for name in _PASSED if name in head.headers]
    lines.append(f"{GRANT_HEADER}: {grant}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def status_of(answer: bytes) -> int:
    """The status of an answer's head; 0 when it is no HTTP/1.1."""
    found = _STATUS.match(answer)
    return int(found[1]) if found else 0
