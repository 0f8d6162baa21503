"""The worker: one process, niced, that carries out save orders one after the other.

Reads JSON lines from standard input and answers on standard output. When its input ends, whoever
started it is gone, and it ends at once, whatever it was doing.
"""

import asyncio
import contextlib
import ctypes
import gc
import os
import sys

import msgspec

from devbox.edge.priority import prefer
from devbox.edge.registry import Registry
from devbox.edge.tasks import Tasks
from devbox.model.errors import DevboxError, Internal, NoSpace
from devbox.model.saves import SaveStep
from node_agent.faults import Fault, die_at
from node_agent.saver.orders import (
    Begin,
    Done,
    Failed,
    FromWorker,
    Go,
    Progress,
    Stepped,
    ToWorker,
)
from node_agent.saver.save import SaveWork

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_LOWEST_BEST_EFFORT = (2 << 13) | 7
_LINE_BYTES = 4 << 20
_EVERY_S = 0.1


class Talk:
    """The lines to and from the node agent."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def hear(self) -> ToWorker | None:
        """The next line; None at the end."""
        line = await self._reader.readline()
        return msgspec.json.decode(line, type=ToWorker) if line else None

    def say(self, message: FromWorker) -> None:
        """Answer."""
        os.write(sys.stdout.fileno(), msgspec.json.encode(message) + b"\n")


class _Observer:
    def __init__(self, talk: Talk, going: "asyncio.Queue[None]") -> None:
        self._talk = talk
        self._going = going
        self._told_at = 0.0

    async def progress(self, done: int, expected: int) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told_at >= _EVERY_S:
            self._told_at = now
            self._talk.say(Progress(done=done, expected=expected))

    async def step(self, step: SaveStep) -> None:
        self._talk.say(Stepped(step=step))
        await self._going.get()


async def serve(talk: Talk, fault: Fault) -> None:
    """Carry out orders until the input ends."""
    going: asyncio.Queue[None] = asyncio.Queue()
    tasks = Tasks("saver")
    while (line := await talk.hear()) is not None:
        if isinstance(line, Go):
            going.put_nowait(None)
        else:
            tasks.start(_carry_out(line, talk, _Observer(talk, going), fault), "save")


async def _carry_out(line: Begin, talk: Talk, observer: _Observer, fault: Fault) -> None:
    gc.disable()
    try:
        async with Registry(line.registry_url) as registry:
            saved = await SaveWork(line.order, registry, observer, fault).run()
        talk.say(Done(saved=saved))
    except Exception as error:  # the edge of the process: every failure is told
        failure = as_devbox(error)
        talk.say(Failed(code=failure.code, message=failure.message, hint=failure.hint))
    finally:
        gc.enable()
        gc.collect()


def as_devbox(error: Exception) -> DevboxError:
    """What to tell of a failure."""
    if isinstance(error, DevboxError):
        return error
    if isinstance(error, OSError) and error.errno in {28, 122}:
        return NoSpace(f"the disk is full: {error}", "Nothing is lost. Free space.")
    return Internal(
        f"the save failed: {type(error).__name__}: {error}",
        "The files are safe where they are; the save is tried again.",
    )


def lower_priority(nice: int) -> None:
    """Of processor and disk; in a session of its own, to stand behind all and not ours only."""
    with contextlib.suppress(OSError):
        os.setsid()
    prefer(nice)
    if (number := _IOPRIO_SET.get(os.uname().machine)) is not None:
        ctypes.CDLL(None, use_errno=True).syscall(number, 1, 0, _LOWEST_BEST_EFFORT)


async def main(fault: Fault) -> None:
    """Read orders from standard input."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await serve(Talk(reader), fault)
    # Whoever wanted the save is gone, and threads may wait for a disk: nothing here counts now.
    os._exit(0)


if __name__ == "__main__":
    lower_priority(int(sys.argv[1]))
    asyncio.run(main(die_at(sys.argv[2])))
