"""Files that a box's processes have mapped shared and writable.

A write through such a mapping changes a file's times only once the page was clean: so these files
are synced before anybody decides that they have not changed.
"""

import contextlib
import os
from collections.abc import Iterable

from node_agent.saver.freezing import processes

_BELOW = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_RDONLY
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_DELETED = b" (deleted)"


def mapped_files(cgroup: str) -> set[bytes]:
    """Paths below the box's root."""
    found: set[bytes] = set()
    for pid in processes(cgroup):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb") as file:
            text = file.read()
            if b" rw-s " in text:
                found.update(_paths(text))
    return found


def _paths(text: bytes) -> Iterable[bytes]:
    for line in text.splitlines():
        fields = line.split(None, 5)
        if len(fields) > 5 and fields[1] == b"rw-s" and not fields[5].endswith(_DELETED):
            yield fields[5].lstrip(b"/")


def sync(upper: str, paths: Iterable[bytes]) -> None:
    """Write these files' dirty pages out, so that later writes show in their times."""
    for path in paths:
        with contextlib.suppress(OSError):
            fd = open_below(upper, path)
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)


def open_below(root: str, path: bytes) -> int:
    """Open a file below a directory, following no symlink. Raises OSError."""
    directory = os.open(root, _BELOW)
    *parents, name = path.split(b"/")
    try:
        for parent in parents:
            below = os.open(parent, _BELOW, dir_fd=directory)
            os.close(directory)
            directory = below
        return os.open(name, _FILE, dir_fd=directory)
    finally:
        os.close(directory)
