"""Carries the controller's orders out. Hearing an order twice does no harm."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from devbox.edge.tasks import Tasks
from devbox.model.errors import DevboxError, Unavailable
from devbox.model.nodes import (
    AskOrders,
    AutosaveRule,
    BuildOrder,
    DiffAnswer,
    DiffOrder,
    DiskAnswer,
    DiskOrder,
    DropOrder,
    ForgetOrder,
    NodeOrders,
    Orders,
    PrepareOrder,
    QuotaRule,
)
from devbox.model.runtimes import Runtime, RuntimeState
from node_agent.agent.parts import (
    Containers,
    DiskMeter,
    RuntimeBuilder,
    SaveWriter,
    UpperKeeper,
)
from node_agent.agent.reporting import Reporting
from node_agent.agent.saving import Saving
from node_agent.collector.sweeping import Sweeping
from node_agent.journal import Journal

_log = structlog.get_logger()
_POLL_S = 20.0
_RETRY_S = 1.0
_BASE_TAG = "base"


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The rooms that the orders need."""

    writer: SaveWriter
    uppers: UpperKeeper
    containers: Containers
    data: Path
    """Where uppers, images and the registry lie: one disk."""
    builder: RuntimeBuilder
    sweeping: Sweeping
    meter: DiskMeter


class Ordered:
    """Owns the work that orders start: one task per key."""

    def __init__(
        self, journal: Journal, parts: Parts, saving: Saving, reporting: Reporting
    ) -> None:
        self._journal = journal
        self._parts = parts
        self._saving = saving
        self._reporting = reporting
        self._working: set[str] = set()
        self._done: set[str] = set()
        self._tasks = Tasks("orders")
        self._asked: set[str] = set()
        """Comparisons and measurements that somebody waits for."""
        self._comparing = asyncio.Semaphore(1)
        self.autosaves: tuple[AutosaveRule, ...] = ()
        self.evictable: tuple[str, ...] = ()
        self.quotas: tuple[QuotaRule, ...] = ()

    async def run(self, node: str, controller: NodeOrders) -> None:
        """Pull orders until cancelled."""
        revision = 0
        try:
            while True:
                try:
                    ask = AskOrders(node=node, revision=revision, wait_s=_POLL_S)
                    orders = await controller.orders(ask)
                    self.take(orders)
                except DevboxError as error:
                    _log.warning("no_orders", error=error.message)
                    await asyncio.sleep(_RETRY_S)
                    continue
                revision = orders.revision
        finally:
            await self._tasks.close()

    def take(self, orders: Orders) -> None:
        """Start what is not started yet."""
        self.autosaves = orders.autosaves
        self.evictable = orders.evictable
        self.quotas = orders.quotas
        for rule in orders.autosaves:
            self._saving.remember(rule.project_uid, rule.when_busy)
        self._take_saves(orders)
        self._asked = {diff.order_id for diff in orders.diffs}
        self._asked |= {disk.order_id for disk in orders.disks}
        for disk in orders.disks:
            self._once(f"disk/{disk.order_id}", partial(self._measure, disk))
        for diff in orders.diffs:
            self._once(f"diff/{diff.order_id}", partial(self._compare, diff))
        for drop in orders.drops:
            self._once(f"drop/{drop.project_uid}", partial(self._drop, drop))
        for forget in orders.forgets:
            key = f"forget/{forget.project_uid}/{forget.digest}/{forget.seq}"
            self._once(key, partial(self._forget, forget), again=True)
        for prepare in orders.prepares:
            key = f"prepare/{prepare.project_uid}/{prepare.image.digest}"
            self._once(key, partial(self._prepare, prepare))
        for build in orders.builds:
            self._once(f"build/{build.name}/{build.attempt}", partial(self._build, build))
        for uid in orders.collectable:
            self._once(f"collect/{uid}", partial(self.collect, uid), again=True)

    def _take_saves(self, orders: Orders) -> None:
        for order in orders.saves:
            self._saving.remember(order.project_uid, order.when_busy)
            self._journal.take_order(order, time.time())
        for restore in orders.restores:
            self._journal.take_restore(restore, time.time())
        if orders.saves or orders.restores:
            self._saving.kick()
            self._reporting.changed()

    def _once(
        self, key: str, work: Callable[[], Coroutine[Any, Any, object]], *, again: bool = False
    ) -> None:
        if key in self._working or key in self._done:
            return
        self._working.add(key)
        self._tasks.start(self._until_done(key, work, again=again), key)

    async def _until_done(
        self, key: str, work: Callable[[], Coroutine[Any, Any, object]], *, again: bool
    ) -> None:
        try:
            while True:
                try:
                    await work()
                    break
                except (DevboxError, OSError) as error:
                    _log.warning("order_failed", order=key, error=str(error))
                    await asyncio.sleep(_RETRY_S)
            if not again:
                self._done.add(key)
        finally:
            self._working.discard(key)

    async def _drop(self, order: DropOrder) -> None:
        uid = order.project_uid
        await self._saving.leave(uid)
        if await self._runs(uid):
            raise Unavailable("the project's box still runs")
        await self._parts.uppers.remove(uid)
        await self._parts.writer.drop(uid)
        await self._parts.sweeping.forget(f"projects/{uid}")
        await self._parts.containers.forget_images(f"projects/{uid}")
        self._journal.forget_project(uid)
        self._reporting.dropped(uid)

    async def _forget(self, order: ForgetOrder) -> None:
        """Not while a save runs, which may come to need the image's blobs; and not if one did."""
        while True:
            with self._saving.hold(order.project_uid) as free:
                if free:
                    if not self._needed(order):
                        await self._parts.writer.forget(order.project_uid, order.digest)
                    break
            await asyncio.sleep(_RETRY_S)
        self._parts.sweeping.want()
        self._reporting.forgotten(order)

    def _needed(self, order: ForgetOrder) -> bool:
        uid, digest = order.project_uid, order.digest
        upper, last = self._journal.upper(uid), self._journal.last_recorded(uid)
        if upper is not None and upper.image.digest == digest:
            return True
        newer = [row for row in (last, *self._journal.open_saves(uid)) if row is not None]
        return any(row.image and row.image.digest == digest for row in newer)

    async def _runs(self, uid: str) -> bool:
        live = await self._parts.containers.live()
        return any(live.get(box.container_id) for box in self._journal.boxes_of_project(uid))

    async def _prepare(self, order: PrepareOrder) -> None:
        repository = f"projects/{order.project_uid}"
        image = await self._parts.writer.copy(order.image, repository, _BASE_TAG)
        self._reporting.prepared(order.project_uid, image)

    async def _compare(self, order: DiffOrder) -> None:
        """One at a time: each may read much."""
        async with self._comparing:
            if order.order_id in self._asked:
                self._reporting.compared(await self._compared(order))

    async def _compared(self, order: DiffOrder) -> DiffAnswer:
        try:
            diff = await self._parts.writer.compare(order)
        except DevboxError as error:
            return DiffAnswer(order_id=order.order_id, failure=error.message)
        except OSError as error:
            return DiffAnswer(order_id=order.order_id, failure=str(error))
        return DiffAnswer(order_id=order.order_id, diff=diff)

    async def _measure(self, order: DiskOrder) -> None:
        """One at a time, as comparisons are."""
        async with self._comparing:
            if order.order_id not in self._asked:
                return
            try:
                answer = DiskAnswer(order_id=order.order_id, disk=await self._parts.meter.disk())
            except (DevboxError, OSError) as error:
                answer = DiskAnswer(order_id=order.order_id, failure=str(error))
            self._reporting.measured(answer)

    async def _build(self, order: BuildOrder) -> None:
        runtime = Runtime(name=order.name, source=order.source, state=RuntimeState.BUILDING)

        def progress(part: float, message: str) -> None:
            self._reporting.runtime(
                msgspec.structs.replace(runtime, progress=part, message=message)
            )

        try:
            built = await self._parts.builder.build(order, progress)
        except DevboxError as error:
            _log.warning("build_failed", runtime=order.name, error=error.message)
            said = f"{error.message}. {error.hint}".strip()
            built = msgspec.structs.replace(
                runtime, state=RuntimeState.FAILED, message=said, code=error.code
            )
        self._reporting.runtime(built)

    async def collect(self, uid: str) -> bool:
        """Give the disk of an upper back; only what is recorded, and only while nobody uses it.

        Tells whether it went. Raises Unavailable when it cannot go now. The last recorded save may
        be of an older box: boxes that changed nothing make no save.
        """
        upper, last = self._journal.upper(uid), self._journal.last_recorded(uid)
        if upper is None or upper.dirty or last is None:
            return False
        if self._journal.open_saves(uid) or self._journal.boxes_of_project(uid):
            return False
        await self._saving.give_back(uid)
        self._reporting.changed()
        return True
