"""Every parser of what a peer sent: any bytes give a value or the parser's own error.

A target takes bytes and raises only what is a finding. `python -m tests.fuzz.run` gives them to
atheris; the suite gives them single bytes, random bytes, and seeds with a few bytes changed.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devbox.edge.http1 import parse_response
from devbox.edge.links.dial import refusal
from devbox.edge.links.listener import parse_request
from devbox.edge.registry.references import Reference
from devbox.model.address import Address, parse_url
from devbox.model.errors import BadInput, DevboxError
from devbox.model.grants import Grant, Scope, sign, verify
from devbox.wire.errors import LinkBroken, ProtocolError
from devbox.wire.frames import Frame, Hello, Kind, Lane, Open, Reason, Welcome, decode, encode
from devbox.wire.frames import pack_header as frame_header
from devbox.wire.lane import LaneCore
from devbox.wire.reader import Control, LinkReader
from devbox.wire.websocket import BINARY
from devbox.wire.websocket import pack_header as message_header
from gateway.tunnel.head import END, parse, status_of, wants_tunnel
from gateway.tunnel.target import target_of
from in_box_agent.lsp.framing import Framing
from in_box_agent.lsp.framing import frame as frame_of
from in_box_agent.lsp.places import parse as parse_uri
from in_box_agent.services.events import parse_ports
from in_box_agent.services.pty import _frames
from in_box_agent.surroundings import parse_account

_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
_NOW = 1_800_000_000.0


@dataclass(frozen=True)
class Target:
    """A parser, and inputs that it likes."""

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...] = (b"",)


def _message(*frames: Frame) -> bytes:
    body = b"".join(frame_header(frame) + bytes(frame.payload) for frame in frames)
    return message_header(BINARY, len(body), b"") + body


_OPEN = Frame(Kind.OPEN, 1, 1, encode(Open(service="ssh")))
_TALK = (_OPEN, Frame(Kind.DATA, 1, 2, b"hello"), Frame(Kind.END, 1, 3, b""))
_HELLO = Hello(session="a" * 32, secret="b" * 32, lane=Lane.BULK, received=0, new=True)


def _read(data: bytes, step: int, *, masked: bool) -> tuple[list[Frame | Control], str]:
    """What a reader finds when bytes come in pieces, and the error that ends it."""
    reader, found = LinkReader(masked=masked), list[Frame | Control]()
    try:
        for at in range(0, len(data), step):
            found += reader.feed(data[at : at + step])
    except (LinkBroken, ProtocolError) as error:
        return found, str(error)
    return found, ""


def link(data: bytes) -> None:
    """However the bytes are cut, the frames before an error are the same."""
    for masked in (False, True):
        whole, error = _read(data, max(1, len(data)), masked=masked)
        pieces, other = _read(data, 1, masked=masked)
        assert error == other
        assert pieces[: len(whole)] == whole
        assert error or pieces == whole


def lane(data: bytes) -> None:
    """Frames of a peer that does what it likes: bounded memory, and one clear error or none."""
    for opens in (False, True):
        core = LaneCore(Lane.INTERACTIVE, opens=opens)
        if opens:
            core.open("ssh", {})
        with contextlib.suppress(LinkBroken, ProtocolError):
            for one in LinkReader(masked=False).feed(data):
                if isinstance(one, Frame):
                    core.receive(one)
                    while core.next_frame() is not None:
                        pass
        assert core.kept_bytes <= 4 << 20


def payloads(data: bytes) -> None:
    """JSON of HELLO, WELCOME, OPEN, RESET."""
    for kind in (Hello, Welcome, Open, Reason):
        with contextlib.suppress(ProtocolError):
            decode(data, kind)


def tunnel_head(data: bytes) -> None:
    """A client's request at the gateway."""
    head = data.partition(END)[0] + END
    wants_tunnel(head)
    status_of(head)
    with contextlib.suppress(DevboxError):
        target_of(parse(head))


def agent_head(data: bytes) -> None:
    """A gateway's request at the agent."""
    with contextlib.suppress(LinkBroken):
        parse_request(data)


def answer_head(data: bytes) -> None:
    """A gateway's answer to a client."""
    head, _, body = data.partition(END)
    with contextlib.suppress(LinkBroken):
        status, headers = parse_response(head)
        refusal(status, headers, body)


def grant(data: bytes) -> None:
    """A grant in a header: valid ones are only those that the key signed."""
    with contextlib.suppress(DevboxError):
        found = verify(data.decode("latin-1"), _KEY.public_key(), project_uid="p", now=_NOW)
        assert found == _GRANT


_GRANT = Grant(project_uid="p", token_id="t", scopes=(Scope.FULL,), expires=_NOW + 9, nonce="n")


def address(data: bytes) -> None:
    """Addresses and their URLs; what is read prints as it was written."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(BadInput):
        assert str(Address.parse(text)) == text
    with contextlib.suppress(BadInput):
        parse_url(text)


def reference(data: bytes) -> None:
    """An image's name."""
    with contextlib.suppress(BadInput):
        found = Reference.parse(data.decode("utf-8", "replace"))
        assert found.base_url
        assert found.is_near in {True, False}


def terminal(data: bytes) -> None:
    """Frames of the service `pty`: whole or in pieces, the same."""
    whole, pieces = _terminal(data, max(1, len(data))), _terminal(data, 1)
    assert pieces[: len(whole)] == whole


def _terminal(data: bytes, step: int) -> list[tuple[int, bytes]]:
    buffer, found = bytearray(), list[tuple[int, bytes]]()
    with contextlib.suppress(BadInput):
        for at in range(0, len(data), step):
            buffer += data[at : at + step]
            found += _frames(buffer)
    return found


def editor(data: bytes) -> None:
    """Messages of editors and language servers: whole or in pieces, the same."""
    whole, pieces = _editor(data, max(1, len(data))), _editor(data, 1)
    assert pieces[: len(whole)] == whole
    parse_uri(data.decode("utf-8", "replace"))


def _editor(data: bytes, step: int) -> list[bytes]:
    framing, found = Framing(1 << 16), list[bytes]()
    with contextlib.suppress(BadInput):
        for at in range(0, len(data), step):
            found += framing.feed(data[at : at + step])
        framing.end()
    return found


def account(data: bytes) -> None:
    """A line of an image's /etc/passwd, which anybody may have written."""
    parse_account(data.decode("utf-8", "replace"), 1000)


def ports(data: bytes) -> None:
    """The kernel's table, as the agent reads it."""
    with contextlib.suppress(ValueError):
        parse_ports(data.decode("ascii", "replace"), frozenset())


_UPGRADE = (
    b"GET /home/here/team/hello/00112233445566778899aabbccddeeff HTTP/1.1\r\nHost: x\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n"
    b"Sec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n"
)
_PASSWD = b"root:x:0:0:root:/root:/bin/bash\ndevbox:x:1000:1000::/home/devbox:/bin/bash\n"
TARGETS: dict[str, Target] = {
    "link": Target(link, (_message(*_TALK), _message(_OPEN) + b"\x89\x02hi", b"\x88\x00")),
    "lane": Target(lane, (_message(*_TALK), _message(_TALK[1]))),
    "payloads": Target(payloads, (encode(_HELLO), encode(Welcome(received=3)), _OPEN.payload)),  # type: ignore[arg-type]
    "tunnel_head": Target(tunnel_head, (_UPGRADE,)),
    "agent_head": Target(agent_head, (_UPGRADE,)),
    "answer_head": Target(
        answer_head,
        (
            b'HTTP/1.1 503 No\r\nRetry-After: 5\r\n\r\n{"code": "unavailable", "message": "x"}',
            "HTTP/1.1 50\u00b3 No\r\nContent-Length: \u00b2\r\nRetry-After: \u00b9\r\n\r\n".encode(
                "latin-1"
            ),
        ),
    ),
    "grant": Target(grant, (sign(_GRANT, _KEY).encode(),)),
    "address": Target(
        address,
        (
            b"/a/b/c/d/" + b"0" * 32,
            b"wss://h:1/a/b/c/d/" + b"0" * 32,
            b"ws://[x/a/b/c/d/" + b"0" * 32,
            b"ws://h:99999/a/b/c/d/" + b"0" * 32,
        ),
    ),
    "reference": Target(reference, (b"127.0.0.1:5000/a/b:tag", b"docker.io/x@sha256:" + b"0" * 64)),
    "terminal": Target(terminal, (b"\0\0\0\0\3abc\1\0\0\0\2{}",)),
    "editor": Target(editor, (frame_of(b"{}") + frame_of(b"[1]"), b"file:///C:/a%20b?q#f")),
    "account": Target(account, (_PASSWD,)),
    "ports": Target(ports, (b"  0: 0100007F:1F90 00000000:0000 0A 0\n",)),
}
