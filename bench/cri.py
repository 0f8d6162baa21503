"""A CRI call through the commit-shim beside the same call straight at containerd.

python -m bench.cri [--calls 500] [--saves 20] [--at-once 20]

First with nothing else to do, then while that many saves run, `--at-once` of them side by side,
each in a worker of its own; a node agent allows 2. Calls straight and through the shim take turns,
so that both meet the same load.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.save import make_tree
from devbox.edge.cri.client import Cri
from devbox.edge.priority import prefer
from devbox.edge.registry import Registry
from devbox.edge.tasks import Tasks
from node_agent.saver import Saver
from tests.node_agent.saver.saves import order
from tests.support.boxes import node_of, project_uid, start_shim, until_answers
from tests.support.containerd import ContainerdServer, running_containerd
from tests.support.registry import running_registry
from tests.support.saved_images import push_base

Call = Callable[[], Awaitable[object]]
_FILES, _MEGABYTES = 1000, 40
_REGISTRY_NICE = 10
"""As in a server."""


async def times(straight: Call, through: Call, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each, sorted."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(count):
        for call, found in zip((straight, through), taken, strict=True):
            began = time.perf_counter()
            await call()
            found.append((time.perf_counter() - began) * 1e3)
    return sorted(taken[0]), sorted(taken[1])


def calls_of(runtime: Cri, container_id: str) -> dict[str, Call]:
    """What a kubelet asks all the time."""
    return {
        "Version": runtime.version,
        "ListContainers": runtime.containers,
        "ContainerStatus": lambda: runtime.container_status(container_id),
        "ListContainerStats": runtime.all_container_stats,
    }


async def report(straight: dict[str, Call], through: dict[str, Call], count: int) -> None:
    """One line per method."""
    columns = ("containerd p50", "p99", "shim p50", "p99", "added p50")
    print(f"{'method':20}" + "".join(f"{name:>16}" for name in columns))
    for name, call in straight.items():
        bare, relayed = await times(call, through[name], count)
        middle, last = count // 2, int(count * 0.99)
        added = relayed[middle] - bare[middle]
        found = (bare[middle], bare[last], relayed[middle], relayed[last], added)
        print(f"{name:20}" + "".join(f"{value:13.2f} ms" for value in found))


async def measure(server: ContainerdServer, count: int, saves: tuple[int, int]) -> None:
    """With three boxes running."""
    async with node_of(server, shim=False) as node:
        shim = start_shim(server.layout)
        direct = Cri(server.socket)
        try:
            await until_answers(node.runtime)
            pods = [await node.box(project_uid()) for _ in range(3)]
            straight = calls_of(direct, pods[0].container_id)
            through = calls_of(node.runtime, pods[0].container_id)
            print("nothing else to do")
            await report(straight, through, count)
            with saving(*saves):
                print(f"while {saves[0]} saves run, {saves[1]} side by side")
                await report(straight, through, count)
        finally:
            await direct.close()
            shim.terminate()
            shim.wait()


@contextmanager
def saving(count: int, at_once: int) -> Iterator[None]:
    """Another process that saves so many trees, again and again, until the block ends."""
    command = [sys.executable, "-m", "bench.cri", "--only-save", str(count)]
    command += ["--at-once", str(at_once)]
    pipe = subprocess.PIPE
    # A session of its own, as every part of a server has: priorities count within a session.
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)
    assert process.stdin
    assert process.stdout
    try:
        process.stdout.readline()
        yield
    finally:
        process.stdin.close()
        said = process.stdout.read()
        process.wait()
        print(said.decode().strip())


async def only_save(count: int, at_once: int) -> None:
    """Until standard input ends."""
    prefer(_REGISTRY_NICE)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place, running_registry(Path(place)) as far:
        directory = Path(place)
        for number in range(count):
            make_tree(directory / f"tree-{number}", _FILES, _MEGABYTES)
        (directory / "empty").mkdir()
        async with (
            Registry(far.url) as registry,
            Saver(registry, at_once=at_once) as saver,
            Tasks("saves") as tasks,
        ):
            base = await push_base(registry, "runtimes/bench", directory / "empty")
            done = [0]

            async def again(number: int) -> None:
                tree = directory / f"tree-{number}"
                while True:
                    index = directory / f"index-{number}-{done[0]}"
                    await saver.save(order(tree, base, index, f"bench-{number}"))
                    done[0] += 1
                    (tree / "large-0").write_bytes(os.urandom(10 << 20))

            for number in range(count):
                tasks.start(again(number), f"save-{number}")
            # Every worker is past its beginning.
            while done[0] < at_once // 2:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            print("saving", flush=True)
            began, before = time.monotonic(), done[0]
            await asyncio.to_thread(sys.stdin.read)
            print(f"{done[0] - before} saves ended in {time.monotonic() - began:.0f} s")


def main() -> None:
    """Start a containerd of our own and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--saves", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--only-save", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only_save:
        asyncio.run(only_save(given.only_save, given.at_once))
        return
    with running_containerd() as server:
        asyncio.run(measure(server, given.calls, (given.saves, given.at_once)))


if __name__ == "__main__":
    main()
