"""What a gateway holds and costs with thousands of tunnels, and who is delayed by whom.

    python -m bench.gateway [--tls] [--idle 9000] [--busy 2000] [--loris 5000]

The gateway is its own process; clients and the box's end are others, several, because file
descriptors are few per process. Memory is the gateway's RSS, with the tunnels and before them.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.tunnel_rows import Parts, answer_of, certificate

if TYPE_CHECKING:
    import subprocess

_CLIENTS = 4
_BUSY_S = 20
_TICK: int = os.sysconf("SC_CLK_TCK")


class Place:
    """A gateway and what stands around it."""

    def __init__(self, parts: Parts, folder: Path, *, tls: bool) -> None:
        self._parts = parts
        self._ca = certificate(folder) if tls else ""
        home = folder / "home"
        made = answer_of(parts.popen("bench.gateway_parts", "house", home, self._ca))
        command = [sys.executable, "-m", "gateway", "--data", home / "data", "--run", home / "run"]
        self.port = parts.run(list(map(str, command)), until="gateway_listening")["port"]
        self.pid = parts.running[-1].pid
        self.paths = home / "paths"
        self.paths.write_text("\n".join(made["paths"]))

    def clients(self, what: str, count: int, *more: object) -> list["subprocess.Popen[str]"]:
        """Several processes that do the same with a share of `count` connections."""
        share = count // _CLIENTS
        words = [what, self.port, self.paths, self._ca or "-", share, *more]
        return [
            self._parts.popen("bench.gateway_parts", *words, number) for number in range(_CLIENTS)
        ]

    def rss_kb(self) -> int:
        """Of the gateway."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise SystemExit("the gateway has ended")

    def cpu_s(self) -> float:
        """Of the gateway, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return float(int(fields[11]) + int(fields[12])) / _TICK


def _answers(clients: list["subprocess.Popen[str]"]) -> list[dict[str, Any]]:
    return [answer_of(one) for one in clients]


def _end(clients: list["subprocess.Popen[str]"]) -> None:
    for one in clients:
        one.kill()
        one.wait()


def idle(place: Place, count: int) -> None:
    """Memory per tunnel that says nothing."""
    _end_after_opening(place, 200)
    before = place.rss_kb()
    clients = place.clients("idle", count)
    opened = sum(answer["open"] for answer in _answers(clients))
    time.sleep(2)
    held = place.rss_kb() - before
    print(f"{opened} idle tunnels: {held / opened:.1f} KB each ({before} KB before them)")
    _end(clients)
    time.sleep(2)


def _end_after_opening(place: Place, count: int) -> None:
    """What is loaded with the first tunnels is nobody's."""
    clients = place.clients("idle", count)
    _answers(clients)
    _end(clients)
    time.sleep(1)


def busy(place: Place, count: int) -> None:
    """Processor time where each tunnel sends one message a second."""
    clients = place.clients("busy", count, _BUSY_S)
    opened = sum(answer["open"] for answer in _answers(clients))
    time.sleep(3)
    before, began = place.cpu_s(), time.monotonic()
    time.sleep(_BUSY_S - 8)
    share = (place.cpu_s() - before) / (time.monotonic() - began)
    ended = _answers(clients)
    sent, lost = (sum(answer[key] for answer in ended) for key in ("sent", "lost"))
    rate = sent / opened / _BUSY_S
    print(
        f"{opened} tunnels, {rate:.2f} messages of 40 KB a second each: "
        f"{share:.0%} of a core, {lost} disconnected"
    )
    _end(clients)
    time.sleep(1)


def loris(place: Place, count: int) -> None:
    """How long a new tunnel takes while thousands dribble their heads."""
    quiet = _dial_ms(place)
    clients = place.clients("loris", count)
    _answers(clients)
    beside = _dial_ms(place)
    print(f"a new tunnel: {quiet:.1f} ms; beside {count} slow ones: {beside:.1f} ms (medians)")
    _end(clients)


def _dial_ms(place: Place) -> float:
    found = [answer_of(one)["ms"] for one in place.clients("dial", 40)]
    median: float = statistics.median(found)
    return median


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tls", action="store_true")
    options.add_argument("--idle", type=int, default=9000)
    options.add_argument("--busy", type=int, default=2000)
    options.add_argument("--loris", type=int, default=5000)
    chosen = options.parse_args()
    print("TLS" if chosen.tls else "plain")
    parts = Parts()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        try:
            place = Place(parts, Path(folder), tls=chosen.tls)
            for measure, count in ((loris, chosen.loris), (busy, chosen.busy), (idle, chosen.idle)):
                if count:
                    measure(place, count)
        finally:
            parts.end()


if __name__ == "__main__":
    main()
