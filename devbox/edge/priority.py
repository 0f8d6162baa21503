"""How much of the processors a process gets beside others.

Where Linux makes a group of every session (sched(7), autogroups), a process's nice value counts
only among the processes of its session; between sessions the group's own counts. So whoever means
"behind all others" must say both, and be in a session of its own.
"""

import contextlib
import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""size, policy, flags, nice, priority, runtime, deadline, period (sched_setattr(2), version 0)."""
_SLICE_NS = 100_000
"""The least that the kernel grants."""


def prefer(nice: int, pid: int = 0) -> None:
    """Give a process, and its session if it leads one, a nice value (-20 first, 19 last).

    Without the right to, and where there are no groups, less is done. 0 is this process.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)
    with contextlib.suppress(OSError):
        if os.getsid(pid) == (pid or os.getpid()):
            _group(pid or os.getpid()).write_text(str(nice))


def answer_at_once(nice: int) -> None:
    """`prefer` for a process that does little and is waited for: it asks for short slices.

    Linux lets a woken task take the processor from one with longer slices at once; any other waits
    until that one's slice is over (sched_setattr(2), sched_runtime of SCHED_OTHER, since 6.12).
    Counts for this thread and those that it starts.
    """
    prefer(nice)
    if (number := _SCHED_SETATTR.get(os.uname().machine)) is None:
        return
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, _SLICE_NS, 0, 0)
    ctypes.CDLL(None, use_errno=True).syscall(number, 0, attributes, 0)


@contextlib.contextmanager
def as_all_others() -> Iterator[None]:
    """Let this thread be served like any process meanwhile: somebody waits for it."""
    number, pid = threading.get_native_id(), os.getpid()
    before = os.getpriority(os.PRIO_PROCESS, number)
    os.setpriority(os.PRIO_PROCESS, number, min(before, 0))
    group = group_nice(pid)
    with contextlib.suppress(OSError):
        _group(pid).write_text(str(min(group, 0)))
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, number, before)
        with contextlib.suppress(OSError):
            _group(pid).write_text(str(group))


def group_nice(pid: int) -> int:
    """The nice value of a process's session; 0 where there are no groups."""
    try:
        return int(_group(pid).read_text().rpartition(" ")[2])
    except (OSError, ValueError):
        return 0


def _group(pid: int) -> Path:
    return Path(f"/proc/{pid}/autogroup")
