"""The first dial: what a gateway may answer, and what a person is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from devbox.edge.http1 import parse_response
from devbox.edge.links import DialOptions, Target, connect
from devbox.edge.proxies import proxy_for
from devbox.model.errors import (
    BadInput,
    Conflict,
    DevboxError,
    NotFound,
    Unauthorized,
    Unavailable,
)
from devbox.wire import frames
from devbox.wire.errors import LinkBroken
from tests.support.links import pair


@contextlib.asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives each connection the next answer; and the heads it was sent."""
    left, heads = list(answers), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/c/r/n/p", heads
    server.close()


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (answer("401 Unauthorized"), Unauthorized, "answered 401"),
        (
            answer("404 Not Found", b'{"code":"not_found","message":"no such project","hint":"x"}'),
            NotFound,
            "no such project",
        ),
        (
            answer("409 Conflict", b'{"code":"conflict","message":"the box cannot start"}'),
            Conflict,
            "cannot start",
        ),
        (answer("503 Busy", b"<html>"), Unavailable, "answered 503"),
        (answer("502 Bad Gateway"), Unavailable, "answered 502"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", Unavailable, "does not speak HTTP"),
        (answer("101 Switching Protocols"), Unavailable, "not a websocket server"),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 20_000 + b"\r\n\r\n", Unavailable, "over 16384 bytes"),
        (b"", Unavailable, "closed"),
    ],
    ids=["401", "404", "409", "503", "502", "ssh", "no accept key", "endless head", "nothing"],
)
async def test_refusals(reply: bytes, kind: type[DevboxError], words: str) -> None:
    async with answering(reply) as (url, _):
        with pytest.raises(kind, match=words):
            async with connect(url, options=DialOptions(patience_s=0.0)):
                pass


async def test_the_bearer_is_sent_and_shown_nowhere() -> None:
    async with answering(answer("401 Unauthorized")) as (url, heads):
        target = Target(url, bearer="5ecret")
        with pytest.raises(Unauthorized):
            async with connect(url, target=target):
                pass
    assert b"\r\nAuthorization: Bearer 5ecret\r\n" in heads[0]
    assert "5ecret" not in repr(target)
    assert "/c/r/n/p" not in repr(target)


async def test_patience_with_a_gateway_that_is_dying() -> None:
    busy = answer("503 Busy", b"", "Retry-After: 0")
    async with pair() as agent:
        port = await agent.relay.stop()
        again: list[int] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            again.append(1)
            writer.write(busy)
            writer.close()
            if len(again) == 2:
                server.close()
                await agent.relay.start(port)

        server = await asyncio.start_server(serve, "127.0.0.1", port, reuse_address=True)
        async with agent.client(patience_s=5.0) as session:
            stream = await session.open("echo")
            await stream.write(b"there")
            assert await stream.read() == b"there"
        assert len(again) == 2


async def test_nobody_listens() -> None:
    async with pair() as agent:
        url = f"http://127.0.0.1:{await agent.relay.stop()}/"
        with pytest.raises(Unavailable, match="cannot be reached"):
            async with connect(url, options=DialOptions(patience_s=0.1)):
                pass


async def test_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    async with pair() as agent:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            there, back = await asyncio.open_connection("127.0.0.1", agent.relay.port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with contextlib.suppress(OSError):
                await asyncio.gather(_copy(reader, back), _copy(there, writer))

        proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = proxy.sockets[0].getsockname()[1]
        for name in ("HTTP_PROXY", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"http://me:pw%40@127.0.0.1:{port}")
        async with connect("http://devbox.invalid:8080/session") as session:
            stream = await session.open("echo")
            await stream.write(b"hi")
            assert await stream.read() == b"hi"
        proxy.close()
    assert asked[0].startswith(b"CONNECT devbox.invalid:8080 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6cHdA\r\n" in asked[0]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://a.example/", {"https_proxy": "http://p:1"}, "http://p:1"),
        ("wss://a.example/", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("http://a.example/", {"https_proxy": "http://p:1"}, None),
        ("http://a.example/", {"all_proxy": "http://p:1"}, "http://p:1"),
        ("https://a.example/", {"https_proxy": "http://p:1", "no_proxy": "x, .example"}, None),
        ("https://a.example/", {"https_proxy": "http://p:1", "NO_PROXY": "*"}, None),
        ("https://an.example/", {"https_proxy": "p:1", "no_proxy": "n.example"}, "p:1"),
        ("https://127.0.0.1/", {"https_proxy": "http://p:1"}, None),
        ("https://[::1]/", {"https_proxy": "http://p:1"}, None),
        ("https://localhost/", {"https_proxy": "http://p:1"}, None),
    ],
)
def test_which_proxy(url: str, environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(urlsplit(url), environ) == proxy


async def test_a_proxy_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(answer("403 Forbidden")) as (url, _):
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(Unavailable, match="the proxy answered 403"):
            async with connect("http://devbox.invalid/", options=DialOptions(patience_s=0.0)):
                pass


@pytest.mark.parametrize("head", [b"", b"x", b"HTTP/1.1 abc", b"HTTP/1.1 200\r\nno colon\r\n\r\n"])
def test_heads_that_are_not_http(head: bytes) -> None:
    with pytest.raises(LinkBroken):
        parse_response(head)


async def test_versions_that_do_not_match() -> None:
    async with pair() as agent:
        hello = frames.Hello(
            version=2, session="s", secret="x", lane=frames.Lane.BULK, received=0, new=True
        )
        with pytest.raises(BadInput, match="version 2"):
            agent.server._session(
                frames.Frame(frames.Kind.HELLO, 0, 0, frames.encode(hello)),
                None,  # type: ignore[arg-type]
            )
