"""The thaw's owner: a process of its own that freezes a cgroup and thaws it, whatever happens.

Thaws when told, when its limit is over, and when whoever started it is gone. Uses the standard
library only, so that it starts within milliseconds and has nothing that could fail. Run as
`python -I thaw_guard.py CGROUP LIMIT_MS`; says `ready`, takes `freeze`, says `frozen` or `failed`,
takes `thaw`, says `thawed MS told|limit|alone`.
"""

import contextlib
import os
import select
import signal
import sys
import time

_PAUSE_S = 0.0005
_PRIORITY = -10


class Freezer:
    """A cgroup's freezer, version 1 (`freezer.state`) or 2 (`cgroup.freeze`)."""

    def __init__(self, directory: str) -> None:
        self._first = os.path.exists(f"{directory}/freezer.state")
        self._control = f"{directory}/{'freezer.state' if self._first else 'cgroup.freeze'}"
        self._state = f"{directory}/{'freezer.state' if self._first else 'cgroup.events'}"

    def freeze(self) -> None:
        """Ask for it. Raises OSError."""
        self._write("FROZEN" if self._first else "1")

    def thaw(self) -> None:
        """Let all run again."""
        with contextlib.suppress(FileNotFoundError):
            self._write("THAWED" if self._first else "0")

    @property
    def frozen(self) -> bool:
        """Whether all processes stand still."""
        with open(self._state) as file:
            text = file.read()
        return text.strip() == "FROZEN" if self._first else "frozen 1" in text

    def _write(self, text: str) -> None:
        with open(self._control, "w") as file:
            file.write(text)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(1, text.encode() + b"\n")


def _reached(freezer: Freezer, deadline: float) -> bool:
    while not freezer.frozen:
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_S)
    return True


def _wait(deadline: float) -> str:
    """Why to thaw."""
    left = deadline - time.monotonic()
    ready, _, _ = select.select([0], [], [], max(0.0, left))
    if not ready:
        return "limit"
    return "told" if os.read(0, 64) else "alone"


def hold(freezer: Freezer, limit_s: float) -> None:
    """Freeze, wait, thaw."""
    begun = time.monotonic()
    deadline = begun + limit_s
    why = "limit"
    try:
        freezer.freeze()
        if _reached(freezer, deadline):
            _say("frozen")
            why = _wait(deadline)
        else:
            _say("failed")
    except OSError:
        _say("failed")
    finally:
        freezer.thaw()
    _say(f"thawed {(time.monotonic() - begun) * 1000:.2f} {why}")


def main() -> None:
    """Serve one freeze."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("-1000")
    freezer = Freezer(sys.argv[1])
    _say("ready")
    if os.read(0, 64):
        hold(freezer, int(sys.argv[2]) / 1000)


if __name__ == "__main__":
    main()
