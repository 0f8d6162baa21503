"""Freezes a box for a moment, through a guard process that thaws it whatever becomes of us."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from node_agent.saver import thaw_guard

_READY_S = 5.0


class CannotFreeze(Exception):
    """The box did not stand still in time, or has no freezer."""


class Freeze:
    """`with` it: the box stands still. Afterwards `held` says whether it did to the end.

    Blocks; use it in a thread. The guard is started by `prepare`, before anything stands still.
    """

    def __init__(self, cgroup: str, limit_ms: int) -> None:
        self._cgroup = cgroup
        self._limit_ms = limit_ms
        self._guard: subprocess.Popen[bytes] | None = None
        self._thawed = True
        self.frozen_ms = 0.0
        self.held = False

    def prepare(self) -> None:
        """Have the guard ready. Raises CannotFreeze."""
        self._guard = subprocess.Popen(
            [sys.executable, "-I", thaw_guard.__file__, self._cgroup, str(self._limit_ms)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        if self._hear() != "ready":
            self.close()
            raise CannotFreeze

    def __enter__(self) -> Self:
        self._thawed = False
        self._tell(b"freeze\n")
        if self._hear() != "frozen":
            self.close()
            raise CannotFreeze
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tell(b"thaw\n")
        word, _, rest = self._hear().partition(" ")
        if word == "thawed":
            self._thawed = True
            took, _, why = rest.partition(" ")
            self.frozen_ms = float(took)
            self.held = why == "told"
        self.close()

    def close(self) -> None:
        """End the guard; it thaws first. Where the guard was killed, this does."""
        guard, self._guard = self._guard, None
        if guard is None:
            return
        for pipe in (guard.stdin, guard.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            guard.wait(_READY_S)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()
        if not self._thawed:
            thaw(self._cgroup)
            self._thawed = True

    def _tell(self, line: bytes) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(OSError):
                os.write(self._guard.stdin.fileno(), line)

    def _hear(self) -> str:
        if self._guard is None or self._guard.stdout is None:
            return ""
        return self._guard.stdout.readline().decode().strip()


def processes(cgroup: str) -> list[int]:
    """Process ids of a box, those in cgroups of its own making too, lowest first."""
    found: list[int] = []
    for directory, _, _ in os.walk(cgroup):
        with contextlib.suppress(OSError):
            text = (Path(directory) / "cgroup.procs").read_text()
            found += (int(line) for line in text.split())
    return sorted(found)


def thaw(cgroup: str) -> None:
    """Let a box run that somebody left frozen; a box that runs or is gone is left alone."""
    with contextlib.suppress(OSError):
        thaw_guard.Freezer(cgroup).thaw()
