"""The agent's door: routes, bounds, and what is no link."""

import asyncio

import pytest

from devbox.edge.links import Request, Response, SessionServer, listen
from devbox.edge.links import listener as listener_module
from devbox.model.errors import Forbidden, Unauthorized, Unavailable
from devbox.model.grants import Grant
from tests.support.links import echo


async def _health(request: Request) -> Response:
    return Response(body=b'"fine"')


async def _revoke(request: Request) -> Response:
    if request.headers.get("x-devbox-grant") != "good":
        raise Forbidden("not for you")
    return Response(body=request.body.upper())


async def _broken(request: Request) -> Response:
    raise ValueError("secret")


def _refuse(request: Request) -> Grant:
    raise Unauthorized("the grant is not valid")


ROUTES = {("GET", "/healthz"): _health, ("POST", "/revoke"): _revoke, ("GET", "/x"): _broken}
UPGRADE = (
    b"GET /session HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n"
)


async def ask(request: bytes, *, step: int = 1 << 20) -> bytes:
    server = SessionServer(echo, may_open=lambda *_: True)
    listener = await listen("127.0.0.1", 0, server, verify=_refuse, routes=ROUTES)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    try:
        for at in range(0, len(request), step):
            writer.write(request[at : at + step])
            await asyncio.sleep(0)
        return await reader.read()
    finally:
        writer.close()
        await listener.close()
        await server.close()


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET /nothing HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"GET /x HTTP/1.1\r\n\r\n", b"HTTP/1.1 500 Internal Server Error"),
        (b"POST /revoke HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", b"HTTP/1.1 403 Forbidden"),
        (b"POST /revoke HTTP/1.1\r\nContent-Length: 99999\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"POST /revoke HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (
            b"POST /revoke HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 400 Bad Request",
        ),
        (UPGRADE, b"HTTP/1.1 401 Unauthorized"),
        (b"GET /healthz HTTP/2\r\n\r\n", b""),
        (b"\x16\x03\x01\r\n\r\n", b""),
        (b"GET /healthz HTTP/1.1\r\n" + b"a: b\r\n" * 9000, b""),
    ],
    ids=[
        "health",
        "no such path",
        "a broken route",
        "refused route",
        "long body",
        "negative body",
        "chunked",
        "bad grant",
        "HTTP/2",
        "TLS",
        "endless head",
    ],
)
async def test_one_request(request_bytes: bytes, answer: bytes) -> None:
    got = await ask(request_bytes)
    assert got.partition(b"\r\n")[0] == answer
    assert b"secret" not in got


async def test_one_byte_at_a_time() -> None:
    request = b"POST /revoke HTTP/1.1\r\nX-Devbox-Grant: good\r\nContent-Length: 2\r\n\r\nab"
    got = await ask(request, step=1)
    assert got.endswith(b"\r\n\r\nAB")


async def test_a_slow_request_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "_REQUEST_S", 0.05)
    assert await ask(b"GET /healthz HTT") == b""


async def test_an_agent_that_refuses_says_why() -> None:
    async def sick(request: Request) -> Response:
        raise Unavailable("the files of this box are not the kept ones")

    server = SessionServer(echo, may_open=lambda *_: True)
    routes = {("GET", "/healthz"): sick}
    listener = await listen("127.0.0.1", 0, server, verify=_refuse, routes=routes)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"not the kept ones" in answer
    writer.close()
    await listener.close()
    await server.close()
