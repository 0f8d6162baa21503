"""A CRI call through the commit-shim beside the same call straight at containerd.

python -m bench.cri [--calls 500]
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

from devbox.edge.cri.client import Cri
from tests.support.boxes import node_of, project_uid, start_shim
from tests.support.containerd import ContainerdServer, running_containerd

Call = Callable[[], Awaitable[object]]


async def times(call: Call, count: int) -> tuple[float, float]:
    """(p50, p99) in milliseconds."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - began) * 1e3)
    taken.sort()
    return taken[count // 2], taken[int(count * 0.99)]


def calls_of(runtime: Cri) -> dict[str, Call]:
    """What a kubelet asks all the time."""
    return {
        "Version": runtime.version,
        "ListContainers": runtime.containers,
        "ListContainerStats": runtime.all_container_stats,
    }


async def measure(server: ContainerdServer, count: int) -> None:
    """Print one line per method, with three boxes running."""
    async with node_of(server, shim=False) as node:
        shim = start_shim(server.layout)
        direct = Cri(server.socket)
        try:
            while not server.layout.cri_socket.exists():  # noqa: ASYNC110  (a process, not a task)
                await asyncio.sleep(0.05)
            for _ in range(3):
                await node.box(project_uid())
            through = calls_of(node.runtime)
            print(f"{'method':20} {'containerd':>16} {'through shim':>16} {'added p50':>10}")
            for name, call in calls_of(direct).items():
                bare, relayed = await times(call, count), await times(through[name], count)
                print(
                    f"{name:20} {bare[0]:7.2f} {bare[1]:8.2f} {relayed[0]:7.2f} {relayed[1]:8.2f}"
                    f" {relayed[0] - bare[0]:8.2f} ms"
                )
        finally:
            await direct.close()
            shim.terminate()
            shim.wait()


def main() -> None:
    """Start a containerd of our own and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=500)
    given = parser.parse_args()
    with running_containerd() as server:
        asyncio.run(measure(server, given.calls))


if __name__ == "__main__":
    main()
