"""Wires the node agent and runs it until SIGTERM."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

from devbox.edge.clients import NodeOrdersClient
from devbox.edge.containerd.client import Containerd
from devbox.edge.layout import Layout, ServerSettings, read_settings
from devbox.edge.service import on_end
from devbox.edge.space import Space, space_of
from devbox.edge.tasks import Tasks
from devbox.model.errors import DevboxError
from node_agent.agent.observing import observe
from node_agent.agent.opening import open_parts
from node_agent.agent.orders import Ordered, Parts
from node_agent.agent.reporting import Reporting
from node_agent.agent.saving import Saving, autosave
from node_agent.collector.evicting import Evicting
from node_agent.collector.measuring import bytes_below
from node_agent.faults import Fault, die_at, no_fault
from node_agent.journal import Journal
from node_agent.quota.watching import Quotas

_log = structlog.get_logger()
_OBSERVE_EVERY_S = 5.0


class Loop:
    """The node agent's parts, wired."""

    def __init__(
        self,
        settings: ServerSettings,
        journal: Journal,
        parts: Parts,
        controller: NodeOrdersClient,
        fault: Fault = no_fault,
    ) -> None:
        self._node = settings.node
        self._journal = journal
        self._controller = controller
        self._parts = parts
        self._reporting = Reporting(settings.node, journal, controller, fault)
        self._saving = Saving(
            journal, parts.writer, parts.containers, parts.uppers, self._reporting.changed, fault
        )
        self._ordered = Ordered(journal, parts, self._saving, self._reporting)

    def kicked(self) -> None:
        """The commit-shim wrote to the journal."""
        self._saving.kick()
        self._reporting.changed()

    async def run(self, kicks: socket.socket) -> None:
        """Until SIGTERM or until a vital part fails."""
        self._journal.recover()
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        on_end(ended.set)
        loop.add_reader(kicks, self._drain, kicks)
        async with Tasks("node_agent") as tasks:
            tasks.start(self._saving.run(), "saving", vital=True)
            tasks.start(self._reporting.run(), "reporting", vital=True)
            tasks.start(self._ordered.run(self._node, self._controller), "orders", vital=True)
            tasks.start(self._observe(), "observe", vital=True)
            tasks.start(self._thaw(), "thaw")
            tasks.start(self._tell_runtimes(), "runtimes")
            tasks.start(self._autosave(), "autosave", vital=True)
            tasks.start(self._evict(), "evicting", vital=True)
            tasks.start(self._watch_quotas(), "quotas", vital=True)
            tasks.start(self._parts.sweeping.run(self._saving.hold), "sweeping", vital=True)
            ends = [
                tasks.start(ended.wait(), "signal"),
                tasks.start(tasks.failed.wait(), "failed"),
            ]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        loop.remove_reader(kicks)
        if tasks.error is not None:
            raise tasks.error

    def _drain(self, kicks: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while kicks.recv(64):
                pass
        self.kicked()

    async def _observe(self) -> None:
        while True:
            try:
                boxes = self._journal.boxes()
                live = await self._parts.containers.live()
                if observe(self._journal, boxes, live, time.time()):
                    self.kicked()
            except DevboxError as error:
                _log.warning("containerd_away", error=error.message)
            await asyncio.sleep(_OBSERVE_EVERY_S)

    async def _thaw(self) -> None:
        """Nobody else would ever let a box run that an earlier node agent left frozen."""
        while True:
            try:
                await self._saving.thaw_boxes()
                return
            except DevboxError as error:
                _log.warning("boxes_not_thawed", error=error.message)
                await asyncio.sleep(1.0)

    async def _tell_runtimes(self) -> None:
        while True:
            try:
                for runtime in await self._parts.builder.known():
                    self._reporting.runtime(runtime)
                return
            except DevboxError as error:
                _log.warning("runtimes_unknown", error=error.message)
                await asyncio.sleep(1.0)

    async def _evict(self) -> None:
        uppers, containers = self._parts.uppers, self._parts.containers
        evicting = Evicting(self._space, containers, self._ordered.collect, uppers.idle)

        def grounds() -> frozenset[str]:
            return frozenset(upper.image.digest for upper in self._journal.uppers())

        await evicting.run(lambda: self._ordered.evictable, grounds)

    def _space(self) -> Space:
        return space_of(self._parts.data)

    async def _watch_quotas(self) -> None:
        quotas = Quotas(
            self._journal,
            self._parts.containers,
            bytes_below,
            self._space,
            self._reporting.full,
        )
        await quotas.run(lambda: self._ordered.quotas)

    async def _autosave(self) -> None:
        await autosave(self._journal, lambda: self._ordered.autosaves, self.kicked)


@contextlib.contextmanager
def kick_socket(path: Path) -> Iterator[socket.socket]:
    """A bound unix datagram socket, mode 0600, that does not block."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as kicks:
        kicks.bind(str(path))
        path.chmod(0o600)
        try:
            yield kicks
        finally:
            path.unlink(missing_ok=True)


async def serve(layout: Layout, at: str = "") -> None:
    """Run the node agent of one server. A test lets it, or its worker, die after step `at`."""
    settings = read_settings(layout)
    journal = Journal.open(layout.journal)
    controller = NodeOrdersClient(layout.node_socket)
    containerd = Containerd(layout.containerd_socket)
    try:
        async with open_parts(layout, settings, journal, containerd, at) as parts:
            with kick_socket(layout.kick_socket) as kicks:
                await Loop(settings, journal, parts, controller, die_at(at)).run(kicks)
    finally:
        await containerd.close()
        await controller.close()
        journal.close()
