"""The agent's HTTP door: a few small routes, and the upgrade that makes a link.

Only what a gateway sends is understood: HTTP/1.1, one request per connection, heads of 16 KiB,
bodies of 64 KiB with Content-Length, ten seconds for all of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec

from devbox.edge.failures import failure_of
from devbox.edge.http1 import number, parse_headers
from devbox.edge.links.conduit import Conduit
from devbox.edge.links.server import SessionServer
from devbox.edge.log import get_logger
from devbox.edge.pacing import unpace
from devbox.edge.tasks import Tasks
from devbox.model.errors import BadInput, DevboxError, Internal, NotFound
from devbox.model.grants import Grant
from devbox.wire.errors import LinkBroken
from devbox.wire.websocket import accept_key

SESSION_PATH = "/session"
_log = get_logger()
_HEAD_BYTES = 16 << 10
_BODY_BYTES = 64 << 10
_REQUEST_S = 10.0


@dataclass(frozen=True)
class Request:
    """What a client asked; header names in lower case. `repr` hides headers and body."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Response:
    """What it is answered."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Route = Callable[[Request], Awaitable[Response]]
Verify = Callable[[Request], Grant]


class Listener:
    """Accepts connections until closed."""

    def __init__(
        self, server: SessionServer, verify: Verify, routes: Mapping[tuple[str, str], Route]
    ) -> None:
        self._server = server
        self._verify = verify
        self._routes = routes
        self._tasks = Tasks("listener")
        self._socket: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Begin to listen; port 0 takes a free one."""
        loop = asyncio.get_running_loop()
        self._socket = await loop.create_server(self._accept, host, port, backlog=256)
        for sock in self._socket.sockets:
            unpace(sock)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._socket is not None
        number: int = self._socket.sockets[0].getsockname()[1]
        return number

    async def close(self) -> None:
        """Listen no more and drop links; sessions live on in their SessionServer."""
        if self._socket is not None:
            self._socket.close()
        await self._tasks.close()

    def _accept(self) -> Conduit:
        link = Conduit(client=False)
        self._tasks.start(self._serve(link), "connection")
        return link

    async def _serve(self, link: Conduit) -> None:
        try:
            async with asyncio.timeout(_REQUEST_S):
                request = await _read(link)
                grant = await self._answer(link, request)
            if grant is not None:
                await self._server.serve_link(link, grant)
        except (TimeoutError, LinkBroken) as error:
            _log.info("connection_dropped", reason=str(error))
        except DevboxError as error:
            _respond(link, failed(error))
        finally:
            link.finish()

    async def _answer(self, link: Conduit, request: Request) -> Grant | None:
        """Answer a request; the grant of an upgraded one. Raises DevboxError."""
        if (request.method, request.path) == ("GET", SESSION_PATH):
            grant = self._verify(request)
            _upgrade(link, request)
            return grant
        route = self._routes.get((request.method, request.path))
        if route is None:
            raise NotFound("there is nothing at this path")
        try:
            response = await route(request)
        except DevboxError:
            raise
        except Exception as error:  # the edge between a caller and our fault
            _log.exception("route_failed", path=request.path)
            raise Internal(f"{request.path} failed: {type(error).__name__}") from error
        _respond(link, response)
        return None


async def listen(
    host: str,
    port: int,
    server: SessionServer,
    *,
    verify: Verify,
    routes: Mapping[tuple[str, str], Route] | None = None,
) -> Listener:
    """Serve `GET /session` as links, and `routes` by (method, path).

    `verify` gets the upgrade request and answers its grant, or raises DevboxError, which is
    answered as a Failure with its status.
    """
    listener = Listener(server, verify, routes or {})
    await listener.start(host, port)
    return listener


def failed(error: DevboxError) -> Response:
    """An error as a response."""
    return Response(error.http_status, msgspec.json.encode(failure_of(error)))


async def _read(link: Conduit) -> Request:
    head = await link.head(_HEAD_BYTES)
    method, path, headers = parse_request(head)
    length = number(headers.get("content-length", "0"))
    if length is None or length > _BODY_BYTES or "transfer-encoding" in headers:
        raise BadInput("the request's body is too long or of unknown length")
    return Request(method, path, headers, await link.exactly(length))


def parse_request(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Method, path, headers. Raises LinkBroken for what is not HTTP/1.1."""
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or parts[2] != "HTTP/1.1" or not parts[1].startswith("/"):
        raise LinkBroken("not an HTTP/1.1 request")
    return parts[0], parts[1], parse_headers(lines)


def _upgrade(link: Conduit, request: Request) -> None:
    headers = request.headers
    key = headers.get("sec-websocket-key", "")
    if (
        headers.get("upgrade", "").lower() != "websocket"
        or headers.get("sec-websocket-version") != "13"
        or not key
    ):
        raise BadInput("this path speaks websocket version 13 only")
    link.write(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n"
    )
    link.upgraded()


def _respond(link: Conduit, response: Response) -> None:
    lines = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    link.write("\r\n".join([*lines, "", ""]).encode("latin-1") + response.body)
