"""Heads: what is a tunnel, what is refused, what the box is told."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devbox.model.errors import BadInput
from gateway.tunnel.head import END, parse, session_request, status_of, wants_tunnel
from tests.support.gateway import upgrade

GOOD = upgrade("/home/here/team/hello", "secret")


def test_a_good_head() -> None:
    head = parse(GOOD)
    assert head.target == "/home/here/team/hello"
    assert head.headers["authorization"] == "Bearer secret"
    assert "secret" not in repr(head)


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (GOOD, True),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nX: upgrade: websocket\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nUPGRADE:websocket\r\n\r\n", True),
    ],
)
def test_who_gets_the_connection(head: bytes, wanted: bool) -> None:
    assert wants_tunnel(head) is wanted


@pytest.mark.parametrize(
    "change",
    [
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"GET /home", b"GET http://x/home"),
        (b"GET /home", b"GET  /home"),
        (b"GET /home", b"GET /ho me"),
        (b"Host: here", b"Host : here"),
        (b"Host: here", b" Host: here"),
        (b"Host: here", b"X: here"),
        (b"Host: here", b"Host: here\r\nHost: there"),
        (b"Host: here", b"Host: he\x00re"),
        (b"Host: here", b"Host: here\nX: y"),
        (b"Host: here", b"Host: here\rX: y"),
        (b"Host: here", b"Host: here\r\nContent-Length: 0"),
        (b"Host: here", b"Host: here\r\nTransfer-Encoding: chunked"),
        (b"Host: here", b"Host: here\r\nAuthorization: Bearer other"),
        (b"Connection: keep-alive, Upgrade", b"Connection: keep-alive"),
        (b"Upgrade: WebSocket", b"Upgrade: websocket, h2c"),
        (b"Sec-WebSocket-Key", b"Sec-WebSocket-Kay"),
    ],
)
def test_whatever_is_odd_is_refused(change: tuple[bytes, bytes]) -> None:
    assert change[0] in GOOD
    with pytest.raises(BadInput):
        parse(GOOD.replace(*change, 1))


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_bad_input(data: bytes) -> None:
    with contextlib.suppress(BadInput):
        parse(data + END)


@given(st.lists(st.tuples(st.sampled_from(["X-A", "Cookie", "Via"]), st.text("ab: ,", max_size=9))))
def test_the_box_hears_nothing_of_other_headers(fields: list[tuple[str, str]]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields).encode()
    head = parse(GOOD.replace(b"Host: here\r\n", b"Host: here\r\n" + lines))
    assert session_request(head, "g") == session_request(parse(GOOD), "g")


@pytest.mark.parametrize(
    ("answer", "status"),
    [(b"HTTP/1.1 101 X\r\n", 101), (b"HTTP/1.1 503\r\n", 503), (b"SSH-2.0-x", 0), (b"", 0)],
)
def test_the_status_of_an_answer(answer: bytes, status: int) -> None:
    assert status_of(answer) == status
