"""Congestion control of connections that stay on one machine, or between a gateway and its boxes.

BBR, where a machine's owner chose it, spaces out what it sends with timers. Towards the internet
that is the point of it; between two processes of one machine the timers cost several times more
than the sending. Knows no protocol.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Iterable
from typing import Protocol

_PACED = b"bbr"
_UNPACED = (b"cubic", b"reno")
"""The second one is always there and open to everybody."""
_NAME_BYTES = 16


class Options(Protocol):
    """A socket, or asyncio's view of one."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """As socket.socket's."""
        ...

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None:
        """As socket.socket's."""
        ...


def unpace(sock: Options) -> None:
    """Do not pace. Works best before `connect`, and on a listener for all that it accepts."""
    option = getattr(socket, "TCP_CONGESTION", None)
    if option is None:
        return
    with contextlib.suppress(OSError):
        if not sock.getsockopt(socket.IPPROTO_TCP, option, _NAME_BYTES).startswith(_PACED):
            return
    for name in _UNPACED:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, name)
            return


def unpace_near(sock: socket.socket) -> None:
    """As `unpace`, for an accepted connection, when its peer is on this machine."""
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    with contextlib.suppress(OSError):
        peer = str(sock.getpeername()[0])
        if is_near(peer) or peer == sock.getsockname()[0]:
            unpace(sock)


def unpace_listeners(sockets: Iterable[Options], host: str) -> None:
    """As `unpace`, for a server that only this machine can reach."""
    if is_near(host):
        for sock in sockets:
            unpace(sock)


def is_near(host: str) -> bool:
    """Whether a name or an address is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
