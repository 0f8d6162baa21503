"""Notices that the machine's network changed, and what that means for a connection.

Linux tells through rtnetlink(7); elsewhere nothing is noticed, and pings find dead links.
"""

import asyncio
import contextlib
import enum
import socket
import sys
from collections.abc import Callable

Stop = Callable[[], None]
NetworkWatch = Callable[[Callable[[], None]], Stop]
"""Calls back at every change until it is stopped."""

_RTMGRP_LINK = 0x1
_RTMGRP_IPV4_IFADDR = 0x10
_RTMGRP_IPV4_ROUTE = 0x40
_RTMGRP_IPV6_IFADDR = 0x100
_RTMGRP_IPV6_ROUTE = 0x400
_GROUPS = (
    _RTMGRP_LINK
    | _RTMGRP_IPV4_IFADDR
    | _RTMGRP_IPV4_ROUTE
    | _RTMGRP_IPV6_IFADDR
    | _RTMGRP_IPV6_ROUTE
)
_SETTLE_S = 0.05


class Verdict(enum.Enum):
    """What a change means for a connection with this local address."""

    SAME = enum.auto()
    MOVED = enum.auto()
    """A new connection would leave from another address."""
    GONE = enum.auto()
    """The address is not this machine's any more."""


def watch_network(changed: Callable[[], None]) -> Stop:
    """Call `changed` once per burst of changes of links, addresses and routes."""
    if sys.platform != "linux":
        return _nothing
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        sock.setblocking(False)
        sock.bind((0, _GROUPS))
    except OSError:
        return _nothing
    loop = asyncio.get_running_loop()
    burst = _Burst(loop, sock, changed)
    loop.add_reader(sock, burst.heard)
    return burst.stop


class _Burst:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, changed: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._changed = changed
        self._timer: asyncio.TimerHandle | None = None

    def heard(self) -> None:
        with contextlib.suppress(OSError):
            while self._sock.recv(65536):
                pass
        if self._timer is None:
            self._timer = self._loop.call_later(_SETTLE_S, self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._changed()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()


def judge(local: str, peer: str) -> Verdict:
    """What became of a connection from `local` to `peer`. Sends nothing."""
    family = socket.AF_INET6 if ":" in local else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((local, 0))
        except OSError:
            return Verdict.GONE
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer, 9))
        except OSError:
            return Verdict.MOVED
        return Verdict.SAME if probe.getsockname()[0] == local else Verdict.MOVED


def _nothing() -> None:
    return None
