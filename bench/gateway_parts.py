"""Processes of the gateway bench: `house`, what stands behind it, and `client`, many connections.

Knows nothing of measuring; every part prints JSON lines.
"""

import asyncio
import contextlib
import resource
import ssl
import statistics
import sys
import time
from pathlib import Path

import uvloop

from bench.tunnel_parts import lay_out, ready
from devbox.edge.rpc import serve
from devbox.model import orchestrator as o
from devbox.model.nodes import AGENT_PORT
from devbox.model.projects import ProjectSpec
from tests.support.gateway import ANSWER, upgrade
from tests.support.orchestrator import FakeOrchestrator

_PROJECTS = 50
"""A token may have 256 links."""
_MESSAGE = bytes(40 << 10)
_AT_ONCE = 50


async def _agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A box's end: takes every session, reads and says nothing."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        while await reader.read(1 << 18):
            pass
    writer.close()


async def _house(home: Path, pem: str) -> None:
    layout, _ = lay_out(home, pem)
    fake = FakeOrchestrator()
    servers = await _listen()
    paths = []
    for number in range(_PROJECTS):
        fake.box_ip = f"127.0.0.{servers[number % len(servers)]}"
        asked = o.CreateProject(
            namespace="team", name=f"p{number}", spec=ProjectSpec(runtime="python")
        )
        paths.append(f"/home/here/team/p{number}/{(await fake.create_project(asked)).token}")
    await serve(layout.orchestrator_socket, protocol=o.Orchestrator, implementation=fake)
    ready(paths=paths)
    await asyncio.Event().wait()


async def _listen() -> list[int]:
    """Boxes at two addresses of loopback."""
    found: list[int] = []
    for last in range(2, 250):
        with contextlib.suppress(OSError):
            await asyncio.start_server(_agent, f"127.0.0.{last}", AGENT_PORT, backlog=1024)
            found.append(last)
        if len(found) > 1:
            return found
    raise SystemExit("no address of loopback is free")


class Crowd:
    """Connections of one process."""

    def __init__(self, port: str, paths: str, ca: str) -> None:
        self._port = int(port)
        self._paths = Path(paths).read_text().split()
        self._trust = ssl.create_default_context(cafile=ca) if ca != "-" else None
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """To the gateway; nothing is said."""
        return await asyncio.open_connection("127.0.0.1", self._port, ssl=self._trust)

    async def dial(self, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A tunnel. Each connection speaks at once: one that waits long is dropped."""
        async with self._turn:
            reader, writer = await self.connect()
            writer.write(upgrade(self._paths[number % len(self._paths)]))
            head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head:
            raise SystemExit(head.decode())
        return reader, writer

    async def many(self, first: int, count: int) -> list[asyncio.StreamWriter]:
        """Tunnels."""
        made = await asyncio.gather(*(self.dial(first + number) for number in range(count)))
        return [writer for _, writer in made]


async def _send(writer: asyncio.StreamWriter, delay: float, rounds: int) -> tuple[int, int]:
    """One message a second; how many were sent, and whether the tunnel was lost."""
    began = time.monotonic() + delay
    for number in range(rounds):
        await asyncio.sleep(max(0.0, began + number - time.monotonic()))
        if writer.transport.is_closing():
            return number, 1
        writer.write(_MESSAGE)
        await writer.drain()
    return rounds, 0


async def _client(what: str, crowd: Crowd, share: int, *more: str) -> None:
    number = int(more[-1])
    if what == "loris":
        writers = [(await crowd.connect())[1] for _ in range(share)]
        for writer in writers:
            writer.write(b"GET /home/here/team/hello HTTP/1.1\r\nHost: ")
        ready(open=share)
        await _dribble(writers)
    elif what == "dial":
        ready(ms=await _times(crowd, share))
        return
    writers = await crowd.many(number * share, share)
    ready(open=share)
    if what == "busy":
        rounds = int(more[0])
        done = await asyncio.gather(
            *(_send(writer, index / share, rounds) for index, writer in enumerate(writers))
        )
        ready(sent=sum(sent for sent, _ in done), lost=sum(lost for _, lost in done))
    await asyncio.Event().wait()


async def _dribble(writers: list[asyncio.StreamWriter]) -> None:
    while True:
        await asyncio.sleep(1)
        for writer in writers:
            if not writer.transport.is_closing():
                writer.write(b"x")


async def _times(crowd: Crowd, count: int) -> float:
    """The median of a new tunnel's time in ms."""
    found = []
    for number in range(count):
        began = time.perf_counter()
        _, writer = await crowd.dial(number)
        found.append((time.perf_counter() - began) * 1e3)
        writer.transport.abort()
    return statistics.median(found)


async def _crowd(what: str, port: str, paths: str, ca: str, *more: str) -> None:
    await _client(what, Crowd(port, paths, ca), int(more[0]), *more[1:])


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if sys.argv[1] == "house":
        uvloop.run(_house(Path(sys.argv[2]), sys.argv[3]))
    else:
        uvloop.run(_crowd(*sys.argv[1:]))
