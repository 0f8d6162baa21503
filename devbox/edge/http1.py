"""HTTP/1.1 as a client speaks it (RFC 9112): heads as text, and calls over connections it keeps.

Small on purpose: a short command spends more time on importing a whole HTTP library than on its
call. Knows no API, follows no redirect, keeps no cookie, and repeats no call that may have been
carried out.
"""

import asyncio
import os
import ssl as tls
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import SplitResult

from devbox.wire.errors import LinkBroken

_HEAD_BYTES = 64 << 10
_BODY_BYTES = 256 << 20
_CONNECT_S = 10.0
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_DIGITS = 18
_HEX = frozenset("0123456789abcdefABCDEF")
_INTERIM = range(100, 200)

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Answer(NamedTuple):
    """One response."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Caller:
    """Calls to one server. Connections are kept for the next call; calls may overlap."""

    def __init__(self, url: SplitResult, trust: Callable[[], tls.SSLContext]) -> None:
        self._url = url
        self._trust = trust
        self._idle: list[Pair] = []

    async def call(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """One call; `target` is path and query. Raises OSError, TimeoutError, LinkBroken."""
        request = _request(method, target, {"Host": self._url.netloc, **headers}, body)
        while self._idle:
            pair = self._idle.pop()
            if pair[0].at_eof():
                pair[1].close()
                continue
            try:
                return await self._exchange(pair, request)
            except (ConnectionError, asyncio.IncompleteReadError):
                if method != "GET":
                    raise
        return await self._exchange(await connect(self._url, self._trust), request)

    async def _exchange(self, pair: Pair, request: bytes) -> Answer:
        reader, writer = pair
        try:
            writer.write(request)
            answer = await _answer(reader)
        except BaseException:
            writer.close()
            raise
        if answer.headers.get("connection", "").lower() == "close":
            writer.close()
        else:
            self._idle.append(pair)
        return answer

    async def close(self) -> None:
        """Close all connections."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()
        # Sockets are closed in the loop's next turn.
        await asyncio.sleep(0)


async def connect(url: SplitResult, trust: Callable[[], tls.SSLContext]) -> Pair:
    """A connection as the URL and the environment's proxies say. Raises OSError, TimeoutError."""
    secure = url.scheme == "https"
    context = trust() if secure else None
    host, port = url.hostname or "", url.port or (443 if secure else 80)
    async with asyncio.timeout(_CONNECT_S):
        if (proxy := _proxy(url)) is None:
            return await asyncio.open_connection(host, port, ssl=context, limit=_HEAD_BYTES)
        from devbox.edge.proxies import connect_through

        sock = await connect_through(proxy, host, port)
        name = host if secure else None
        return await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname=name, limit=_HEAD_BYTES
        )


def _proxy(url: SplitResult) -> str | None:
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return None
    from devbox.edge.proxies import proxy_for

    return proxy_for(url, os.environ)


def _request(method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


async def _answer(reader: asyncio.StreamReader) -> Answer:
    status, headers = 100, dict[str, str]()
    while status in _INTERIM:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise LinkBroken("the head of an answer is too long") from error
        status, headers = parse_response(head)
    return Answer(status, headers, await _body(reader, headers))


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    """By its length, by its chunks, or to the end of the connection (RFC 9112 section 6.3)."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await _chunks(reader)
    length = headers.get("content-length", "")
    if not length:
        return await reader.read(_BODY_BYTES)
    if not length.isdecimal() or int(length) > _BODY_BYTES:
        raise LinkBroken("the length of an answer makes no sense")
    return await reader.readexactly(int(length))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    pieces: list[bytes] = []
    left = _BODY_BYTES
    while True:
        size = _size(await reader.readuntil(b"\n"))
        left -= size
        if left < 0:
            raise LinkBroken("an answer is too long")
        piece = await reader.readexactly(size)
        # The end of the chunk's line; after the last chunk, perhaps trailers.
        while (await reader.readuntil(b"\n")).strip() and not size:
            pass
        if not size:
            return b"".join(pieces)
        pieces.append(piece)


def _size(line: bytes) -> int:
    text = line.partition(b";")[0].strip().decode("latin-1")
    if not text or not _HEX.issuperset(text) or len(text) > _DIGITS:
        raise LinkBroken("the chunks of an answer make no sense")
    return int(text, 16)


def parse_response(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers (names in lower case). Raises LinkBroken."""
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    status = number(parts[1]) if len(parts) > 1 and parts[0].startswith("HTTP/1.") else None
    if status is None:
        raise LinkBroken("what answers there does not speak HTTP")
    return status, parse_headers(lines)


def number(text: str) -> int | None:
    """A header's digits (RFC 9110 section 8.6), or None. `str.isdigit` also takes a raised two."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def parse_headers(lines: list[str]) -> dict[str, str]:
    """Header lines as a mapping; names in lower case. Raises LinkBroken."""
    headers: dict[str, str] = {}
    for line in filter(None, lines):
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise LinkBroken("malformed HTTP header")
        headers[name.lower()] = value.strip()
    return headers
