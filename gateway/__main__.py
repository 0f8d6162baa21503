"""Starts the gateway: `python -m gateway --data DIR --run DIR`."""

import argparse
import asyncio
import resource
import signal
import sys
from pathlib import Path

import structlog
import uvloop

from devbox.edge.clients import OrchestratorClient
from devbox.edge.layout import DEFAULT, Layout, read_settings
from devbox.edge.service import log_as_json
from devbox.edge.tasks import Tasks
from devbox.model.errors import DevboxError, Internal
from gateway.grants import read_key
from gateway.server import Bounds, Gateway


def main() -> int:
    """Run until SIGTERM."""
    options = _parser().parse_args()
    log_as_json()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            loop.run(_serve(Layout(options.data, options.run), reuse_port=options.reuse_port))
    except DevboxError as error:
        structlog.get_logger().error("gateway_failed", error=error.message, hint=error.hint)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gateway", description="The one door of a cluster.")
    parser.add_argument("--data", type=Path, default=DEFAULT.data)
    parser.add_argument("--run", type=Path, default=DEFAULT.run)
    parser.add_argument(
        "--reuse-port", action="store_true", help="let a successor listen on the same port"
    )
    return parser


async def _serve(layout: Layout, *, reuse_port: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
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
    sys.exit(main())
