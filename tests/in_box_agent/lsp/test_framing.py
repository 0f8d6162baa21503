"""LSP's base protocol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devbox.model.errors import BadInput
from in_box_agent.lsp.framing import Framing, frame


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 40), min_size=1))
def test_messages_come_back_whole_however_the_stream_is_cut(
    bodies: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(frame(body) for body in bodies)
    framing, number = Framing(), 0
    found: list[bytes] = []
    while stream:
        size = cuts[number % len(cuts)]
        found += framing.feed(stream[:size])
        stream, number = stream[size:], number + 1
    framing.end()
    assert found == bodies


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Length: 2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n",
        b"content-length:2\r\n\r\n",
        b"Content-Type: x\r\nCONTENT-LENGTH : 2 \r\n\r\n",
    ],
)
def test_headers_that_are_understood(header: bytes) -> None:
    assert Framing().feed(header + b"{}") == [b"{}"]


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no header of LSP"),
        (b"Content-Length: -2\r\n\r\n", "no header of LSP"),
        (b"Content-Length: two\r\n\r\n", "no header of LSP"),
        (b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", "no header of LSP"),
        (b"Content-Type: x\r\n\r\n{}", "no header of LSP"),
        (b"x" * 5000, "no header of LSP"),
        (b"Content-Length: 101\r\n\r\n", "101 bytes is too large"),
    ],
)
def test_what_is_not_lsp_is_one_error(stream: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Framing(limit=100).feed(stream)


def test_a_cut_message_is_an_error_at_the_end() -> None:
    framing = Framing()
    assert framing.feed(frame(b"{}")[:-1]) == []
    with pytest.raises(BadInput, match="in the middle"):
        framing.end()


@given(st.binary(max_size=200))
def test_random_bytes_are_messages_or_one_error(data: bytes) -> None:
    framing = Framing(limit=1000)
    try:
        framing.feed(data)
        framing.end()
    except BadInput:
        pass
