"""SSH through client, gateway and agent, beside OpenSSH's sshd straight on loopback.

    python -m bench.ssh [--mib 512] [--runs 3] [--output json]

With the installed `devbox ssh --stdio` and the server of this machine (DEVBOX_ROOT names another),
whose runtime `python` must be built. Both are reached by the same ssh with the same cipher through
an open connection, so that only bytes are timed; the rows take turns, the best of the runs counts.
"""

import argparse
import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.ssh_parts import BOX, SSHD, Hosts, hosts

GOAL, AIM = 0.4, 0.6
_THERE = "/tmp/bench-bytes"

Move = Callable[[Hosts, str, list[str]], None]


def exec_up(found: Hosts, host: str, options: list[str]) -> None:
    """`cat >/dev/null`."""
    with (found.folder / "bytes").open("rb") as source:
        subprocess.run([*found.ssh(host, *options), "cat >/dev/null"], stdin=source, check=True)


def exec_down(found: Hosts, host: str, options: list[str]) -> None:
    """`cat FILE`."""
    command = [*found.ssh(host, *options), f"cat {_THERE}-{host}"]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)


def _sftp(found: Hosts, host: str, options: list[str], batch: str) -> None:
    command = found.ssh(host, *options, "-b", "-", program="sftp")
    subprocess.run(command, input=batch.encode(), stdout=subprocess.DEVNULL, check=True)


def sftp_up(found: Hosts, host: str, options: list[str]) -> None:
    """`put`, over a file that is there."""
    _sftp(found, host, options, f"put {found.folder}/bytes {_THERE}-{host}\n")


def sftp_down(found: Hosts, host: str, options: list[str]) -> None:
    """`get` to nowhere."""
    _sftp(found, host, options, f"get {_THERE}-{host} /dev/null\n")


ROWS: dict[str, Move] = {
    "exec, up": exec_up,
    "exec, down": exec_down,
    "sftp, up": sftp_up,
    "sftp, down": sftp_down,
}


def measure(found: Hosts, size: int, runs: int) -> dict[str, dict[str, float]]:
    """Row -> host -> MB/s, the best of the runs."""
    best: dict[str, dict[str, float]] = {name: dict.fromkeys((SSHD, BOX), 0.0) for name in ROWS}
    with found.joined(SSHD) as straight, found.joined(BOX) as through:
        options = {SSHD: straight, BOX: through}
        for host in options:
            sftp_up(found, host, options[host])
        for _ in range(runs):
            for name, move in ROWS.items():
                for host, chosen in options.items():
                    begun = time.perf_counter()
                    move(found, host, chosen)
                    rate = size / (time.perf_counter() - begun) / 1e6
                    best[name][host] = max(best[name][host], rate)
    return best


def table(best: dict[str, dict[str, float]], scheme: str) -> Table:
    """For people."""
    shown = Table(title=f"MB/s, gateway's scheme {scheme}; goal {GOAL}, aim {AIM} of sshd")
    shown.add_column("")
    for name in (SSHD, BOX, "of sshd"):
        shown.add_column(name, justify="right")
    for name, rates in best.items():
        ratio = rates[BOX] / rates[SSHD]
        style = "bold" if ratio >= GOAL else "bold red"
        shown.add_row(name, *(f"{rates[host]:.0f}" for host in rates), f"{ratio:.2f}", style=style)
    return shown


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mib", type=int, default=512)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--output", choices=["table", "json"], default="table")
    chosen = options.parse_args()
    with hosts() as found:
        size = chosen.mib << 20
        block = os.urandom(1 << 20)
        with (found.folder / "bytes").open("wb") as file:
            for _ in range(chosen.mib):
                file.write(block)
        try:
            best = measure(found, size, chosen.runs)
        finally:
            with contextlib.suppress(OSError):
                Path(f"{_THERE}-{SSHD}").unlink()
    if chosen.output == "json":
        print(json.dumps(best, indent=2))
    else:
        Console(width=100).print(table(best, found.scheme))


if __name__ == "__main__":
    main()
