"""How much of the processors a process gets beside others.

Where Linux makes a group of every session (sched(7), autogroups), a process's nice value counts
only among the processes of its session; between sessions the group's own counts. So whoever means
"behind all others" must say both, and be in a session of its own.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path


def prefer(nice: int, pid: int = 0) -> None:
    """Give a process, and its session if it leads one, a nice value (-20 first, 19 last).

    Without the right to, and where there are no groups, less is done. 0 is this process.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)
    with contextlib.suppress(OSError):
        if os.getsid(pid) == (pid or os.getpid()):
            _group(pid or os.getpid()).write_text(str(nice))


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
