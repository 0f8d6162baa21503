"""A person's process: started by `devbox-exec`, on pipes or on a terminal, and watched to its end.

Knows nothing of SSH. Non-blocking from end to end: the owner is called back with output and with
the end, and pauses output when it cannot take more.
"""

import asyncio
import fcntl
import os
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

STDOUT = 1
STDERR = 2
READ_BYTES = 256 << 10
_PIPE_BYTES = 256 << 10
_WIDE_PIPES = 64
"""So many pipes may be widened at one time. The kernel counts all pipes of a user, and gives one
that has more than 64 MiB in them (pipe(7)) only tiny new ones."""
_INPUT_HIGH_BYTES = 1 << 20

ModeChange = Callable[[list[Any]], list[Any]]
"""From a terminal's modes, in the form of `termios.tcgetattr`, to others."""


@dataclass(frozen=True)
class Window:
    """The size of a terminal: rows and columns in characters, and in pixels where known."""

    rows: int
    columns: int
    width: int = 0
    height: int = 0


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run."""

    program: str
    argv: Sequence[str]
    env: Mapping[str, str]
    directory: str
    home: str
    terminal: Window | None = None
    """None: pipes."""
    starter: str
    """Where devbox-exec lies."""


class Owner(Protocol):
    """Who hears of a process."""

    def output(self, data: bytes, source: int) -> None:
        """Data of STDOUT or STDERR; on a terminal everything is STDOUT."""

    def ended(self, status: int) -> None:
        """All output was given. `status` as of Popen: negative is a signal."""

    def input_full(self, full: bool) -> None:
        """Whether the owner should hold further input back."""


_running: set[int] = set()


class _Input:
    """The write end: keeps what the process does not take yet."""

    def __init__(self, fd: int, owner: Owner, *, close_fd: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._owner = owner
        self._close_fd = close_fd
        self._waiting: list[bytes] = []
        self._size = 0
        self._full = False
        self._ending = False
        self.closed = False

    def write(self, data: bytes) -> None:
        if self.closed or self._ending:
            return
        if not self._waiting:
            data = self._try(data)
        if data and not self.closed:
            if not self._waiting:
                self._loop.add_writer(self._fd, self._flush)
            self._waiting.append(data)
            self._size += len(data)
            self._tell()

    def _try(self, data: bytes) -> bytes:
        try:
            return data[os.write(self._fd, data) :]
        except BlockingIOError:
            return data
        except OSError:  # the process does not read any more
            self.close()
            return b""

    def _flush(self) -> None:
        data = b"".join(self._waiting)
        rest = self._try(data)
        if self.closed:
            return
        self._waiting = [rest] if rest else []
        self._size = len(rest)
        self._tell()
        if not rest:
            self._loop.remove_writer(self._fd)
            if self._ending:
                self.close()

    def _tell(self) -> None:
        full = self._size > _INPUT_HIGH_BYTES
        if full != self._full:
            self._full = full
            self._owner.input_full(full)

    def end(self) -> None:
        self._ending = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._loop.remove_writer(self._fd)
        if self._close_fd:
            os.close(self._fd)
        self._waiting.clear()
        if self._full:
            self._full = False
            self._owner.input_full(False)


class _Output:
    """One read end."""

    def __init__(self, process: "Process", fd: int, source: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._source = source
        self.paused = False
        self.fd = fd
        self.closed = False
        self._loop.add_reader(fd, self.read)

    def read(self) -> bool:
        """Read once. False when there is nothing, now or ever."""
        try:
            data = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # a terminal whose last process is gone gives EIO
            data = b""
        if data:
            self._process.owner.output(data, self._source)
        else:
            self._process.output_over(self)
        return bool(data)

    def pause(self, paused: bool) -> None:
        if paused == self.paused or self.closed:
            return
        self.paused = paused
        if paused:
            self._loop.remove_reader(self.fd)
        else:
            self._loop.add_reader(self.fd, self.read)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self.fd)
            os.close(self.fd)


@dataclass
class Process:
    """A running process. Ends its owner's interest with `hang_up`."""

    owner: Owner
    command: Command
    outputs: list[_Output] = field(default_factory=list)
    _status: int | None = None
    _told: bool = False
    _paused: bool = False

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self.command.terminal is None:
            self._start_on_pipes()
        else:
            self._start_on_terminal(self.command.terminal)
        _running.add(self._popen.pid)
        self._watch = os.pidfd_open(self._popen.pid)
        self._loop.add_reader(self._watch, self._exited)

    @property
    def pid(self) -> int:
        """Of the process, which leads a session of its own."""
        return self._popen.pid

    def _start_on_pipes(self) -> None:
        self._terminal = -1
        self._popen = self._popen_with(subprocess.PIPE, subprocess.PIPE, subprocess.PIPE)
        ends = (self._popen.stdin, self._popen.stdout, self._popen.stderr)
        fds = [os.dup(end.fileno()) for end in ends if end is not None]
        for end in ends:
            if end is not None:
                end.close()
        for fd in fds:
            os.set_blocking(fd, False)
        for fd in fds[:2]:
            _widen(fd, len(_running))
        self._input = _Input(fds[0], self.owner, close_fd=True)
        self.outputs = [_Output(self, fds[1], STDOUT), _Output(self, fds[2], STDERR)]

    def _start_on_terminal(self, window: Window) -> None:
        ours, theirs = os.openpty()
        self._terminal = ours
        try:
            self.resize(window)
            self._popen = self._popen_with(theirs, theirs, theirs)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        os.set_blocking(ours, False)
        self._input = _Input(ours, self.owner, close_fd=False)
        self.outputs = [_Output(self, ours, STDOUT)]

    def _popen_with(self, stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
        command = self.command
        kind = "pipe" if command.terminal is None else "tty"
        env = dict(command.env)
        if kind == "tty":
            env["SSH_TTY"] = os.ttyname(stdin)
        words = [command.starter, kind, command.directory, command.home, command.program]
        return subprocess.Popen(
            [*words, *command.argv], stdin=stdin, stdout=stdout, stderr=stderr, env=env
        )

    def write(self, data: bytes) -> None:
        """Give input."""
        self._input.write(data)

    def end_input(self) -> None:
        """No more input comes. A terminal has no end of input."""
        if self._terminal < 0:
            self._input.end()

    def pause(self, paused: bool) -> None:
        """Stop or go on reading output."""
        self._paused = paused
        for output in self.outputs:
            output.pause(paused)
        self.settle()

    def resize(self, window: Window) -> None:
        """Tell the terminal its size."""
        if self._terminal >= 0:
            size = struct.pack("HHHH", window.rows, window.columns, window.width, window.height)
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    def change_modes(self, change: ModeChange) -> None:
        """Change the terminal's modes (termios(3))."""
        if self._terminal >= 0:
            modes = termios.tcgetattr(self._terminal)
            termios.tcsetattr(self._terminal, termios.TCSANOW, change(modes))

    def send_break(self) -> None:
        """Send a break to the terminal."""
        if self._terminal >= 0:
            termios.tcsendbreak(self._terminal, 0)

    def signal(self, number: int) -> None:
        """Signal the foreground processes of the terminal, or the process's own group."""
        if self._status is not None:
            return
        try:
            group = self.pid if self._terminal < 0 else os.tcgetpgrp(self._terminal)
            os.killpg(group, number)
        except OSError:
            return

    def hang_up(self) -> None:
        """Nobody listens any more: close everything, and tell a process that still runs.

        What was started with nohup or setsid goes on, as it does when a terminal is closed.
        """
        self._told = True
        if self._status is None and self._terminal < 0:
            self.signal(signal.SIGHUP)
        self._close()

    def _exited(self) -> None:
        status = self._popen.poll()
        if status is None:
            return
        self._loop.remove_reader(self._watch)
        os.close(self._watch)
        _running.discard(self.pid)
        self._status = status
        self.settle()

    def output_over(self, output: _Output) -> None:
        """One of the outputs reached its end. A terminal's is also the end of its input."""
        if self._terminal >= 0:
            self._input.close()
        output.close()
        self.settle()

    def settle(self) -> None:
        """Tell the end once: the process is gone and its output was given.

        On a terminal, what the terminal still holds is read first; background processes that
        keep it open do not delay the end. On pipes the end of the output is awaited.
        """
        if self._status is None or self._told or self._paused:
            return
        if self._terminal >= 0 and not self._drain_terminal():
            return
        if self._has_told():  # draining met the end, and settled
            return
        if self._terminal >= 0 or all(output.closed for output in self.outputs):
            self._told = True
            self._close()
            self.owner.ended(self._status)

    def _has_told(self) -> bool:
        return self._told

    def _drain_terminal(self) -> bool:
        """Give what the terminal still holds. False when the owner paused meanwhile."""
        output = self.outputs[0]
        while not output.paused and not output.closed and output.read():
            pass
        return not output.paused

    def _close(self) -> None:
        self._input.close()
        for output in self.outputs:
            output.close()
        self._terminal = -1


def _widen(fd: int, running: int) -> None:
    """A larger pipe, where the user's allowance permits it."""
    if 2 * running >= _WIDE_PIPES:
        return
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        return
