"""A person's terminal: a real pty with a program in it, read as it comes."""

import contextlib
import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path


class Terminal:
    """Types, and waits for what is shown."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self.shown = ""

    def type(self, text: str) -> None:
        """As if typed; a newline is Return."""
        os.write(self._master, text.encode())

    def until(self, word: str, limit_s: float = 60.0) -> str:
        """Everything shown up to and with `word`, which is taken off."""
        deadline = time.monotonic() + limit_s
        while word not in self.shown:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._master], [], [], max(0.0, left))
            if not ready:
                raise AssertionError(f"{word!r} was not shown, but {self.shown!r}")
            self.shown += os.read(self._master, 1 << 16).decode(errors="replace")
        before, _, self.shown = self.shown.partition(word)
        return before + word


@contextlib.contextmanager
def terminal(
    *command: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[Terminal]:
    """The program gets the terminal as its controlling one; killed afterwards."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=dict(env) if env is not None else None,
        cwd=cwd,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        os.close(master)
        process.kill()
        process.wait()
