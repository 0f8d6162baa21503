"""Writes that a power cut cannot take back once the call has returned."""

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)


def sync_directory(path: Path) -> None:
    """What was made, renamed or removed in a directory is on disk (fsync(2))."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_directory(path: Path, *, mode: int) -> None:
    """Make a directory and what is missing above it; their names are on disk."""
    missing = [part for part in (path, *path.parents) if not part.exists()]
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    for part in reversed(missing):
        sync_directory(part.parent)


def write_file(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file that nobody reads yet. Its name is durable once its directory is synced."""
    with path.open("wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, parts: Iterable[bytes], *, aside: Path) -> None:
    """Put a whole new file in place: whenever power goes, the old one or the new one is there.

    `aside` is in the same directory; nothing is left of it when this fails.
    """
    try:
        write_file(aside, parts)
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_file_system(path: Path) -> None:
    """All that any process wrote to the file system at `path` is on disk (syncfs(2))."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(handle)
