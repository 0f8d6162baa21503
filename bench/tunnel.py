"""Bytes through client, gateway and agent, beside raw loopback, wstunnel and websockify.

    python -m bench.tunnel [--tls] [--congestion cubic] [--mib 1024] [--runs 3] [--output json]

What is compared stands in `bench.tunnel_rows`. The rows take turns, so that a busy machine is
busy for all; the best run of each counts. With `--congestion` all of it runs in a network
namespace of its own that has this congestion control, which needs root.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.tunnel_rows import Parts, Row, install_wstunnel, rows

_DIRECTIONS = {"u": "up", "d": "down"}
_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")


def measure(found: list[Row], size: int, runs: int) -> dict[str, dict[str, float]]:
    """Name -> direction -> MB/s, the best of the runs."""
    best: dict[str, dict[str, float]] = {row.name: dict.fromkeys(_DIRECTIONS, 0.0) for row in found}
    for _ in range(runs):
        for row in found:
            for direction in _DIRECTIONS:
                rate = size / row.run(direction, size) / 1e6
                best[row.name][direction] = max(best[row.name][direction], rate)
    return best


def table(found: list[Row], best: dict[str, dict[str, float]], title: str) -> Table:
    """For people."""
    shown = Table(title=f"1 stream, {title}, MB/s (and times raw, times the best peer)")
    shown.add_column("")
    for word in _DIRECTIONS.values():
        for head in (word, "x raw", "x peer"):
            shown.add_column(head, justify="right")
    for row in found:
        cells = []
        for direction in _DIRECTIONS:
            rate = best[row.name][direction]
            peers = [best[one.name][direction] for one in found if one.kind == "peer"]
            beside = f"{rate / max(peers):.2f}" if peers else "-"
            cells += [f"{rate:.0f}", f"{rate / best[found[0].name][direction]:.2f}", beside]
        shown.add_row(row.name, *cells, style="bold" if row.kind == "ours" else "")
    return shown


def _elsewhere(chosen: argparse.Namespace, folder: str) -> None:
    """Again, in a network namespace of its own."""
    more = ["--peers", folder, "--inside", chosen.congestion]
    setup = f'ip link set lo up && echo {chosen.congestion} > {_CONGESTION} && exec "$@"'
    words = [one for one in sys.argv[1:] if one not in {"--congestion", chosen.congestion}]
    command = [sys.executable, "-m", "bench.tunnel", *words, *more]
    subprocess.run(["unshare", "--net", "sh", "-c", setup, "sh", *command], check=True)


def _compare(chosen: argparse.Namespace, folder: Path) -> None:
    parts = Parts()
    try:
        found = [row for row in rows(parts, folder, tls=chosen.tls) if chosen.only in row.name]
        best = measure(found, chosen.mib << 20, chosen.runs)
    finally:
        parts.end()
    if chosen.output == "json":
        print(json.dumps(best, indent=2))
    else:
        title = f"{'TLS' if chosen.tls else 'plain'}, {_CONGESTION.read_text().strip()}"
        Console(width=100).print(table(found, best, title))


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mib", type=int, default=1024)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--tls", action="store_true")
    options.add_argument("--congestion", default="")
    options.add_argument("--only", default="", help="rows whose name has this")
    options.add_argument("--peers", default="", help="a folder where wstunnel is installed")
    options.add_argument("--inside", default="", help=argparse.SUPPRESS)
    options.add_argument("--output", choices=["table", "json"], default="table")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        if not chosen.peers:
            install_wstunnel(Path(made))
        folder = Path(made)
        if chosen.peers and not (folder / "node_modules").exists():
            (folder / "node_modules").symlink_to(Path(chosen.peers, "node_modules").resolve())
        if chosen.congestion and not chosen.inside:
            _elsewhere(chosen, made)
        else:
            _compare(chosen, folder)


if __name__ == "__main__":
    main()
