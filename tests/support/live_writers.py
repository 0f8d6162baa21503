"""Programs that write without pause in a box: git, PostgreSQL, LMDB and SQLite.

Run as a program it is one of them, in its own mounts, with the machine's programs mounted over the
box's root. Each thing that the written store has acknowledged is counted in a file outside the box.
"""

import ctypes
import importlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import lmdb

from tests.support.inhabitants import enter

POSTGRES = Path("/usr/lib/postgresql/15/bin")
SETTINGS = ("-c", "listen_addresses=", "-c", "dynamic_shared_memory_type=mmap")
POSTGRES_USER = {"user": "postgres", "group": "postgres", "extra_groups": []}
MAP_BYTES = 32 << 20
WHAT = ("NAME", "EMAIL")
_MACHINE = ("usr", "etc", "proc", "dev")
_LINKS = ("bin", "sbin", "lib", "lib64")
_NEW_MOUNTS, _NEW_IPC = 0x20000, 0x8000000
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x44000

Acknowledge = Callable[[int], None]


def prepare(base: Path) -> None:
    """What a base needs so that the machine's programs run on it."""
    for name in _MACHINE:
        (base / name).mkdir()
    for name in _LINKS:
        (base / name).symlink_to(f"usr/{name}")
    (base / "tmp").mkdir()
    (base / "tmp").chmod(0o1777)


def acknowledged(path: Path) -> int:
    """How many things were."""
    return int(path.read_bytes() or b"0")


def git(acknowledge: Acknowledge) -> None:
    """Commits."""
    who = {f"GIT_{who}_{what}": "w@x" for who in ("AUTHOR", "COMMITTER") for what in WHAT}
    environment = {"PATH": "/usr/bin", "HOME": "/tmp", **who}

    def run(*arguments: str) -> None:
        subprocess.run(["git", *arguments], check=True, env=environment)

    run("init", "-q", "/repo")
    os.chdir("/repo")
    for number in count(1):
        Path(f"file-{number % 50}").write_text(f"{number}\n" * 200)
        run("add", ".")
        run("commit", "-q", "-m", str(number))
        acknowledge(number)


def postgres(acknowledge: Acknowledge) -> None:
    """Inserts rows, each in a transaction."""
    assert not ctypes.CDLL(None).unshare(_NEW_IPC)
    environment = {"PATH": "/usr/bin", "PGUSER": "postgres"}
    server = subprocess.Popen(
        [POSTGRES / "postgres", "-D", "/pg", "-k", "/tmp", *SETTINGS],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **POSTGRES_USER,  # type: ignore[call-overload]
    )
    while subprocess.run(
        [POSTGRES / "pg_isready", "-q", "-h", "/tmp"], env=environment, check=False
    ).returncode:
        assert server.poll() is None
    client = subprocess.Popen(
        [POSTGRES / "psql", "-X", "-q", "-A", "-t", "-h", "/tmp", "-d", "postgres"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(b"create table things(n int primary key, text text);\n")
    for number in count(1):
        client.stdin.write(b"insert into things values (%d, repeat('x', 500));\n" % number)
        client.stdin.write(b"checkpoint;\n" if number % 500 == 0 else b"")
        client.stdin.write(b"\\echo %d\n" % number)
        client.stdin.flush()
        assert client.stdout.readline() == b"%d\n" % number
        acknowledge(number)


def lmdb_writemap(acknowledge: Acknowledge) -> None:
    """Puts values through a shared writable mapping."""
    with lmdb.open("/lmdb", map_size=MAP_BYTES, writemap=True) as store:
        for number in count(1):
            with store.begin(write=True) as change:
                change.put(b"%d" % (number % 1000), b"%d " % number * 100)
                change.put(b"last", b"%d" % number)
            acknowledge(number)


def sqlite(acknowledge: Acknowledge) -> None:
    """Inserts rows, each in a transaction."""
    with sqlite3.connect("/things.db", isolation_level=None) as store:
        store.execute("pragma journal_mode=wal")
        store.execute("create table things(n integer primary key, text text unique)")
        for number in count(1):
            row = (number, f"{number} " * 100)
            store.execute("insert into things values (?, ?)", row)
            acknowledge(number)


def _mount_machine(root: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    assert not libc.unshare(_NEW_MOUNTS)
    assert not libc.mount(b"none", b"/", None, _PRIVATE, None)
    for name in _MACHINE:
        target = f"{root}/{name}".encode()
        assert not libc.mount(f"/{name}".encode(), target, None, _BIND | _RECURSIVE, None)


def main(root: str, what: str, acks: str) -> None:
    """Be one of them."""
    sys.stdin.readline()
    file = os.open(acks, os.O_WRONLY | os.O_CREAT)
    importlib.import_module("lmdb._envid")  # Loaded late, and out of reach from inside.
    _mount_machine(root)
    enter(root)

    def acknowledge(number: int) -> None:
        os.pwrite(file, b"%012d" % number, 0)
        if number == 1:
            os.write(1, b"ready\n")

    writers = {"git": git, "postgres": postgres, "lmdb": lmdb_writemap, "sqlite": sqlite}
    writers[what](acknowledge)


if __name__ == "__main__":
    main(*sys.argv[1:])
