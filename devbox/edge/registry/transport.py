"""One registry over HTTP: deadlines, retries, challenges, and errors as `DevboxError`s.

Knows nothing of what is asked; `client` does.
"""

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from devbox.edge.pacing import is_near, unpace
from devbox.edge.registry.auth import Authorizer
from devbox.model.errors import (
    BadInput,
    Conflict,
    DevboxError,
    Forbidden,
    Internal,
    NoSpace,
    NotFound,
    Unauthorized,
    Unavailable,
)

SAFE_HINT = "Nothing is lost; what was not pushed is kept and pushed when the registry is back."
_OUT_OF_SPACE = (b'"Err":28', b"nospaceleft", b"diskquotaexceeded", b'"Err":122')
_ERROR_BODY_BYTES = 4096
LOST = (TimeoutError, aiohttp.ClientError, OSError)
"""What a connection that did not answer raises."""


@dataclass(frozen=True)
class Deadlines:
    """How long a registry may take."""

    connect_s: float = 5.0
    silence_s: float = 60.0
    """Without a single byte in either direction."""
    small_s: float = 30.0
    """A whole request without a blob in it."""
    blob_s: float = 3600.0
    """A whole request with a blob in it."""
    finish_s: float = 600.0
    """The registry may read a blob again before it takes it."""
    retry_after_s: tuple[float, ...] = (0.1, 0.5, 2.0)
    """Pauses before each further attempt of what may be asked twice."""

    def small(self) -> aiohttp.ClientTimeout:
        """Of a request without a blob."""
        return self._of(self.small_s)

    def blob(self) -> aiohttp.ClientTimeout:
        """Of a request with a blob."""
        return self._of(self.blob_s)

    def finish(self) -> aiohttp.ClientTimeout:
        """Of the request that ends an upload."""
        return aiohttp.ClientTimeout(total=self.finish_s, sock_connect=self.connect_s)

    def _of(self, total: float) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            total=total, sock_connect=self.connect_s, sock_read=self.silence_s
        )


@dataclass(frozen=True)
class Ask:
    """One HTTP request."""

    method: str
    path: str
    """Below the registry's URL, or a whole URL that the registry named."""
    scope: str = ""
    """`repository:name:pull`, for registries that ask for tokens."""
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], Any] | None = None
    """Makes the body anew for every attempt."""
    timeout: aiohttp.ClientTimeout | None = None


class Transport:
    """Sends requests to one registry. Close it."""

    def __init__(self, base_url: str, deadlines: Deadlines, authorizer: Authorizer) -> None:
        self.base_url = base_url.rstrip("/")
        self.deadlines = deadlines
        self._authorizer = authorizer
        self._http: aiohttp.ClientSession | None = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            safe = self.base_url.startswith("https:")
            self._http = aiohttp.ClientSession(
                auto_decompress=False,
                trust_env=safe,
                connector=aiohttp.TCPConnector(socket_factory=_far_socket),
                trace_configs=[_never_plain()] if safe else None,
            )
        return self._http

    @contextlib.asynccontextmanager
    async def once(self, ask: Ask) -> AsyncIterator[aiohttp.ClientResponse]:
        """One attempt, with one answer to a challenge. Raises `LOST` or a DevboxError."""
        response = await self._send(ask)
        try:
            challenge = response.headers.get("WWW-Authenticate", "")
            if response.status == Unauthorized.http_status and challenge:
                response.release()
                await self._authorizer.answer(
                    challenge, ask.scope, self._session, self.deadlines.small_s
                )
                response = await self._send(ask)
            yield response
        finally:
            response.release()

    async def _send(self, ask: Ask) -> aiohttp.ClientResponse:
        url = ask.path if "://" in ask.path else self.base_url + ask.path
        return await self._session.request(
            ask.method,
            url,
            params=dict(ask.query) or None,
            headers={**ask.headers, **self._authorizer.header(ask.scope)},
            data=None if ask.body is None else ask.body(),
            timeout=ask.timeout or self.deadlines.small(),
        )

    async def repeat(
        self, ask: Ask, *, good: tuple[int, ...]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Ask, several times if need be, for what may be asked twice.

        Returns status, headers and body. Raises the DevboxError that fits a status not in `good`.
        """
        pauses = iter(self.deadlines.retry_after_s)
        while True:
            try:
                async with self.once(ask) as response:
                    body = await response.read()
                    if response.status in good:
                        return response.status, response.headers, body
                    raise error_of(response.status, body, ask)
            except (*LOST, Unavailable) as error:
                await self.pause(pauses, error)

    async def pause(self, pauses: Any, error: BaseException) -> None:
        """Wait before the next attempt; raise Unavailable when there is none left."""
        pause = next(pauses, None)
        if pause is None:
            raise self.unavailable(error) from error
        await asyncio.sleep(pause)

    def unavailable(self, error: BaseException) -> DevboxError:
        """What to raise when the registry cannot be reached."""
        if isinstance(error, DevboxError):
            return type(error)(error.message, error.hint)
        return Unavailable(
            f"the registry at {self.base_url} does not answer ({_why(error)})", SAFE_HINT
        )

    async def close(self) -> None:
        """Close connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None


def _never_plain() -> aiohttp.TraceConfig:
    """Refuses plain HTTP wherever a registry leads: to our own registry, or with a password."""

    def check(url: URL) -> None:
        if url.scheme == "http":
            raise Forbidden(
                f"the registry leads to {url.host} by plain HTTP", "Use one that stays with HTTPS."
            )

    async def on_start(_: Any, __: Any, about: aiohttp.TraceRequestStartParams) -> None:
        check(about.url)

    async def on_redirect(_: Any, __: Any, about: aiohttp.TraceRequestRedirectParams) -> None:
        headers = about.response.headers
        check(URL(headers.get("Location") or headers.get("URI") or ""))

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(on_start)
    trace.on_request_redirect.append(on_redirect)
    return trace


def _far_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    """A socket for any address but link-local ones, where clouds tell machines their credentials.

    A foreign registry may send its client anywhere: by a redirect, by a realm, by a name.
    """
    family, kind, protocol, _, address = info
    if ipaddress.ip_address(str(address[0]).partition("%")[0]).is_link_local:
        raise OSError(errno.EACCES, "no registry's address")
    sock = socket.socket(family, kind, protocol)
    if is_near(str(address[0])):
        unpace(sock)
    return sock


async def read_error(response: aiohttp.ClientResponse, ask: Ask) -> DevboxError:
    """The error of an answer whose body was not read yet."""
    return error_of(response.status, await response.content.read(_ERROR_BODY_BYTES), ask)


def error_of(status: int, body: bytes, ask: Ask) -> DevboxError:
    """The DevboxError of an answer that is not good."""
    what = f"the registry answered {status} to {ask.method} {ask.path.split('?')[0]}"
    if status == NoSpace.http_status or any(
        mark in body.replace(b" ", b"") for mark in _OUT_OF_SPACE
    ):
        return NoSpace(
            "the registry's disk is full", "Nothing is lost. Free space, then try again."
        )
    if status in _BY_STATUS:
        kind, hint = _BY_STATUS[status]
        return kind(what, hint)
    if status >= Internal.http_status or status == _TOO_MANY:
        return Unavailable(what, SAFE_HINT)
    return BadInput(what + _detail(body))


_TOO_MANY = 429
_BY_STATUS: dict[int, tuple[type[DevboxError], str]] = {
    401: (Unauthorized, "Check the image's name, and the credentials if it is private."),
    403: (Forbidden, "The credentials do not allow this."),
    404: (NotFound, "Check the image's name and tag."),
    409: (Conflict, ""),
}


def _detail(body: bytes) -> str:
    text = body[:200].decode("utf-8", "replace").strip()
    return f": {text}" if text else ""


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "deadline passed"
    if isinstance(error, aiohttp.ClientConnectorError):
        # Its own text names addresses and TLS contexts.
        cause = error.os_error
        if isinstance(cause, ConnectionError) and cause.errno:
            return os.strerror(cause.errno).lower()
    return str(error) or type(error).__name__
