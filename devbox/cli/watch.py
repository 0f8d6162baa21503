"""`devbox forward --all`: ports of a box that come and go, each forwarded while it is there.

Owns which ports are forwarded, and how people and scripts see that.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from devbox.cli.forward import GOES_ON, bridge_to, described
from devbox.cli.places import LOCALHOST, Place, Route
from devbox.cli.sessions import lines

if TYPE_CHECKING:
    from devbox.cli.lazy import Call
    from devbox.edge.links import BridgeServer, ClientSession

Show = Callable[[str, Route], None]
"""Takes "open" or "closed", and what was."""


_MOST = 256
"""Ports forwarded at one time; the lowest ones first."""


class _Port(msgspec.Struct):
    port: int


class _Ports(msgspec.Struct, tag="ports", tag_field="event"):
    """As the service `events` tells it."""

    ports: tuple[_Port, ...]


async def follow(call: "Call", session: "ClientSession", fixed: Sequence[Route]) -> None:
    """Forward what is listened on, until Ctrl-C or until the session ends, which raises."""
    stream = await session.open("events", {})
    call.screen.note("Waiting for programs that listen. Ctrl-C ends it.")
    with call.screen.goes_on(GOES_ON), _shown(call, fixed) as show:
        watched = Watched(call, session, show, {one.far.port for one in fixed if not one.far.path})
        try:
            async for line in lines(stream):
                told = msgspec.json.decode(line, type=_Ports)
                await watched.update({one.port for one in told.ports})
        finally:
            await watched.update(set())
    if session.error is not None:
        raise session.error


class Watched:
    """The forwards that there are."""

    def __init__(self, call: "Call", session: "ClientSession", show: Show, apart: set[int]) -> None:
        self._call = call
        self._session = session
        self._show = show
        self._apart = apart
        self._open: dict[int, tuple[Route, BridgeServer]] = {}

    async def update(self, ports: set[int]) -> None:
        """Forward these and no others."""
        for port in [port for port in self._open if port not in ports]:
            route, server = self._open.pop(port)
            await server.close()
            self._show("closed", route)
        for port in sorted(ports - self._apart - set(self._open))[: _MOST - len(self._open)]:
            route, server = await self._forward(port)
            self._open[port] = route, server
            self._show("open", route)

    async def _forward(self, port: int) -> "tuple[Route, BridgeServer]":
        """Under the same number, else under any."""
        note = self._call.screen.note
        # `localhost` reaches programs that listen on either of the box's loopback addresses.
        route = Route(Place(port), Place(port, "localhost"))
        server = bridge_to(route, self._session, lambda error: note(f"{port}: {error.message}"))
        try:
            found = await server.start_tcp(LOCALHOST, port)
        except OSError:
            found = await server.start_tcp(LOCALHOST, 0)
        return route.at(found), server


@contextlib.contextmanager
def _shown(call: "Call", fixed: Iterable[Route]) -> Iterator[Show]:
    """For scripts a line of JSON per change, for people a list or, where nobody looks, lines."""
    present = [*fixed]
    with call.screen.live(("here", "in the box")) as redraw:

        def show(what: str, one: Route) -> None:
            if what == "open":
                present.append(one)
            else:
                present.remove(one)
            call.screen.event({"event": what, **_facts(one)})
            if redraw is None:
                call.screen.say(_sentence(what, one))
            else:
                redraw([(str(route.near), _far(route)) for route in present])

        for one in [*present]:
            present.remove(one)
            show("open", one)
        yield show


def _facts(one: Route) -> dict[str, Any]:
    return {**described(one), "host": LOCALHOST} if one.far.host == "localhost" else described(one)


def _far(one: Route) -> str:
    return str(one.far.port) if one.far.host == "localhost" else one.far.short


def _sentence(what: str, one: Route) -> str:
    return f"{one.near} -> {_far(one)}" if what == "open" else f"{one.near} is closed"
