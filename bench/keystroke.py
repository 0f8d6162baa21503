"""A keystroke's echo while a bulk copy saturates a second SSH to the same box, beside sshd.

    python -m bench.keystroke [--seconds 6] [--mbit 20 --rtt 50] [--output json]

With the installed `devbox ssh --stdio` and the server of this machine (DEVBOX_ROOT names another),
whose runtime `python` must be built. `--mbit` puts a line of that speed before gateway and sshd: a
relay in user space that serves connections in turn, with 64 KiB of queue for each. "Joined" is
the keystroke and the copy as two channels of one connection (ControlMaster).
"""

import argparse
import contextlib
import json
import random
import subprocess
import time
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from bench.ssh_parts import BOX, SSHD, Hosts, Line, hosts

_PAUSE_S = (0.008, 0.030)
_LEAST = 20
_COPIES = {"no copy": "", "copy down": "cat /dev/zero", "copy up": "cat >/dev/null"}
_TYPE = "stty raw -echo; echo ready; exec cat"

Figures = dict[str, dict[str, tuple[float, float]]]
"""What -> host -> (p50, p99) in milliseconds."""


@contextlib.contextmanager
def copying(found: Hosts, host: str, command: str, options: list[str]) -> Iterator[None]:
    """Bytes as fast as they go, in the direction that the command means."""
    if not command:
        yield
        return
    with open("/dev/zero", "rb") as zeros:
        words = [*found.ssh(host, *options), command]
        copy = subprocess.Popen(words, stdin=zeros, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            copy.kill()
            copy.wait()


def typed(found: Hosts, host: str, options: list[str], seconds: float) -> list[float]:
    """Milliseconds from each key to its echo, sorted."""
    command = [*found.ssh(host, *options, "-tt"), _TYPE]
    shell = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert shell.stdin is not None
    assert shell.stdout is not None
    times: list[float] = []
    try:
        said = b""
        while b"ready" not in said:
            said += shell.stdout.read(64)
        time.sleep(max(1.0, seconds / 4))  # let the copy find its speed
        until = time.perf_counter() + seconds
        while time.perf_counter() < until or len(times) < _LEAST:
            time.sleep(random.uniform(*_PAUSE_S))
            begun = time.perf_counter()
            shell.stdin.write(b"x")
            shell.stdout.read(1)
            times.append((time.perf_counter() - begun) * 1e3)
    finally:
        shell.kill()
        shell.wait()
    return sorted(times)


def measure(found: Hosts, seconds: float) -> Figures:
    """The hosts take turns."""
    figures: Figures = {}
    for what, command in _COPIES.items():
        for joined in (False, True) if command else (False,):
            name = f"{what}, joined" if joined else what
            for host in (SSHD, BOX):
                with contextlib.ExitStack() as stack:
                    options = stack.enter_context(found.joined(host)) if joined else []
                    stack.enter_context(copying(found, host, command, options))
                    times = typed(found, host, options, seconds)
                last = times[min(len(times) - 1, int(len(times) * 0.99))]
                figures.setdefault(name, {})[host] = times[len(times) // 2], last
    return figures


def table(figures: Figures, line: Line) -> Table:
    """For people."""
    where = f"{line.mbit:.0f} Mbit/s, RTT {line.rtt_ms:.0f} ms" if line.mbit else "loopback"
    shown = Table(title=f"Keystroke to echo over {where}, ms")
    shown.add_column("")
    for host in (SSHD, BOX):
        shown.add_column(f"{host} p50", justify="right")
        shown.add_column("p99", justify="right")
    for name, found in figures.items():
        cells = [f"{value:.1f}" for host in (SSHD, BOX) for value in found[host]]
        shown.add_row(name, *cells)
    return shown


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=6.0)
    options.add_argument("--mbit", type=float, default=0.0)
    options.add_argument("--rtt", type=float, default=50.0)
    options.add_argument("--output", choices=["table", "json"], default="table")
    chosen = options.parse_args()
    line = Line(chosen.mbit, chosen.rtt)
    with hosts(line) as found:
        figures = measure(found, chosen.seconds)
    if chosen.output == "json":
        print(json.dumps(figures, indent=2))
    else:
        Console(width=100).print(table(figures, line))


if __name__ == "__main__":
    main()
