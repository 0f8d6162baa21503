"""What happens in the box, as lines of JSON: for now, which TCP ports are listened on.

    {"event": "ports", "ports": [{"port": 8000, "loopback": true}, …]}

The first line comes at once, another one whenever the set changes, within a second.
"""

import asyncio
from collections.abc import Callable

import msgspec

from devbox.edge.links import Stream

_EVERY_S = 0.5
_LISTEN = "0A"
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LOOPBACK = ("0100007F", "00000000000000000000000001000000")


class Port(msgspec.Struct, frozen=True, order=True):
    """A port that a process of the box listens on."""

    port: int
    loopback: bool
    """Only on the box's own loopback."""


class Ports(msgspec.Struct, frozen=True, tag="ports", tag_field="event"):
    """All of them."""

    ports: tuple[Port, ...]


def parse_ports(tables: str, hidden: frozenset[int]) -> tuple[Port, ...]:
    """The listening ports of /proc/net/tcp and tcp6 (proc(5)), without the agent's own."""
    open_to: dict[int, bool] = {}
    for line in tables.splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[3] == _LISTEN:
            address, _, port = fields[1].partition(":")
            number = int(port, 16)
            loopback = address in _LOOPBACK
            open_to[number] = open_to.get(number, True) and loopback
    return tuple(sorted(Port(p, only) for p, only in open_to.items() if p not in hidden))


async def serve_events(stream: Stream, hidden: Callable[[], frozenset[int]]) -> None:
    """Tell until the client ends the stream. `hidden` are ports of no program of the box."""
    last: tuple[Port, ...] | None = None
    while True:
        ports = parse_ports(_tables(), hidden())
        if ports != last:
            last = ports
            await stream.write(msgspec.json.encode(Ports(ports)) + b"\n")
        try:
            async with asyncio.timeout(_EVERY_S):
                if not await stream.read(1):
                    return
        except TimeoutError:
            continue


def _tables() -> str:
    texts = []
    for path in _TABLES:
        try:
            with open(path, encoding="ascii") as file:
                texts.append(file.read())
        except OSError:
            continue
    return "\n".join(texts)
