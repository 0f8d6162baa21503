"""Bytes through client, gateway and agent, beside raw loopback, wstunnel and websockify.

    python -m bench.tunnel [--mib 1024] [--runs 3] [--output json]

Every row moves the same bytes between two processes over loopback: a source writes, a sink reads,
what is measured lies between. The rows take turns, so that a busy machine is busy for all; the
best run of each counts.
"""

import argparse
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_DIRECTIONS = {"u": "up", "d": "down"}
_WSTUNNEL = "wstunnel@1.4.0"


@dataclass
class Parts:
    """Processes of the bench, ended together."""

    running: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self, *arguments: object) -> dict[str, Any]:
        """Start one of ours and wait for its line."""
        command = [sys.executable, "-m", "bench.tunnel_parts", *map(str, arguments)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.running.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit(f"{arguments[0]} ended before it served")

    def foreign(self, command: list[str], port: int) -> None:
        """Start a peer and wait until it listens."""
        quiet = subprocess.DEVNULL
        self.running.append(subprocess.Popen(command, stdout=quiet, stderr=quiet, text=True))
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                return
            time.sleep(0.05)
        raise SystemExit(f"{command[0]} does not listen")

    def end(self) -> None:
        """End all."""
        for process in reversed(self.running):
            process.kill()
            process.wait()


Run = Callable[[str, int], float]
"""Direction, bytes -> seconds."""


@dataclass(frozen=True)
class Row:
    """One way to move bytes."""

    name: str
    kind: str
    """raw, ours or peer."""
    run: Run


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def rows(parts: Parts, folder: Path) -> Iterator[Row]:
    """All there is to compare on this machine."""
    sink = parts.start("sink")["port"]
    agent = parts.start("agent")["port"]
    relay = parts.start("relay", agent)["port"]
    url = f"http://127.0.0.1:{relay}/session"
    forward = parts.start("client", url, sink)["port"]
    spliced = parts.start("relay", sink)["port"]
    yield Row("raw loopback", "raw", _through(parts, "source", sink))
    yield Row("the gateway's relay alone", "ours", _through(parts, "source", spliced))
    yield Row("session, memory to memory", "ours", _memory(parts, url, "bulk"))
    yield Row("session, interactive lane", "ours", _memory(parts, url, "interactive"))
    yield Row("session, forwarded port", "ours", _through(parts, "source", forward))
    yield from _websockify(parts, sink)
    yield from _wstunnel(parts, sink, folder)


def _through(parts: Parts, source: str, port: int) -> Run:
    def run(direction: str, size: int) -> float:
        seconds: float = parts.start(source, port, direction, size)["seconds"]
        return seconds

    return run


def _memory(parts: Parts, url: str, lane: str) -> Run:
    def run(direction: str, size: int) -> float:
        seconds: float = parts.start("memory", url, direction, size, lane)["seconds"]
        return seconds

    return run


def _websockify(parts: Parts, sink: int) -> Iterator[Row]:
    program = shutil.which("websockify")
    if program is None:
        return
    port = free_port()
    parts.foreign([program, f"127.0.0.1:{port}", f"127.0.0.1:{sink}"], port)
    yield Row("websockify (its server only)", "peer", _through(parts, "ws_source", port))


def _wstunnel(parts: Parts, sink: int, folder: Path) -> Iterator[Row]:
    npm = shutil.which("npm")
    if npm is None:
        return
    done = subprocess.run([npm, "i", "--silent", "--prefix", str(folder), _WSTUNNEL], check=False)
    program = folder / "node_modules/.bin/wstunnel"
    if done.returncode or not program.exists():
        return
    server, client = free_port(), free_port()
    parts.foreign([str(program), "-s", f"127.0.0.1:{server}"], server)
    where = ["-t", f"{client}:127.0.0.1:{sink}", f"ws://127.0.0.1:{server}"]
    parts.foreign([str(program), *where], client)
    yield Row("wstunnel (client and server)", "peer", _through(parts, "source", client))


def measure(found: list[Row], size: int, runs: int) -> dict[str, dict[str, float]]:
    """Name -> direction -> MB/s, the best of the runs."""
    best: dict[str, dict[str, float]] = {row.name: dict.fromkeys(_DIRECTIONS, 0.0) for row in found}
    for _ in range(runs):
        for row in found:
            for direction in _DIRECTIONS:
                rate = size / row.run(direction, size) / 1e6
                best[row.name][direction] = max(best[row.name][direction], rate)
    return best


def table(found: list[Row], best: dict[str, dict[str, float]]) -> Table:
    """For people."""
    shown = Table(title="1 stream, plain, MB/s (and times raw, times the best peer)")
    shown.add_column("")
    for word in _DIRECTIONS.values():
        shown.add_column(word, justify="right")
        shown.add_column("x raw", justify="right")
        shown.add_column("x peer", justify="right")
    for row in found:
        cells = []
        for direction in _DIRECTIONS:
            rate = best[row.name][direction]
            peer = max(
                (best[one.name][direction] for one in found if one.kind == "peer"), default=0
            )
            raw = best[found[0].name][direction]
            cells += [f"{rate:.0f}", f"{rate / raw:.2f}", f"{rate / peer:.2f}" if peer else "-"]
        shown.add_row(row.name, *cells, style="bold" if row.kind == "ours" else "")
    return shown


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mib", type=int, default=1024)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--output", choices=["table", "json"], default="table")
    chosen = options.parse_args()
    parts = Parts()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = list(rows(parts, Path(folder)))
            best = measure(found, chosen.mib << 20, chosen.runs)
        finally:
            parts.end()
    if chosen.output == "json":
        print(json.dumps(best, indent=2))
    else:
        Console(width=100).print(table(found, best))


if __name__ == "__main__":
    main()
