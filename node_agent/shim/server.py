"""Puts the commit-shim together and serves it on its socket."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc.aio
import structlog

from devbox.edge.clients import NodeOrdersClient
from devbox.edge.containerd.channel import MESSAGE_BYTES, open_channel
from devbox.edge.containerd.client import Containerd
from devbox.edge.cri.client import Cri
from devbox.edge.layout import Layout, read_settings
from devbox.edge.registry import Registry
from devbox.edge.tasks import Tasks
from node_agent.faults import Fault, no_fault
from node_agent.journal import Journal
from node_agent.shim.ending import Ending
from node_agent.shim.intercept import Boxes, Parts
from node_agent.shim.linking import Linking
from node_agent.shim.pulling import Pulling
from node_agent.shim.relay import Relay
from node_agent.shim.sweeping import sweep
from node_agent.shim.usage import Usages
from node_agent.upper import Uppers

_log = structlog.get_logger()
_STOP_S = 3.0
_SWEEP_S = 5.0
_OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
)


@asynccontextmanager
async def serving(layout: Layout, *, fault: Fault = no_fault) -> AsyncIterator[Tasks]:
    """Serve until the block ends. `failed` of what it yields is set when serving makes no sense."""
    for path in (layout.uppers, layout.boxes):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    journal = Journal.open(layout.journal)
    channel = open_channel(layout.containerd_socket)
    containerd, runtime = Containerd(layout.containerd_socket), Cri(layout.containerd_socket)
    orders = NodeOrdersClient(layout.node_socket)
    settings = read_settings(layout)
    registry = Registry(f"http://{settings.registry_host}")
    ending = Ending(journal, containerd, runtime, layout.kick_socket)
    linking = Linking(layout, journal, Uppers(layout, journal), fault)
    usages = Usages(journal)
    linking.forget_pods()
    async with registry, Tasks("shim") as tasks:
        relay = Relay(channel)
        boxes = Boxes(
            Parts(
                journal=journal,
                containerd=containerd,
                runtime=runtime,
                orders=orders,
                linking=linking,
                ending=ending,
                usages=usages,
                tasks=tasks,
                unary=relay.unary,
                pulling=Pulling(registry, settings.registry_host, layout.data, relay.unary),
            )
        )
        relay.intercept(boxes.interceptors(), boxes.rewriters())
        server = grpc.aio.server(handlers=[relay], options=_OPTIONS)
        await _sweep(containerd, runtime, journal, layout)
        _listen(server, layout.cri_socket)
        await server.start()
        tasks.start(ending.watch(), "watch")
        tasks.start(ending.look(), "look")
        tasks.start(boxes.keep_pinned(), "pins")
        tasks.start(usages.keep(), "usages")
        _log.info("serving", socket=str(layout.cri_socket))
        try:
            yield tasks
        finally:
            await server.stop(_STOP_S)
            await relay.close()
    for client in (orders, containerd, runtime):
        await client.close()
    await channel.close(None)
    journal.close()


async def _sweep(containerd: Containerd, runtime: Cri, journal: Journal, layout: Layout) -> None:
    """Before anybody can call: a box that is being made looks half-made."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_SWEEP_S):
            await sweep(containerd, runtime, journal, layout)


def _listen(server: grpc.aio.Server, path: Path) -> None:
    """Bind the socket so that nobody but root could ever connect."""
    with suppress(FileNotFoundError):
        path.unlink()
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    finally:
        os.umask(before)


async def run(layout: Layout, stop: asyncio.Event, *, fault: Fault = no_fault) -> None:
    """Serve until `stop` is set."""
    async with serving(layout, fault=fault):
        await stop.wait()
