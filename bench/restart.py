"""Stop to start to ssh-ready, whatever the size of the work; and the start of ssh's ProxyCommand.

python -m bench.restart [--output json] [--times 5] [--megabytes 10 1000] [--files 400000]

Through the installed commands, against the server of this machine (DEVBOX_ROOT names another).
The runtime `python` must be built. `--megabytes 0` measures no size; 10,000 takes minutes. Every
project made here is deleted again. Restarts follow each other at once, so all but the first have
the save of the stop before them at work beside them. Drops the machine's file cache.
"""

import argparse
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.create import DEVBOX, devbox, project, timed

RESTART_GOAL_S = 1.2
WARM_GOAL_S = 0.25
COLD_GOAL_S = 0.5
_MEGABYTE = 1 << 20
_PER_FOLDER = 1000
_FILES = """
import os
for n in range({count}):
    folder = f"/project/work/{{n // {per_folder}}}"
    if n % {per_folder} == 0:
        os.makedirs(folder)
    with open(f"{{folder}}/{{n}}", "w") as file:
        file.write(str(n))
os.sync()
"""

Figures = dict[str, tuple[list[float], float]]
"""What -> (seconds of each run, goal in seconds)."""


def restart(name: str) -> None:
    """Stop, start, and one command by ssh."""
    devbox("-q", "stop", name)
    devbox("-q", "start", name)
    devbox("-q", "ssh", name, "--", "true")


def restarts(fill: str, times: int) -> list[float]:
    """Seconds from `stop` to the end of a first command by ssh, in a box filled by a command."""
    with project() as name:
        devbox("-q", "create", name, "--runtime", "python", "--autosave", "0")
        devbox("-q", "ssh", name, "--", fill)
        return [timed(lambda: restart(name)) for _ in range(times)]


def with_megabytes(count: int) -> str:
    """The command that writes so much that compresses poorly."""
    return f"head -c {count * _MEGABYTE} /dev/urandom > /project/work; sync"


def with_files(count: int) -> str:
    """The command that writes so many small files."""
    return f"python3 -c '{_FILES.format(count=count, per_folder=_PER_FOLDER)}'"


def first_byte(name: str) -> None:
    """Start ssh's ProxyCommand and read until the agent's SSH server has greeted."""
    words = [DEVBOX, "ssh", "--stdio", name]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as proxy:
        assert proxy.stdout is not None
        assert proxy.stdout.read(1) == b"S"
        proxy.terminate()


def forget_files() -> None:
    """Empty the file cache, so that every module is read from the disk again."""
    subprocess.run(["sync"], check=True)
    Path("/proc/sys/vm/drop_caches").write_text("3")


def first_bytes(times: int, prepare: Callable[[], None]) -> list[float]:
    """Seconds from the start of `devbox ssh --stdio` to its first byte."""
    found = []
    with project() as name:
        devbox("-q", "create", name, "--runtime", "python", "--autosave", "0")
        first_byte(name)
        for _ in range(times):
            prepare()
            found.append(timed(lambda: first_byte(name)))
    return found


def measure(times: int, megabytes: list[int], files: list[int]) -> Figures:
    """Every run's seconds."""
    fills = {f"{count:,} MB": with_megabytes(count) for count in megabytes if count}
    fills |= {f"{count:,} files": with_files(count) for count in files if count}
    found = {
        f"stop, start, ssh-ready; {what} changed": (restarts(fill, times), RESTART_GOAL_S)
        for what, fill in fills.items()
    }
    warm, cold = first_bytes(times, lambda: None), first_bytes(times, forget_files)
    found["ssh --stdio to its first byte"] = (warm, WARM_GOAL_S)
    found["ssh --stdio to its first byte, no file cached"] = (cold, COLD_GOAL_S)
    return found


def show(found: Figures) -> None:
    """As a table; a ratio below 1 reaches the goal."""
    table = Table("what", "seconds, median", "worst", "goal", "of the goal")
    for what, (runs, goal) in found.items():
        middle = median(runs)
        ratio = f"{middle / goal:.2f}"
        table.add_row(what, f"{middle:.2f}", f"{max(runs):.2f}", f"{goal:.2f}", ratio)
    Console().print(table)


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--files", type=int, nargs="+", default=[])
    given = parser.parse_args()
    found = measure(given.times, given.megabytes, given.files)
    if given.output == "json":
        print(json.dumps({what: {"seconds": s, "goal": g} for what, (s, g) in found.items()}))
    else:
        show(found)


if __name__ == "__main__":
    main()
