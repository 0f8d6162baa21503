"""What a server may leave behind when its parts are gone: containerd's shims, mounts.

Touches only what names this server's own directories.
"""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from devbox.edge.layout import Layout

_MNT_DETACH = 2
_WAIT_S = 5.0


def clean(layout: Layout) -> tuple[int, int]:
    """End what runs in boxes and take mounts away. Call with containerd down.

    Returns how many processes and mounts there were.
    """
    processes = orphans(layout)
    _end(processes)
    mounts = mounts_under(layout)
    for point in reversed(mounts):
        _unmount(point)
    return len(processes), len(mounts)


def orphans(layout: Layout) -> list[int]:
    """Containerd's shims of this server, and all that runs below them. Children first."""
    socket = os.fsencode(layout.containerd_socket)
    children: dict[int, list[int]] = {}
    shims = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(process.name)
            words = (process / "cmdline").read_bytes().split(b"\0")
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(pid)
            if words[0].rpartition(b"/")[2].startswith(b"containerd-shim") and socket in words:
                shims.append(pid)
    return [pid for shim in shims for pid in _below(shim, lambda pid: children.get(pid, []))]


def _below(pid: int, children: Callable[[int], list[int]]) -> list[int]:
    found = [below for child in children(pid) for below in _below(child, children)]
    return [*found, pid]


def _end(processes: list[int]) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline and any(_lives(pid) for pid in processes):
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def mounts_under(layout: Layout) -> list[str]:
    """Mount points below the server's directories, in the order they were made."""
    below = tuple(f"{path.resolve()}/" for path in (layout.run, layout.data))
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return [point for point in points if point.startswith(below)]


def _unmount(point: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.umount2(os.fsencode(point), _MNT_DETACH)
