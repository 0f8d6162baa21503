"""Writes a line onto every terminal that is open in a box.

A box's root can make of /dev/pts what it likes, so nothing is followed, and only what the kernel
says is a pseudo-terminal is written to, without ever waiting for one that nobody reads.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_PTS_MAJORS = range(136, 144)
"""Of pseudo-terminals (Linux, admin-guide/devices.txt)."""
_MOST = 256
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TERMINAL = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC


def tell_shells(pid: int, text: str) -> int:
    """Write to the terminals of the box whose first process is `pid`; returns to how many."""
    line = f"\r\n\a*** devbox: {text}\r\n".encode()
    told = 0
    with contextlib.suppress(OSError), _opened(Path(f"/proc/{pid}/root")) as directory:
        listing = os.open(f"/proc/self/fd/{directory}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            names = sorted(name for name in os.listdir(listing) if name.isdecimal())
        finally:
            os.close(listing)
        told = sum(_tell(directory, name, line) for name in names[:_MOST])
    return told


@contextlib.contextmanager
def _opened(root: Path) -> Iterator[int]:
    """The box's directory of terminals."""
    with contextlib.ExitStack() as stack:
        at = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, at)
        for name in ("dev", "pts"):
            at = os.open(name, _DIRECTORY, dir_fd=at)
            stack.callback(os.close, at)
        yield at


def _tell(directory: int, name: str, line: bytes) -> bool:
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        stack.callback(os.close, found)
        facts = os.fstat(found)
        if not stat.S_ISCHR(facts.st_mode) or os.major(facts.st_rdev) not in _PTS_MAJORS:
            return False
        terminal = os.open(f"/proc/self/fd/{found}", _TERMINAL)
        stack.callback(os.close, terminal)
        return os.write(terminal, line) > 0
    return False
