"""Small file systems in memory for start records: they hold a host key and never touch a disk.

Each box has its own, so that a box that fills it harms nobody else.
"""

import contextlib
import ctypes
import os
from pathlib import Path

import structlog

_log = structlog.get_logger()
_NOSUID, _NODEV, _NOEXEC, _DETACH = 2, 4, 8, 2
_OPTIONS = b"size=4m,nr_inodes=256,mode=0777"
_libc = ctypes.CDLL(None, use_errno=True)


def mount_memory(path: Path) -> None:
    """Mount a tmpfs at `path` unless something is mounted there (mount(2))."""
    if os.path.ismount(path):
        return
    flags = ctypes.c_ulong(_NOSUID | _NODEV | _NOEXEC)
    if _libc.mount(b"devbox-box", bytes(path), b"tmpfs", flags, _OPTIONS):
        reason = os.strerror(ctypes.get_errno())
        _log.warning("start_record_on_disk", path=str(path), error=reason)


def unmount(path: Path) -> None:
    """Take it away again, also while a container that is being removed still has it."""
    with contextlib.suppress(OSError):
        if os.path.ismount(path):
            _libc.umount2(bytes(path), _DETACH)
