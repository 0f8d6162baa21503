"""How long a running box stands still in a save, as its tree and its writes grow.

python -m bench.freeze [--files 1000 20000 200000] [--rates 0 100 1000 10000] [--gigabytes 0]

Each save is made after one changed file of 1 KB, beside a process in the box that writes 4 KiB into
one of 64 files so many times a second. `stood still` is the longest of the saves of a row, `save`
the quickest. `memory` is the most that the worker ever had in memory, the first save of all files
included.
"""

import argparse
import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import psutil

from bench.save import make_tree, place
from devbox.edge.registry import Registry
from devbox.model.projects import Image
from node_agent.saver import Saver
from tests.node_agent.saver.saves import order
from tests.support.inhabitants import cgroup, inhabitant
from tests.support.overlays import Overlay, overlay
from tests.support.registry import running_registry
from tests.support.saved_images import push_base

_SAVES = 3
_BLOCK = 64 << 20
Row = tuple[int, int, float, float]
"""Files, writes a second, milliseconds that it stood still, seconds of the save."""


def fill(tree: Path, gigabytes: int) -> None:
    """Files of 1 GiB that compress poorly."""
    block = os.urandom(_BLOCK)
    for number in range(gigabytes):
        with (tree / f"huge-{number}").open("wb") as file:
            for _ in range((1 << 30) // _BLOCK):
                file.write(block)
    os.sync()


def peak_bytes() -> int:
    """The most memory that a worker of ours ever had."""
    peaks = [0]
    for child in psutil.Process().children():
        if "node_agent.saver.worker" in child.cmdline():
            lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
            peaks += [int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")]
    return max(peaks)


class Bench:
    """One box, and its saves."""

    def __init__(self, saver: Saver, base: Image, box: Overlay, files: int) -> None:
        self._saver = saver
        self._box = box
        self._base = base
        self._files = files

    async def first(self, gigabytes: int) -> float:
        """Make the tree and save it whole; seconds of the save."""
        make_tree(self._box.upper, self._files, 0)
        fill(self._box.upper, gigabytes)
        self._box.mount()
        return (await self._save(""))[1]

    async def row(self, rate: int, group: Path) -> Row:
        """Save while something writes."""
        what = ("steady", str(rate)) if rate else ("idle",)
        found = []
        with inhabitant(self._box.merged, group, *what):
            for _ in range(_SAVES):
                changed = self._box.merged / "part-0" / "dir-0" / "file-0.txt"
                changed.write_bytes(os.urandom(1024))
                found.append(await self._save(str(group)))
        return self._files, rate, max(ms for ms, _ in found), min(took for _, took in found)

    async def _save(self, group: str) -> tuple[float, float]:
        index = self._box.base.parent / "index"
        uid = f"freeze-{self._files}"
        ordered = order(self._box.upper, self._base, index, uid, cgroup=group)
        began = time.perf_counter()
        saved = await self._saver.save(ordered)
        if saved.note:
            raise RuntimeError(saved.note)
        return saved.frozen_ms, time.perf_counter() - began


async def measure(sizes: Sequence[int], rates: Sequence[int], gigabytes: int) -> AsyncIterator[str]:
    """Lines of a table."""
    yield f"{'files':>8} {'writes/s':>8} {'stood still':>12} {'save':>8}"
    for files in sizes:
        with place() as directory, running_registry(directory) as server:
            async with Registry(server.url) as registry, Saver(registry) as saver:
                with overlay(directory / "box") as box, cgroup(f"devbox-bench-{os.getpid()}") as at:
                    bench = Bench(
                        saver, await push_base(registry, "runtimes/b", box.base), box, files
                    )
                    whole = await bench.first(gigabytes)
                    for rate in rates:
                        _, _, frozen, took = await bench.row(rate, at)
                        yield f"{files:8} {rate:8} {frozen:9.1f} ms {took:6.2f} s"
                    peak = peak_bytes() / 1e6
                    yield f"{files:8} all {gigabytes} GiB: {whole:.1f} s; memory {peak:.0f} MB"


async def _print(given: argparse.Namespace) -> None:
    async for line in measure(given.files, given.rates, given.gigabytes):
        print(line, flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, nargs="+", default=[1000, 20_000, 200_000])
    parser.add_argument("--rates", type=int, nargs="+", default=[0, 100, 1000, 10_000])
    parser.add_argument("--gigabytes", type=int, default=0)
    asyncio.run(_print(parser.parse_args()))


if __name__ == "__main__":
    main()
