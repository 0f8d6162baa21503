"""A project's save on a node that has nothing of it, beside the same files as one gzip layer.

python -m bench.restore [--output json] [--files 40000] [--megabytes 2000] [--rounds 2]

Containerd pulls and unpacks both from the same registry, in turns, with everything removed between.
The gzip layer is packed by isal at level 1; `gzip -6` packs smaller and unpacks no faster.
"""

import asyncio
from pathlib import Path

from bench.save import make_tree, place, report
from bench.save_peers import Times, timed
from devbox.edge.containerd.client import Containerd
from devbox.edge.registry import Registry
from devbox.model.projects import Image
from devbox.model.saves import Compression
from node_agent.saver import Saver
from tests.node_agent.saver.saves import order
from tests.support.containerd import ContainerdServer, running_containerd
from tests.support.registry import RegistryServer, running_registry
from tests.support.saved_images import push_base

_WAYS = {"devbox": Compression.ZSTD, "one gzip layer": Compression.GZIP}


async def saved(server: RegistryServer, tree: Path, directory: Path) -> dict[str, Image]:
    """The tree as a save of each kind."""
    empty = directory / "empty"
    empty.mkdir()
    found = {}
    async with Registry(server.url) as registry, Saver(registry, nice=0) as saver:
        base = await push_base(registry, "runtimes/bench", empty)
        for name, compression in _WAYS.items():
            index = directory / f"{compression}.index"
            ordered = order(tree, base, index, str(compression), compression=compression)
            found[name] = (await saver.save(ordered)).image
    return found


async def pull(node: ContainerdServer, server: RegistryServer, image: Image) -> float:
    """Seconds; the node has nothing of it before and after."""
    reference = f"{server.host}/{image.repository}@{image.digest}"
    containerd = Containerd(node.socket)

    async def work() -> None:
        await asyncio.to_thread(node.ctr, "images", "pull", "--plain-http", reference)

    try:
        return await timed(work)
    finally:
        await containerd.delete_image(reference, wait=True)
        await containerd.close()


async def measure(files: int, megabytes: int, rounds: int) -> Times:
    """The best seconds by way."""
    with place() as directory, running_registry(directory) as server, running_containerd() as node:
        tree = directory / "tree"
        tree.mkdir()
        make_tree(tree, files, megabytes)
        images = await saved(server, tree, directory)
        best: Times = {}
        for _ in range(rounds):
            for name, image in images.items():
                took = await pull(node, server, image)
                best[name] = min(took, best.get(name, took))
    return best


if __name__ == "__main__":
    report(measure, megabytes=2000, width=20)
