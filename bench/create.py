"""Create to the first shell prompt, and stop to start to ssh-ready, whatever the size of the work.

python -m bench.create [--output json] [--times 3] [--megabytes 10 1000]

Through the installed commands, against the server of this machine (DEVBOX_ROOT names another).
The runtime `python` must be built. Every project made here is deleted again.
"""

import argparse
import json
import os
import pty
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

DEVBOX = str(Path(sys.executable).with_name("devbox"))
PROMPT_GOAL_S = 2.0
RESTART_GOAL_S = 1.5
_PROMPT = b"$ "
_MEGABYTE = 1 << 20

Figures = dict[str, tuple[float, float]]
"""What -> (seconds, goal in seconds)."""


def devbox(*words: str) -> None:
    """Run a command; it must end well."""
    subprocess.run(
        [DEVBOX, *words], check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )


def until_prompt(name: str) -> None:
    """Open a shell on a terminal, wait for its prompt, and leave it."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(DEVBOX, [DEVBOX, "ssh", name])
    seen = b""
    try:
        while _PROMPT not in seen:
            seen += os.read(terminal, 4096)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


@contextmanager
def project() -> Iterator[str]:
    """A name for a project that is deleted at the end."""
    name = f"bench-{secrets.token_hex(4)}"
    try:
        yield name
    finally:
        devbox("-q", "delete", name, "--yes")


def timed(work: Callable[[], None]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def create_to_prompt() -> float:
    """Seconds from the command `create` to the first prompt."""
    with project() as name:

        def work() -> None:
            devbox("-q", "create", name, "--runtime", "python")
            until_prompt(name)

        return timed(work)


def restart(name: str) -> None:
    """Stop, start, and one command by ssh."""
    devbox("-q", "stop", name)
    devbox("-q", "start", name)
    devbox("-q", "ssh", name, "--", "true")


def stop_to_ready(megabytes: int, times: int) -> list[float]:
    """Seconds from `stop` to the end of a first command by ssh, with so much changed."""
    with project() as name:
        devbox("-q", "create", name, "--runtime", "python", "--autosave", "0")
        size = megabytes * _MEGABYTE
        devbox("-q", "ssh", name, "--", f"head -c {size} /dev/urandom > /project/work; sync")
        return [timed(lambda: restart(name)) for _ in range(times)]


def measure(times: int, sizes: list[int]) -> Figures:
    """Medians."""
    found = {
        "create to first prompt": (
            median(create_to_prompt() for _ in range(times)),
            PROMPT_GOAL_S,
        )
    }
    for megabytes in sizes:
        seconds = median(stop_to_ready(megabytes, times))
        found[f"stop, start, ssh-ready; {megabytes} MB changed"] = (seconds, RESTART_GOAL_S)
    return found


def show(found: Figures) -> None:
    """As a table; a ratio below 1 reaches the goal."""
    table = Table("what", "seconds", "goal", "of the goal")
    for what, (seconds, goal) in found.items():
        table.add_row(what, f"{seconds:.2f}", f"{goal:.1f}", f"{seconds / goal:.2f}")
    Console().print(table)


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 1000])
    given = parser.parse_args()
    found = measure(given.times, given.megabytes)
    if given.output == "json":
        print(json.dumps({what: {"seconds": s, "goal": g} for what, (s, g) in found.items()}))
    else:
        show(found)


if __name__ == "__main__":
    main()
