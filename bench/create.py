"""Create to the first shell prompt.

python -m bench.create [--output json] [--times 3]

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
_PROMPT = b"$ "

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


def measure(times: int) -> Figures:
    """Medians."""
    seconds = median(create_to_prompt() for _ in range(times))
    return {"create to first prompt": (seconds, PROMPT_GOAL_S)}


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
    given = parser.parse_args()
    found = measure(given.times)
    if given.output == "json":
        print(json.dumps({what: {"seconds": s, "goal": g} for what, (s, g) in found.items()}))
    else:
        show(found)


if __name__ == "__main__":
    main()
