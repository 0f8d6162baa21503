"""One process that is kept running: started, watched, started again with growing pauses.

Knows nothing of what the process does; its `Part` says how it is started and when it is ready.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from devbox.cli.server.parts import Part
from devbox.cli.server.state import PartState
from devbox.edge.priority import prefer
from devbox.model.errors import Unavailable

_log = structlog.get_logger()
_LOOK_S = 0.05
_TAIL_BYTES = 4000
_TRIES = 3
"""A part that ends so often before it ever served does not start."""


@dataclass(frozen=True)
class Times:
    """How patient the supervisor is, in seconds."""

    ready: float = 60.0
    """Until a part must serve for the first time."""
    end: float = 15.0
    """Between asking a part to end and ending it. A gateway takes 10 s for its links."""
    first_pause: float = 0.1
    """Before a part that ended is started again; doubled each time it ends young."""
    longest_pause: float = 10.0
    grown_up: float = 30.0
    """Having run for so long, a part begins at the first pause again."""

    def pause(self, ends: int) -> float:
        """The pause after so many ends in a row."""
        return float(min(self.longest_pause, self.first_pause * 2.0 ** min(ends - 1, 30)))


class Kept:
    """Keeps one part running until it is stopped."""

    def __init__(self, part: Part, log: Path, changed: Callable[[], None], times: Times) -> None:
        self.part = part
        self.state = PartState(pid=0, started_at=0.0)
        self._log = log
        self._changed = changed
        self._times = times
        self._process: asyncio.subprocess.Process | None = None
        self._served = asyncio.Event()
        self._stopping = asyncio.Event()
        self._ends_in_a_row = 0

    async def run(self) -> None:
        """Start it, and again whenever it ends."""
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                said = _status(await self._once())
            except OSError as error:
                said = f"{error.filename or self.part.command[0]}: {error.strerror}"
            if self._stopping.is_set():
                return
            grown_up = time.monotonic() - began > self._times.grown_up
            self._ends_in_a_row = 1 if grown_up else self._ends_in_a_row + 1
            pause = self._times.pause(self._ends_in_a_row)
            _log.warning("part_ended", part=self.part.name, said=said, pause_s=pause)
            self._set(pid=0, ready=False, restarts=self.state.restarts + 1, said=said)
            await _wait(self._stopping, pause)

    async def until_served(self) -> None:
        """Wait for the first time that it serves. Raises Unavailable with its last words."""
        deadline = time.monotonic() + self._times.ready
        while not self._served.is_set() and not self._stopping.is_set():
            if self._ends_in_a_row >= _TRIES or time.monotonic() > deadline:
                raise Unavailable(
                    f"{self.part.name} does not start: {self._last_words()}",
                    f"Nothing is lost. All it said is in {self._log}.",
                )
            await _wait(self._served, _LOOK_S)

    async def stop(self) -> None:
        """End it: politely, then not."""
        self._stopping.set()
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(self._times.end):
                    await process.wait()
            except TimeoutError:
                _log.warning("part_killed", part=self.part.name)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._set(pid=0, ready=False)

    async def _once(self) -> int:
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *dies_with_us(self.part.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.part.env},
                cwd="/",
                start_new_session=True,
            )
        prefer(self.part.nice, process.pid)
        self._process = process
        if self._stopping.is_set():
            process.terminate()
        self._set(pid=process.pid, started_at=time.time(), ready=False)
        await self._watch_readiness(process)
        return await process.wait()

    async def _watch_readiness(self, process: asyncio.subprocess.Process) -> None:
        while process.returncode is None and not self._stopping.is_set():
            if await asyncio.to_thread(self.part.ready) and process.returncode is None:
                self._set(ready=True)
                self._served.set()
                return
            await _wait(self._stopping, _LOOK_S)

    def _set(self, **facts: object) -> None:
        self.state = msgspec.structs.replace(self.state, **facts)
        self._changed()

    def _last_words(self) -> str:
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, self._log.stat().st_size - _TAIL_BYTES))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][-400:] if lines else self.state.said or "it said nothing"


def dies_with_us(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command, ended by the kernel when the supervisor is killed: nobody else would."""
    return (shutil.which("setpriv") or "/usr/bin/setpriv", "--pdeathsig", "TERM", "--", *command)


def bound_log(path: Path, limit: int) -> None:
    """Keep a log below a size: what is over goes to `<name>.1`, which is replaced.

    The part goes on writing at the file's end, for it appends; lines written in the moment between
    the two steps are lost.
    """
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > limit:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            os.truncate(path, 0)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _status(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"ended by signal {-status}"
