"""Starts the gateway: `python -m gateway --data DIR --run DIR`."""

import asyncio
import resource

from devbox.edge.clients import OrchestratorClient
from devbox.edge.layout import Layout, read_settings
from devbox.edge.service import Part, on_end
from devbox.edge.tasks import Tasks
from devbox.model.errors import Internal
from gateway.grants import read_key
from gateway.server import Bounds, Gateway


async def _serve(layout: Layout, *, reuse_port: bool) -> None:
    stop = asyncio.Event()
    on_end(stop.set)
    orchestrator = OrchestratorClient(layout.orchestrator_socket)
    gateway = Gateway(
        read_settings(layout),
        orchestrator,
        read_key(layout.keys / "grant.key"),
        bounds=Bounds.of(_all_descriptors()),
    )
    try:
        await gateway.start(reuse_port=reuse_port)
        await _either(stop, gateway.tasks.failed)
        if gateway.tasks.failed.is_set():
            raise Internal(f"the gateway's watch ended: {gateway.tasks.error!r}")
    finally:
        await gateway.close()
        await orchestrator.close()


async def _either(*events: asyncio.Event) -> None:
    async with Tasks("main") as tasks:
        waiting = [tasks.start(event.wait(), "wait") for event in events]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)


def _all_descriptors() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else 1 << 16
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


if __name__ == "__main__":
    part = Part("gateway")
    part.parser.add_argument(
        "--reuse-port", action="store_true", help="let a successor listen on the same port"
    )
    part.run(lambda layout, given: _serve(layout, reuse_port=given.reuse_port))
