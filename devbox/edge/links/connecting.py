"""A TCP connection to whichever of a name's addresses answers first. Knows no HTTP and no session.

A gateway with replicas is one name with several addresses. One that refuses is passed over at once,
one that is silent is not waited for alone (RFC 8305, "happy eyeballs").
"""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

from devbox.edge.pacing import is_near, unpace
from devbox.edge.tasks import Tasks

_NEXT_S = 0.25
"""RFC 8305's recommended delay between attempts."""

Place = tuple[int, int, int, str, Any]
"""As getaddrinfo(3) gives it: family, type, protocol, canonical name, address."""


async def connect_any(host: str, port: int, turn: int = 0) -> socket.socket:
    """A connected, non-blocking socket. `turn` says with which address to begin.

    Raises the first address's OSError when none can be reached.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await connect_first(in_turn(found, turn))


def in_turn(places: Sequence[Place], turn: int) -> list[Place]:
    """The places with families taking turns, and beginning with another one each turn."""
    six = [one for one in places if one[0] == socket.AF_INET6]
    rest = [one for one in places if one[0] != socket.AF_INET6]
    first, second = (six, rest) if places and places[0] in six else (rest, six)
    mixed = [one for one in chain(*zip_longest(first, second)) if one is not None]
    at = turn % len(mixed) if mixed else 0
    return mixed[at:] + mixed[:at]


async def connect_first(places: Sequence[Place]) -> socket.socket:
    """The first that connects; the others are given up. Raises OSError when none does."""
    if not places:
        raise OSError("the name has no address")
    waiting, failed = deque(places), list[OSError]()
    async with _Race() as race:
        while waiting or race.running:
            if waiting:
                race.start(waiting.popleft())
            for outcome in await race.look(_NEXT_S if waiting else None):
                if isinstance(outcome, socket.socket):
                    return race.keep(outcome)
                failed.append(outcome)
    raise failed[0]


class _Race:
    """Attempts under way. Whatever connects and is not kept is closed."""

    def __init__(self) -> None:
        self._tasks = Tasks("connect")
        self._kept: socket.socket | None = None
        self._made: list[socket.socket] = []
        self.running: set[asyncio.Task[socket.socket | OSError]] = set()

    def start(self, place: Place) -> None:
        self.running.add(self._tasks.start(self._attempt(place), "attempt"))

    async def look(self, limit_s: float | None) -> list[socket.socket | OSError]:
        """What came of attempts, as soon as there is something or the time is over."""
        done, self.running = await asyncio.wait(
            self.running, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
        )
        return [task.result() for task in done]

    def keep(self, sock: socket.socket) -> socket.socket:
        self._kept = sock
        return sock

    async def _attempt(self, place: Place) -> socket.socket | OSError:
        family, kind, protocol, _, address = place
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            return error
        self._made.append(sock)
        sock.setblocking(False)
        if is_near(str(address[0])):
            unpace(sock)
        try:
            await asyncio.get_running_loop().sock_connect(sock, address)
        except OSError as error:
            return error
        return sock

    async def __aenter__(self) -> "_Race":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._tasks.close()
        for sock in self._made:
            if sock is not self._kept:
                with contextlib.suppress(OSError):
                    sock.close()
