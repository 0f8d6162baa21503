"""Processes that live in a box's overlay as a container's do: own mounts, root and cgroup.

Run as a program it is such a process: it prints `ready`, and works until it is killed.
"""

import base64
import ctypes
import mmap
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from node_agent.saver.freezing import thaw
from tests.support.changes import Change, apply

_NEW_MOUNTS = 0x20000
_BIND, _PRIVATE, _DETACH = 0x5000, 0x44000, 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}


@contextmanager
def cgroup(name: str) -> Iterator[Path]:
    """A freezer cgroup, removed and thawed afterwards."""
    first = Path("/sys/fs/cgroup/freezer")
    path = (first if first.is_dir() else Path("/sys/fs/cgroup")) / name
    path.mkdir()
    try:
        yield path
    finally:
        thaw(str(path))
        for pid in (path / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        remove(path)


def remove(path: Path) -> None:
    """Killed processes leave their cgroup a little later."""
    for _ in range(200):
        with suppress(OSError):
            path.rmdir()
            return
        signal.sigtimedwait([], 0.02)
    path.rmdir()


@contextmanager
def inhabitant(
    root: Path, group: Path, what: str, *more: str, program: str = __file__
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does `what` with `root` as its root."""
    command = [sys.executable, program, str(root), what, *more]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        (group / "cgroup.procs").write_text(str(process.pid))
        process.stdin.write(b"go\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        thaw(str(group))
        process.communicate()


def command(process: subprocess.Popen[bytes], todo: list[Change]) -> None:
    """Have an obedient inhabitant make changes; returns when they are made."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(base64.b64encode(pickle.dumps(todo)) + b"\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"done\n"


def enter(root: str) -> None:
    """Make a directory, with all that is mounted below it, this process's root."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert not libc.unshare(_NEW_MOUNTS)
    old = os.open("/", os.O_RDONLY)
    assert not libc.mount(b"none", b"/", None, _PRIVATE, None)
    assert not libc.mount(root.encode(), root.encode(), None, _BIND, None)
    os.chdir(root)
    assert not libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b".")
    os.fchdir(old)
    assert not libc.umount2(b".", _DETACH)
    os.chdir("/")


def _ready() -> None:
    os.write(1, b"ready\n")


def idle() -> None:
    """Does nothing."""
    _ready()
    signal.pause()


def pairs() -> None:
    """Counts in a file, then through a mapping, then in a file's name, in this order."""
    os.makedirs("names", exist_ok=True)
    with open("one", "w+b") as one, open("two", "w+b") as two:
        two.truncate(4096)
        mapped = mmap.mmap(two.fileno(), 4096)
        number = 0
        while True:
            number += 1
            os.pwrite(one.fileno(), b"%012d" % number, 0)
            mapped[:12] = b"%012d" % number
            Path(f"names/{number}").touch()
            with suppress(FileNotFoundError):
                os.unlink(f"names/{number - 5}")
            time.sleep(0.0003)
            if number == 1:
                _ready()


def sqlite() -> None:
    """Moves money between two accounts in transactions."""
    with sqlite3.connect("bank.db", isolation_level=None) as bank:
        bank.execute("pragma journal_mode=wal")
        bank.execute("create table accounts(name primary key, balance)")
        bank.execute("insert into accounts values('a', 0), ('b', 0)")
        number = 0
        while True:
            number += 1
            bank.execute("begin")
            bank.execute("update accounts set balance=balance+1 where name='a'")
            bank.execute("update accounts set balance=balance-1 where name='b'")
            bank.execute("commit")
            if number == 1:
                _ready()


def steady(rate: str) -> None:
    """Writes 4 KiB into one of 64 files, so many times a second."""
    files = [os.open(f"steady-{number}", os.O_RDWR | os.O_CREAT) for number in range(64)]
    due = time.monotonic()
    number = 0
    _ready()
    while True:
        number += 1
        os.pwrite(files[number % 64], b"%04096d" % number, number // 64 % 16 << 12)
        due += 1 / int(rate)
        if due > (now := time.monotonic()):
            time.sleep(due - now)


def obey() -> None:
    """Makes the changes that lines of standard input tell, and answers each with `done`."""
    _ready()
    for line in sys.stdin:
        apply(Path("/"), pickle.loads(base64.b64decode(line)))
        os.write(1, b"done\n")


def flood() -> None:
    """Writes more than any moment can hold, again and again."""
    data = os.urandom(1 << 20)
    with open("flood", "wb") as file:
        for _ in range(24):
            file.write(data)
        file.flush()
        _ready()
        while True:
            for place in range(24):
                os.pwrite(file.fileno(), data, place << 20)


if __name__ == "__main__":
    sys.stdin.readline()
    enter(sys.argv[1])
    everything: tuple[Callable[..., None], ...] = (idle, pairs, sqlite, steady, flood, obey)
    {one.__name__: one for one in everything}[sys.argv[2]](*sys.argv[3:])
