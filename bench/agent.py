"""What the agent in a box takes of memory: before anybody came, and after.

    python -m bench.agent [--output json]

Through the installed commands, against the server of this machine (DEVBOX_ROOT names another), as
root. The runtime `python` must be built. RSS counts pages that agents of several boxes share in
each of them; PSS divides them.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.ssh_parts import BOX, Hosts, hosts
from devbox.cli.config import layout_here

GOAL_MB = 45.0
_SETTLE_S = 3.0
_CHANNELS = 50

Figures = dict[str, dict[str, float]]
"""When -> what -> MB."""


def agent() -> int:
    """The pid of the youngest agent below the server's containerd."""
    run = str(layout_here().run).encode()
    found = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _is_agent(entry) and _below(int(entry.name), run)
    ]
    return max(found, key=lambda pid: int(_stat(pid)[19]))


def _is_agent(entry: Path) -> bool:
    try:
        return b"/.devbox/app" in (entry / "cmdline").read_bytes()
    except OSError:
        return False


def _below(pid: int, place: bytes) -> bool:
    while pid > 1:
        if place in Path(f"/proc/{pid}/cmdline").read_bytes():
            return True
        pid = int(_stat(pid)[1])
    return False


def _stat(pid: int) -> list[str]:
    """Of /proc/PID/stat, from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def memory(pid: int) -> dict[str, float]:
    """RSS, PSS and memory of its own, in MB (proc(5), smaps_rollup)."""
    time.sleep(_SETTLE_S)
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    return {
        "rss": kib["Rss"] / 1024,
        "pss": kib["Pss"] / 1024,
        "own": (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024,
    }


def measure(found: Hosts) -> Figures:
    """In the order of a box's day."""
    pid = agent()
    figures = {"nobody came yet": memory(pid)}
    _run(found.ssh(BOX), "true")
    figures["after the first SSH session"] = memory(pid)
    with found.joined(BOX) as options:
        _run(found.ssh(BOX, *options), "head -c 100000000 /dev/zero")
        crowd = [
            subprocess.Popen(
                [*found.ssh(BOX, *options), "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for _ in range(_CHANNELS)
        ]
        time.sleep(_SETTLE_S)
        figures[f"{_CHANNELS} shells are open"] = memory(pid)
        for one in crowd:
            one.communicate()
    figures["after all that"] = memory(pid)
    return figures


def _run(command: list[str], line: str) -> None:
    quiet = subprocess.DEVNULL
    subprocess.run([*command, line], stdin=quiet, stdout=quiet, check=True)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--output", choices=["table", "json"], default="table")
    chosen = options.parse_args()
    with hosts() as found:
        figures = measure(found)
    if chosen.output == "json":
        print(json.dumps(figures, indent=2))
        return
    shown = Table(title=f"The agent's memory, MB (goal {GOAL_MB:.0f} RSS, idle)")
    for name in ("", "rss", "pss", "own"):
        shown.add_column(name, justify="right" if name else "left")
    for when, found_then in figures.items():
        shown.add_row(when, *(f"{value:.1f}" for value in found_then.values()))
    Console(width=100).print(shown)


if __name__ == "__main__":
    main()
