"""One connection to a gateway: TCP, TLS, the upgrade. Knows no session and never dials twice."""

import asyncio
import base64
import os
import ssl as tls
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

import msgspec

from devbox.edge.failures import Failure, error_of
from devbox.edge.http1 import number, parse_response
from devbox.edge.links.conduit import Conduit
from devbox.edge.links.connecting import connect_any
from devbox.edge.pacing import is_near
from devbox.edge.proxies import connect_through, proxy_for
from devbox.model import errors
from devbox.model.errors import DevboxError, Unavailable
from devbox.wire.errors import LinkBroken
from devbox.wire.websocket import accept_key

_HEAD_BYTES = 16 << 10
_BODY_BYTES = 64 << 10
_SWITCHING = 101
_UPGRADE_S = 60.0
_CONNECT_S = 10.0
_BY_STATUS = {kind.http_status: kind for kind in errors.BY_CODE.values()}


@dataclass(frozen=True)
class Target:
    """Where to dial. `repr` shows neither bearer nor path, which may hold the token."""

    url: str = field(repr=False)
    """http(s) or ws(s), with the path of the address."""
    bearer: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ssl: tls.SSLContext | None = None
    """For https and wss; the system's certificates when not given."""


class Refused(Exception):
    """The gateway answered something else than an upgrade."""

    def __init__(self, error: DevboxError, retry_after_s: float | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after_s = retry_after_s


async def dial(target: Target, turn: int = 0) -> Conduit:
    """Connect and upgrade. Raises Refused, or OSError, TimeoutError, LinkBroken.

    Where the host's name has several addresses, `turn` says which of them is tried first.
    """
    async with asyncio.timeout(_CONNECT_S):
        link = await _connect(target, turn)
    try:
        async with asyncio.timeout(_UPGRADE_S):
            await _upgrade(link, target)
    except BaseException:
        link.abort("the upgrade failed")
        raise
    return link


async def _connect(target: Target, turn: int) -> Conduit:
    url = urlsplit(target.url)
    secure = url.scheme in {"https", "wss"}
    context = (target.ssl or tls.create_default_context()) if secure else None
    host, port = url.hostname or "", url.port or (443 if secure else 80)
    proxy = proxy_for(url, os.environ)
    if proxy is None:
        sock = await connect_any(host, port, turn)
    else:
        sock = await connect_through(proxy, host, port)
    conduit = partial(Conduit, client=True, private=is_private(secure, host, proxy))
    loop, name = asyncio.get_running_loop(), host if secure else None
    try:
        _, link = await loop.create_connection(
            conduit, sock=sock, ssl=context, server_hostname=name
        )
    except BaseException:
        sock.close()
        raise
    return link


def is_private(secure: bool, host: str, proxy: str | None) -> bool:
    """Whether nobody on the way could take what we send for requests of his own."""
    return secure or (proxy is None and is_near(host))


async def _upgrade(link: Conduit, target: Target) -> None:
    key = base64.b64encode(os.urandom(16)).decode("ascii")
    link.write(_request(target, key))
    head = await link.head(_HEAD_BYTES)
    status, headers = parse_response(head)
    if status != _SWITCHING:
        length = number(headers.get("content-length", ""))
        count = _BODY_BYTES if length is None else min(length, _BODY_BYTES)
        raise refusal(status, headers, await link.rest(count))
    if headers.get("sec-websocket-accept") != accept_key(key):
        raise LinkBroken("what answers there is not a websocket server")
    link.upgraded()


def _request(target: Target, key: str) -> bytes:
    url = urlsplit(target.url)
    path = url.path or "/"
    lines = [
        f"GET {path}{'?' + url.query if url.query else ''} HTTP/1.1",
        f"Host: {url.netloc.rpartition('@')[2]}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    ]
    if target.bearer:
        lines.append(f"Authorization: Bearer {target.bearer}")
    lines += [f"{name}: {value}" for name, value in target.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refused:
    """The error in an answer that is not an upgrade."""
    try:
        error = error_of(msgspec.json.decode(body, type=Failure))
    except (msgspec.MsgspecError, ValueError):
        kind = _BY_STATUS.get(status, Unavailable)
        error = kind(
            f"the gateway answered {status}",
            "Check the address." if status < 500 else "Try again in a moment.",
        )
    after = number(headers.get("retry-after", ""))
    return Refused(error, None if after is None else float(after))
