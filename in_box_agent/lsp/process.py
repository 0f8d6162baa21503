"""The bridge's process: started by the agent for the first editor, it ends when none came for long.

Editors come over an inherited unix socket: a datagram of JSON, and with it a descriptor, the
editor's stream (unix(7), SCM_RIGHTS). So there is no path in the box that anybody else could open.
"""

import asyncio
import os
import socket

import msgspec
import uvloop

from devbox.edge.tasks import Tasks
from in_box_agent.isolation import isolate
from in_box_agent.lsp.talk import Talk
from in_box_agent.lsp.wishes import Around, Wish

IDLE_S = 1800.0
_DATAGRAM = 256 << 10


class Visit(msgspec.Struct, frozen=True):
    """An editor's datagram."""

    wish: Wish
    around: Around


async def serve(control: socket.socket, idle_s: float = IDLE_S) -> None:
    """Take editors until the agent is gone or nobody came for `idle_s` and nobody is here."""
    control.setblocking(False)
    here: set[int] = set()
    async with Tasks("lsp") as tasks:
        while True:
            try:
                async with asyncio.timeout(idle_s):
                    visit, fd = await _next(control)
            except TimeoutError:
                if not here:
                    return
                continue
            except EOFError:
                return
            here.add(fd)
            tasks.start(_talk(visit, fd, here), "editor")


async def _next(control: socket.socket) -> tuple[Visit, int]:
    loop = asyncio.get_running_loop()
    while True:
        try:
            data, fds, _, _ = socket.recv_fds(control, _DATAGRAM, 1)
        except BlockingIOError:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_reader(control, _wake, ready)
            try:
                await ready
            finally:
                loop.remove_reader(control)
            continue
        if not data:
            raise EOFError
        return msgspec.json.decode(data, type=Visit), fds[0]


def _wake(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


async def _talk(visit: Visit, fd: int, here: set[int]) -> None:
    try:
        streams = await asyncio.open_unix_connection(sock=socket.socket(fileno=fd))
        await Talk(visit.wish, visit.around, streams).run()
    finally:
        here.discard(fd)


def run(descriptor: int) -> None:
    """The whole process. `descriptor` is the socket that editors come over."""
    isolate(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108
    with socket.socket(fileno=descriptor) as control:
        uvloop.run(serve(control))
