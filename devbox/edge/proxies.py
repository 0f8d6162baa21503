"""A TCP connection through an HTTP proxy that the environment names (CONNECT, RFC 9110 9.3.6)."""

import asyncio
import base64
import socket
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit

from devbox.edge.links.connecting import connect_any
from devbox.edge.pacing import is_near
from devbox.wire.errors import LinkBroken

_HEAD_BYTES = 16 << 10


def proxy_for(url: SplitResult, environ: Mapping[str, str]) -> str | None:
    """The proxy that https_proxy, http_proxy, all_proxy, no_proxy ask for; never for loopback."""
    host = url.hostname or ""
    if is_near(host) or _excepted(host, _variable(environ, "no_proxy")):
        return None
    secure = url.scheme in {"https", "wss"}
    chosen = _variable(environ, "https_proxy" if secure else "http_proxy")
    return chosen or _variable(environ, "all_proxy") or None


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _excepted(host: str, no_proxy: str) -> bool:
    """Whether `host` is, or lies under, a name in the list."""
    names = [name.strip().lstrip(".").lower() for name in no_proxy.split(",")]
    return any(name and (name in {"*", host} or host.endswith(f".{name}")) for name in names)


async def connect_through(proxy: str, host: str, port: int) -> socket.socket:
    """A connected socket to `host` behind the proxy. Raises OSError or LinkBroken."""
    where = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if where.scheme != "http" or not where.hostname:
        raise LinkBroken("the proxy in the environment is not an http:// one")
    loop = asyncio.get_running_loop()
    sock = await connect_any(where.hostname, where.port or 80)
    try:
        await loop.sock_sendall(sock, _request(where, host, port))
        await _accepted(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _request(where: SplitResult, host: str, port: int) -> bytes:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if where.username:
        pair = f"{unquote(where.username)}:{unquote(where.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _accepted(sock: socket.socket) -> None:
    """Read the proxy's answer byte by byte: what follows it belongs to the link."""
    loop = asyncio.get_running_loop()
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = await loop.sock_recv(sock, 1)
        if not byte or len(head) > _HEAD_BYTES:
            raise LinkBroken("the proxy ended the connection")
        head += byte
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        raise LinkBroken(f"the proxy answered {b''.join(status).decode('latin-1')}")
