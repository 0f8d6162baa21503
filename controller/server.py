"""The controller as a process: puts the parts together and takes them down in order."""

import asyncio
import platform
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import chain, repeat
from pathlib import Path

import structlog

from controller.calls.context import Context
from controller.calls.nodes import EmbeddedNodeOrders
from controller.calls.orchestrator import EmbeddedOrchestrator
from controller.embedded import logs
from controller.embedded.driver import PodDriver
from controller.embedded.network import Network
from controller.embedded.resolver import Resolver, name_servers
from controller.keys import admin_token, grant_key
from controller.store import projects
from controller.store.database import Database
from controller.store.projects import ProjectRow
from controller.turns import Turns
from devbox.edge import rpc
from devbox.edge.cri.client import Cri
from devbox.edge.layout import Layout, read_settings
from devbox.edge.service import on_end
from devbox.edge.tasks import Tasks
from devbox.model.errors import DevboxError, Internal
from devbox.model.nodes import NodeOrders
from devbox.model.orchestrator import Orchestrator

_log = structlog.get_logger()
_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


class Controller:
    """All parts over one layout."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._settings = read_settings(layout)
        self._tasks = Tasks("controller")
        self._stack = AsyncExitStack()
        self._db: Database | None = None

    async def start(self) -> None:
        """Serve. Boxes of an earlier run are found again in the background."""
        layout, settings = self._layout, self._settings
        db = self._db = Database(layout.controller)
        self._stack.callback(db.close)
        self._stack.push_async_callback(self._tasks.close)
        turns = Turns(db, self._tasks, node=settings.node, clock=time.time)
        self._stack.callback(turns.close)
        runtime = Cri(layout.cri_socket)
        self._stack.push_async_callback(runtime.close)
        network = Network.of(layout, settings)
        driver = PodDriver(
            runtime,
            network,
            self._tasks,
            see=turns.see,
            registry_host=settings.registry_host,
            log_root=layout.logs,
            most_processes=settings.box_processes,
        )
        turns.pods = driver
        await admin_token(layout.keys, db)
        context = self._context(db, turns)
        # The shim asks for boxes, so it must be answered before one is started.
        await self._serve(layout.node_socket, NodeOrders, EmbeddedNodeOrders(context))
        self._tasks.start(self._names(network), "names")
        await _connect(network, self._tasks)
        await turns.restart()
        await self._serve(layout.orchestrator_socket, Orchestrator, EmbeddedOrchestrator(context))
        self._tasks.start(driver.look(), "look", vital=True)
        self._tasks.start(_tidy(driver, db), "tidy")
        _log.info("controller_ready")

    def _context(self, db: Database, turns: Turns) -> Context:
        machine = platform.machine()

        def last_lines(row: ProjectRow, count: int) -> tuple[str, ...]:
            return logs.last_lines(self._layout.logs, row.state.last_pod_uid, count)

        return Context(
            db=db,
            turns=turns,
            settings=self._settings,
            clock=time.time,
            architecture=_ARCHITECTURES.get(machine, machine),
            grant_key=grant_key(self._layout.keys),
            logs=last_lines,
            disk=self._layout.data,
        )

    async def _serve(self, socket: Path, protocol: type, implementation: object) -> None:
        runner = await rpc.serve(socket, protocol=protocol, implementation=implementation)
        self._stack.push_async_callback(runner.cleanup)

    async def _names(self, network: Network) -> None:
        """Serve names to boxes, once the network's address is there."""
        resolver = Resolver(network, self._tasks, name_servers)
        for wait in chain(_RETRY_S, repeat(_RETRY_S[-1])):
            try:
                await resolver.start()
                break
            except OSError as error:
                _log.info("names_not_served_yet", error=str(error))
                await asyncio.sleep(wait)
        self._stack.push_async_callback(resolver.close)

    async def until_failed(self) -> None:
        """Wait until a part that nothing works without has failed."""
        await self._tasks.failed.wait()

    async def close(self) -> None:
        """End; boxes go on."""
        if self._db:
            self._db.end_waiting()
        await self._stack.aclose()


async def _connect(network: Network, tasks: Tasks) -> None:
    """Set the network up, if need be later: what else the controller does need not wait."""
    try:
        await network.set_up()
    except DevboxError as error:
        _log.error("network_failed", error=error.message)
        tasks.start(_again(network.set_up), "network")


async def _tidy(driver: PodDriver, db: Database) -> None:
    await _again(lambda: driver.tidy(lambda uid: projects.by_pod(db.reader, uid) is not None))


async def _again(work: Callable[[], Awaitable[None]]) -> None:
    """Until it works."""
    for wait in chain(_RETRY_S, repeat(_RETRY_S[-1])):
        try:
            await work()
            break
        except DevboxError as error:
            _log.info("tried_again", error=error.message)
            await asyncio.sleep(wait)


async def serve(layout: Layout) -> None:
    """Run until SIGTERM or SIGINT. Raises Internal when a part that all need has failed."""
    ended = asyncio.Event()
    on_end(ended.set)
    controller = Controller(layout)
    async with Tasks("main") as tasks:
        try:
            await controller.start()
            waits = {
                tasks.start(ended.wait(), "signal"),
                tasks.start(controller.until_failed(), "failed"),
            }
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await controller.close()
    if not ended.is_set():
        raise Internal("a part of the controller failed", "It is started again; boxes go on.")
