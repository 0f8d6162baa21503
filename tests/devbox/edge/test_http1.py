"""Calls over kept connections, and answers in every form that HTTP/1.1 has for a body."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from devbox.edge.http1 import Caller
from devbox.wire.errors import LinkBroken


class Server:
    """Gives its answers in order, one byte at a time, and closes after those that end with None."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while self.answers:
            try:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            except asyncio.IncompleteReadError:
                break
            answer = self.answers.pop(0)
            if answer is None:
                break
            for byte in answer:
                writer.write(bytes([byte]))
                await writer.drain()
            if self.answers and self.answers[0] is None:
                del self.answers[0]
                break
        writer.close()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Caller]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        caller = Caller(urlsplit(f"http://127.0.0.1:{port}"), lambda: pytest.fail("no TLS here"))
        async with server:
            async with asyncio.timeout(20):
                yield caller
            await caller.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=1\r\nok\r\n0\r\n\r\n", b"ok"),
        (
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"1\r\no\r\nA\r\nk123456789\r\n0\r\nTrailer: 1\r\n\r\n"
            ),
            b"ok123456789",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
async def test_a_body_ends_where_it_says_and_the_connection_is_kept(
    answer: bytes, body: bytes
) -> None:
    server = Server(answer, OK)
    async with server.listening() as caller:
        first = await caller.call("GET", "/a?b=1", {"Authorization": "Bearer t"})
        second = await caller.call("POST", "/c", {}, b"")
    assert (first.status, first.body, second.body) == (200, body, b"ok")
    assert server.connections == 1
    assert server.requests[0].startswith(b"GET /a?b=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nContent-Length: 0\r\n" in server.requests[1]


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    server = Server(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall there is", None, OK)
    async with server.listening() as caller:
        assert (await caller.call("GET", "/", {})).body == b"all there is"
        assert (await caller.call("GET", "/", {})).body == b"ok"
    assert server.connections == 2


async def test_a_connection_that_was_closed_meanwhile_is_not_used_again() -> None:
    server = Server(OK, None, OK)
    async with server.listening() as caller:
        assert (await caller.call("GET", "/", {})).body == b"ok"
        while not caller._idle[0][0].at_eof():
            await asyncio.sleep(0)
        assert (await caller.call("POST", "/", {}, b"")).body == b"ok"
    assert server.connections == 2


async def test_a_call_that_may_have_been_carried_out_is_not_repeated() -> None:
    server = Server(OK, None, None, OK)
    async with server.listening() as caller:
        server.answers = [OK, b"", None, OK]
        await caller.call("GET", "/", {})
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await caller.call("POST", "/", {}, b"")
        assert len(server.requests) == 2
        assert (await caller.call("GET", "/", {})).body == b"ok"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (128 << 10),
    ],
)
async def test_what_makes_no_sense_is_an_error(answer: bytes) -> None:
    async with Server(answer).listening() as caller:
        with pytest.raises(LinkBroken):
            await caller.call("GET", "/", {})
