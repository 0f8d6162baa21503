"""Write and push of 40,000 small files and 300 MB poorly compressible, beside other ways to do it.

python -m bench.save [--output json] [--files 40000] [--megabytes 300] [--rounds 2]

The tree is the upper of a box for us, and the changed files of a container for the peers; all push
to the same registry. `tar | zstd | sha256sum` pushes nothing: it is the bare work; `curl` does
nothing but push: it is the registry's part of the time.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.save_peers import Times, buildah, docker, pipeline, podman, timed, upload
from devbox.edge.registry import Registry
from node_agent.saver import Saver
from tests.node_agent.saver.saves import order
from tests.support.registry import RegistryServer, running_registry
from tests.support.saved_images import push_base

_PEERS = (buildah, podman, docker)


def make_tree(tree: Path, files: int, megabytes: int) -> None:
    """Small text files in directories of a hundred, and large ones of random bytes."""
    for number in range(files):
        directory = tree / f"part-{number // 2000}" / f"dir-{number // 100}"
        if not number % 100:
            directory.mkdir(parents=True)
        text = f"line of file {number}\n".encode() * 60
        (directory / f"file-{number}.txt").write_bytes(text[: 300 + number % 900])
    for number in range(megabytes // 10):
        (tree / f"large-{number}").write_bytes(os.urandom(10 << 20))
    os.sync()


async def ours(server: RegistryServer, tree: Path, directory: Path, rounds: int) -> Times:
    """A full save, and a save after one changed file of 1 KB."""
    best: Times = {}
    empty = directory / "empty"
    empty.mkdir()
    async with Registry(server.url) as registry, Saver(registry, nice=0) as saver:
        base = await push_base(registry, "runtimes/bench", empty)
        for number in range(rounds):
            await saver.warm()
            await asyncio.sleep(1)
            index = directory / f"index-{number}"
            ordered = order(tree, base, index, f"bench-{number}")
            _least(best, "devbox", await timed(partial(saver.save, ordered)))
            (tree / "part-0" / "dir-0" / "file-0.txt").write_bytes(os.urandom(1024))
            _least(best, "devbox, 1 KB changed", await timed(partial(saver.save, ordered)))
    return best


@contextmanager
def place() -> Iterator[Path]:
    """A directory that is removed, with what the peers mounted in it."""
    directory = Path(tempfile.mkdtemp(prefix="devbox-bench-", dir="/var/tmp"))
    try:
        yield directory
    finally:
        for mount in _mounts(directory):
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
        shutil.rmtree(directory, ignore_errors=True)


def _mounts(directory: Path) -> list[str]:
    """What is mounted below, the deepest first."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    points = [line.split(" ")[1] for line in lines]
    return sorted((point for point in points if point.startswith(f"{directory}/")), reverse=True)


async def measure(files: int, megabytes: int, rounds: int) -> Times:
    """Seconds by way."""
    with place() as directory, running_registry(directory) as server:
        tree = directory / "tree"
        tree.mkdir()
        make_tree(tree, files, megabytes)
        found: Times = {}
        for _ in range(rounds):
            for name, seconds in (await pipeline(tree)).items():
                _least(found, name, seconds)
        found |= await ours(server, tree, directory, rounds)
        found |= await upload(server, tree, directory)
        for peer in _PEERS:
            room = directory / peer.__name__
            room.mkdir()
            found |= await peer(server, tree, room)
    return found


def _least(best: Times, name: str, seconds: float) -> None:
    best[name] = min(seconds, best.get(name, seconds))


def report(
    measure: Callable[[int, int, int], Coroutine[None, None, Times]], megabytes: int, width: int
) -> None:
    """Ask for sizes, measure, and print seconds and, beside each, how many times ours it is."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=40_000)
    parser.add_argument("--megabytes", type=int, default=megabytes)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", choices=("text", "json"), default="text")
    given = parser.parse_args()
    found = asyncio.run(measure(given.files, given.megabytes, given.rounds))
    if given.output == "json":
        print(json.dumps({name: round(seconds, 3) for name, seconds in found.items()}))
        return
    for name, seconds in found.items():
        print(f"{name:{width}} {seconds:8.2f} s {seconds / found['devbox']:8.2f} x")


if __name__ == "__main__":
    report(measure, megabytes=300, width=32)
