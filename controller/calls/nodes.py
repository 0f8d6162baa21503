"""NodeOrders: what nodes are told, and what they tell."""

import asyncio
import sqlite3
from collections.abc import Iterator

from msgspec.structs import replace

from controller.calls.context import Calls, Context
from controller.calls.history import budget_of
from controller.calls.reports import take_in
from controller.core.state import Box, BoxStep
from controller.core.step import to_restore
from controller.store import projects, runtimes, saves
from controller.store.projects import ProjectRow
from devbox.model import nodes as n
from devbox.model.errors import NotFound
from devbox.model.orchestrator import Nothing
from devbox.model.projects import Desired
from devbox.model.saves import SaveStep

_LOOK_S = 5.0
"""How often it is looked whether something was kept for long enough, while a node waits."""
_SETTLED = frozenset({SaveStep.RECORDED, SaveStep.DROPPED})
_ALIVE = frozenset({BoxStep.UP, BoxStep.SERVING, BoxStep.SILENT})


class EmbeddedNodeOrders(Calls, n.NodeOrders):
    """Orders are worked out from the store each time, so none can be lost or go stale."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._told = n.Orders(revision=0)
        # A node that remembers a revision of an earlier run must not take it for one of ours.
        self._revision = int(context.clock() * 1000)

    async def box(self, request: n.BoxKey) -> n.BoxRecord:
        """The box of a pod. NotFound when the pod is not a box."""
        row = projects.by_pod(self._c.db.reader, request.pod_uid)
        if row is None or row.state.box is None:
            raise NotFound("the pod is not a box")
        return self._record(row, row.state.box)

    def _record(self, row: ProjectRow, box: Box) -> n.BoxRecord:
        settings = self._c.settings
        start = n.StartRecord(
            project_uid=row.uid,
            cluster=settings.cluster,
            region=settings.region,
            namespace=row.namespace,
            project=row.name,
            generation=box.generation,
            host_key=row.host_key,
            grant_keys=(self._c.grant_key,),
            config=box.image.config,
            env=row.spec.env,
            run_image_command=row.spec.run_image_command,
        )
        return n.BoxRecord(
            pod_uid=box.pod_uid,
            project_uid=row.uid,
            namespace=row.namespace,
            project=row.name,
            generation=box.generation,
            image=box.image,
            needs_upper=box.needs_upper,
            start=start,
        )

    async def orders(self, request: n.AskOrders) -> n.Orders:
        """The node's orders, once they differ from those of `revision`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.wait_s
        while True:
            changed = self._c.db.next_change
            orders = self._now(request.node)
            over = self._c.db.ending or loop.time() >= deadline
            if orders.revision != request.revision or over:
                return orders
            try:
                async with asyncio.timeout_at(min(deadline, loop.time() + _LOOK_S)):
                    await changed.wait()
            except TimeoutError:
                continue

    def _now(self, node: str) -> n.Orders:
        now, keep_s = self._c.clock(), self._c.settings.keep_upper_s
        idle_since = now - keep_s if keep_s >= 0 else 0.0
        fresh = gather(
            self._c.db.reader, node, idle_since=idle_since, quota=self._c.settings.quota_bytes
        )
        fresh = replace(fresh, diffs=self._c.diffs.orders, disks=self._c.disks.orders)
        if fresh != replace(self._told, revision=0):
            self._revision += 1
        self._told = replace(fresh, revision=self._revision)
        return self._told

    async def report(self, request: n.Report) -> Nothing:
        """Take news. When it answers, the controller has it on disk."""
        architecture = self._c.architecture
        budget = budget_of(self._c.settings)
        await self._c.turns.take(lambda turn: take_in(turn, request, architecture, budget))
        for diff in request.diffs:
            self._c.diffs.answer(diff)
        for disk in request.disks:
            self._c.disks.answer(disk)
        return Nothing()


def gather(db: sqlite3.Connection, node: str, *, idle_since: float, quota: int = 0) -> n.Orders:
    """All that should be on a node now. Uppers of projects that stopped before then are to go.

    `quota` is that of projects without their own; 0: any amount.
    """
    rows = projects.everyone(db)
    alive = {row.uid: row for row in rows if row.desired is not Desired.DELETED}
    gone = [row for row in rows if row.desired is Desired.DELETED and row.state.box is None]
    builds = [row for row in runtimes.everything(db) if row.wanted]
    idle = _idle(db, node, alive)
    pending = [entry.order for entry in saves.orders(db) if not entry.refused]
    return n.Orders(
        revision=0,
        saves=tuple(order for order in pending if order.project_uid in alive),
        restores=tuple(_restores(db, list(alive.values()))),
        drops=tuple(n.DropOrder(project_uid=row.uid) for row in gone),
        forgets=tuple(entry for entry in saves.ordered_away(db) if entry.project_uid in alive),
        prepares=tuple(
            n.PrepareOrder(project_uid=row.uid, image=row.image)
            for row in alive.values()
            if row.image.repository and row.state.base is None and not row.state.refusal
        ),
        builds=tuple(
            n.BuildOrder(name=row.runtime.name, source=row.runtime.source, attempt=row.attempt)
            for row in builds
        ),
        autosaves=tuple(_autosave(row) for row in alive.values() if _autosaved(row)),
        quotas=tuple(_quota(row, quota) for row in alive.values() if _runs(row)),
        collectable=tuple(row.uid for row in idle if row.state.stopped_at <= idle_since),
        evictable=tuple(row.uid for row in idle),
    )


def _restores(db: sqlite3.Connection, rows: list[ProjectRow]) -> Iterator[n.RestoreOrder]:
    for row in rows:
        restore = to_restore(row.state)
        if restore is None:
            continue
        save, image = saves.find(db, row.uid, restore.seq), saves.image(db, row.uid, restore.seq)
        if save and image:
            yield n.RestoreOrder(
                order_id=restore.order_id,
                project_uid=row.uid,
                # As of the box that comes next: newer than all that was.
                generation=row.state.generation + 1,
                save=save,
                image=image,
            )


def _runs(row: ProjectRow) -> bool:
    return row.state.box is not None and row.state.box.step in _ALIVE


def _autosaved(row: ProjectRow) -> bool:
    return row.spec.autosave_minutes > 0 and _runs(row)


def _quota(row: ProjectRow, default: int) -> n.QuotaRule:
    return n.QuotaRule(
        project_uid=row.uid,
        generation=row.state.generation,
        bytes=row.spec.resources.disk_bytes or default,
    )


def _autosave(row: ProjectRow) -> n.AutosaveRule:
    return n.AutosaveRule(
        project_uid=row.uid,
        generation=row.state.generation,
        minutes=row.spec.autosave_minutes,
        when_busy=row.spec.when_busy,
    )


def _idle(db: sqlite3.Connection, node: str, alive: dict[str, ProjectRow]) -> list[ProjectRow]:
    """Stopped projects whose newest save holds all of their upper, longest stopped first."""
    kept = [(upper, alive.get(upper.project_uid)) for upper in runtimes.uppers(db, node)]
    found = [row for upper, row in kept if row and _is_idle(row, upper) and _holds(db, upper)]
    return sorted(found, key=lambda row: row.state.stopped_at)


def _is_idle(row: ProjectRow, upper: n.UpperReport) -> bool:
    return row.desired is Desired.STOPPED and row.state.box is None and not upper.in_use


def _holds(db: sqlite3.Connection, upper: n.UpperReport) -> bool:
    """Whether a save is recorded and none is under way; the node knows if the upper changed since.

    Generations are not compared: a box that changes nothing makes no save.
    """
    steps = {save.step for save in saves.of_project(db, upper.project_uid)}
    return SaveStep.RECORDED in steps and steps <= _SETTLED
