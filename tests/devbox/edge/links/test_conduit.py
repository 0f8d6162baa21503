"""What a client's frames look like on the wire."""

import pytest

from devbox.edge.links.conduit import Conduit
from devbox.edge.links.dial import is_private
from devbox.wire.blocks import VIEW_FROM
from devbox.wire.frames import Frame, Kind
from devbox.wire.reader import LinkReader
from devbox.wire.websocket import MAX_HEADER, parse_header


class Paper:
    """A transport that only takes notes."""

    def __init__(self) -> None:
        self.written = b""

    def writelines(self, parts: list[bytes]) -> None:
        self.written += b"".join(parts)


@pytest.mark.parametrize(
    ("private", "size", "masked"),
    [
        (True, VIEW_FROM, False),
        (True, VIEW_FROM - 1, True),
        (False, VIEW_FROM, True),
        (False, 0, True),
    ],
)
async def test_only_large_payloads_on_private_ways_are_not_masked(
    private: bool, size: int, masked: bool
) -> None:
    paper = Paper()
    link = Conduit(client=True, private=private)
    link.connection_made(paper)  # type: ignore[arg-type]
    frame = Frame(Kind.DATA, 1, 1, b"GET / HTTP/1.1\r\n" * (size // 16) + b"x" * (size % 16))
    link.send(frame)
    head = parse_header(memoryview(paper.written[:MAX_HEADER]), masked=True)
    assert head is not None
    assert (head.key != bytes(4)) is masked
    assert (b"GET /" in paper.written) is (not masked)
    assert LinkReader(masked=True).feed(paper.written) == [frame]


@pytest.mark.parametrize(
    ("secure", "host", "proxy", "private"),
    [
        (True, "example.org", None, True),
        (True, "example.org", "http://proxy.test:3128", True),
        (False, "127.0.0.1", None, True),
        (False, "example.org", None, False),
        (False, "127.0.0.1", "http://proxy.test:3128", False),
    ],
)
def test_what_is_private(secure: bool, host: str, proxy: str | None, private: bool) -> None:
    assert is_private(secure, host, proxy) is private
