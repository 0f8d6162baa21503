"""Standard input and output carried to a service of a box: `devbox ssh --stdio`, `devbox lsp`.

Owns the two pumps and their ends. The session below re-dials by itself; this only says so when it
takes long. Must start fast: every `ssh`, `scp` and `git` of a person waits for it.
"""

import asyncio
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from devbox.cli.lazy import to_end
from devbox.cli.sessions import dial_of, open_session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from devbox.cli.reach import Target
    from devbox.edge.links import Stream

_CHUNK = 256 << 10
_GOODBYE = 3.0
_LOOK_S = 0.2
_FAST_BYTES = 8 << 20
"""In that time: at such a speed a full wide pipe is 25 ms."""
_WIDE_BYTES = 1 << 20


def serve_stdio(
    wanted: "Target", service: str = "ssh", params: "Mapping[str, str] | None" = None
) -> int:
    """Carry this process's stdin and stdout until both directions have ended."""
    return to_end(_until_told(lambda: _serve(wanted, service, params or {})))


async def _until_told(serve: "Callable[[], Awaitable[int]]") -> int:
    """Serve until the end or a signal; then say good-bye, so that no session waits at the agent.

    ssh ends its ProxyCommand with SIGHUP and does not wait for it. The farewell is short, however
    dead the link is, and waits for nothing that was still to be sent: nobody will read answers.
    """
    loop = asyncio.get_running_loop()
    serving = asyncio.current_task()
    told: list[int] = []

    def end(number: int) -> None:
        if serving and not told:
            told.append(number)
            loop.call_later(_GOODBYE, os._exit, 128 + number)
            serving.cancel()

    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    try:
        return await serve()
    except asyncio.CancelledError:
        if not told:
            raise
        return 128 + told[0]


async def _serve(wanted: "Target", service: str, params: "Mapping[str, str]") -> int:
    from devbox.edge.tasks import Tasks

    dial = await dial_of(wanted)
    async with Tasks("stdio") as tasks, open_session(dial) as session:
        stream = await session.open(service, dict(params))
        try:
            with _unblocked(0), _unblocked(1):
                pipes = Pipes()
                up = tasks.start(_pump_in(stream, 0, pipes), "in")
                # The far end decides: SSH says good-bye there, whether or not our stdin has ended.
                await _pump_out(stream, 1, pipes)
                up.cancel()
        except asyncio.CancelledError:
            await session.leave()
            raise
    return 0


class Pipes:
    """Gives ssh's pipes more room once much goes through them.

    On a slow line they stay small: what waits in a pipe cannot be overtaken by a keystroke that
    shares the connection.
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._bytes = 0
        self._wide = False

    def carried(self, count: int, now: float) -> bool:
        """So many bytes went through; whether it is time to widen."""
        if self._wide:
            return False
        if now - self._since > _LOOK_S:
            self._since, self._bytes = now, 0
        self._bytes += count
        self._wide = self._bytes > _FAST_BYTES
        return self._wide

    def count(self, count: int) -> None:
        """As `carried`, and widen."""
        if self.carried(count, asyncio.get_running_loop().time()):
            for descriptor in (0, 1):
                with suppress(OSError, AttributeError):  # no pipe, or another system's
                    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _WIDE_BYTES)


async def _pump_in(stream: "Stream", descriptor: int, pipes: Pipes) -> None:
    """From a file descriptor to the box, to its end."""
    while data := await _read(descriptor):
        pipes.count(len(data))
        await stream.write(data)
    await stream.end()


async def _pump_out(stream: "Stream", descriptor: int, pipes: Pipes) -> None:
    """From the box to a file descriptor, to the stream's end, or until nobody reads any more."""
    try:
        while data := await stream.read(_CHUNK):
            pipes.count(len(data))
            await _write(descriptor, data)
    except BrokenPipeError:
        await stream.close()


async def _read(descriptor: int) -> bytes:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.read(descriptor, _CHUNK)
    while True:
        try:
            return os.read(descriptor, _CHUNK)
        except BlockingIOError:
            await _ready(descriptor, reading=True)
        except ConnectionResetError:
            return b""


async def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            await _ready(descriptor, reading=False)


async def _ready(descriptor: int, *, reading: bool) -> None:
    """Wait until a descriptor can be read or written."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    add, remove = (
        (loop.add_reader, loop.remove_reader) if reading else (loop.add_writer, loop.remove_writer)
    )
    add(descriptor, _wake, waiter)
    try:
        await waiter
    finally:
        remove(descriptor)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


@contextmanager
def _unblocked(descriptor: int) -> Iterator[None]:
    """Not blocking, and as it was afterwards: a terminal is shared with the person's shell."""
    before = os.get_blocking(descriptor)
    os.set_blocking(descriptor, False)
    try:
        yield
    finally:
        os.set_blocking(descriptor, before)
