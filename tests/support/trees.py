"""File trees as comparable facts, read by plain system calls that share nothing with the saver."""

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple


class Fact(NamedTuple):
    """All of one file that must survive."""

    kind: str
    mode: int
    owner: tuple[int, int]
    mtime_ns: int
    content: str
    device: int
    xattrs: tuple[tuple[str, bytes], ...]
    same_as: bytes
    """The first path of the same inode, for files with several names."""


def facts(root: Path, skip: frozenset[bytes] = frozenset()) -> dict[bytes, Fact]:
    """Path -> Fact of all below `root`, and of the root as `b""`. Sockets are left out."""
    found: dict[bytes, Fact] = {}
    inodes: dict[int, bytes] = {}
    top = os.fsencode(root)
    pending = [b""]
    while pending:
        path = pending.pop()
        full = os.path.join(top, path) if path else top
        status = os.lstat(full)
        if path in skip or stat.S_ISSOCK(status.st_mode):
            continue
        if stat.S_ISDIR(status.st_mode):
            pending += sorted((os.path.join(path, name) for name in os.listdir(full)), reverse=True)
        first = path
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            first = inodes.setdefault(status.st_ino, path)
        found[path] = _fact(full, status, first)
    return found


def _fact(full: bytes, status: os.stat_result, first: bytes) -> Fact:
    content = ""
    if stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(Path(os.fsdecode(full)).read_bytes()).hexdigest()
    elif stat.S_ISLNK(status.st_mode):
        content = os.fsdecode(os.readlink(full))
    names = [
        name
        for name in os.listxattr(full, follow_symlinks=False)
        if not name.startswith("trusted.overlay.")
    ]
    return Fact(
        kind=stat.filemode(status.st_mode)[0],
        mode=stat.S_IMODE(status.st_mode),
        owner=(status.st_uid, status.st_gid),
        mtime_ns=status.st_mtime_ns,
        content=content,
        device=status.st_rdev,
        xattrs=tuple(
            (name, os.getxattr(full, name, follow_symlinks=False)) for name in sorted(names)
        ),
        same_as=first,
    )


def differences(one: dict[bytes, Fact], two: dict[bytes, Fact]) -> list[str]:
    """What differs, readably."""
    lines = []
    for path in sorted(one.keys() | two.keys()):
        left, right = one.get(path), two.get(path)
        if left is None or right is None:
            lines.append(f"{path!r}: {'only right' if left is None else 'only left'}")
            continue
        lines += [
            f"{path!r}.{name}: {a!r} != {b!r}"
            for name, a, b in zip(Fact._fields, left, right, strict=True)
            if a != b
        ]
    return lines
