"""A node and its pods that do at once what they are told, for tests of the controller."""

import hashlib
from typing import Any

from controller.core import events as e
from controller.core.state import Box
from controller.store.projects import ProjectRow
from controller.turns import Turns
from devbox.edge.tasks import Tasks
from devbox.model import nodes as n
from devbox.model.disk import Disk
from devbox.model.projects import Image
from devbox.model.runtimes import Runtime, RuntimeState
from devbox.model.saves import Save, SaveDiff, SaveReason, SaveStep

NODE = "node-1"


def image(repository: str, mark: str = "") -> Image:
    """An image whose digest follows from its name."""
    digest = hashlib.sha256(f"{repository}{mark}".encode()).hexdigest()
    return Image(repository=repository, digest=f"sha256:{digest}", architecture="amd64")


def ready(name: str, **more: Any) -> Runtime:
    """A built runtime."""
    return Runtime(
        name=name,
        source="built-in",
        state=RuntimeState.READY,
        image=image(f"runtimes/{name}"),
        **more,
    )


class FakePods:
    """Boxes that serve as soon as they start, and are gone as soon as they stop."""

    def __init__(self, turns: Turns, tasks: Tasks) -> None:
        self._turns = turns
        self._tasks = tasks
        self.calls: list[tuple[str, str, int]] = []

    def start(self, project: ProjectRow, box: Box) -> None:
        self.calls.append(("start", project.name, box.generation))
        self._tell(project, e.BoxUp(box.generation, "10.0.0.2"), e.BoxServing(box.generation))

    def stop(self, project: ProjectRow, box: Box) -> None:
        self.calls.append(("stop", project.name, box.generation))
        self._tell(project, e.BoxGone(box.generation))

    def adopt(self, project: ProjectRow, box: Box) -> None:
        self.calls.append(("adopt", project.name, box.generation))

    def forget(self, project: ProjectRow) -> None:
        self.calls.append(("forget", project.name, 0))

    def _tell(self, project: ProjectRow, *events: e.Event) -> None:
        async def tell() -> None:
            for event in events:
                await self._turns.see(project.uid, event)

        self._tasks.start(tell(), "tell")


class FakeNode:
    """Carries every order out and reports."""

    def __init__(self, orders: n.NodeOrders) -> None:
        self._orders = orders
        self._seqs: dict[str, int] = {}
        self._done: set[str] = set()
        self.disk = Disk(
            node=NODE, total_bytes=100, free_bytes=50, low_bytes=10, high_bytes=15, floor_bytes=2
        )

    async def run(self) -> None:
        """Until cancelled."""
        await self.report(runtimes=(ready("postgres", run_image_command=True), ready("python")))
        revision = 0
        while True:
            orders = await self._orders.orders(n.AskOrders(node=NODE, revision=revision))
            revision = orders.revision
            await self.carry_out(orders)

    async def report(self, **news: Any) -> None:
        """Send a report."""
        await self._orders.report(n.Report(node=NODE, **news))

    async def carry_out(self, orders: n.Orders) -> None:
        """Answer each order by a report."""
        for build in orders.builds:
            await self.report(runtimes=(self.built(build),))
        for prepare in orders.prepares:
            copied = image(f"projects/{prepare.project_uid}")
            await self.report(prepared=((prepare.project_uid, copied),))
        for order in orders.saves:
            if order.order_id not in self._done:
                self._done.add(order.order_id)
                await self.save(order)
        for restore in orders.restores:
            if restore.order_id not in self._done:
                self._done.add(restore.order_id)
                await self.restore(restore)
        for diff in orders.diffs:
            found = SaveDiff(older=diff.older_seq, newer=diff.newer_seq)
            await self.report(diffs=(n.DiffAnswer(order_id=diff.order_id, diff=found),))
        for disk in orders.disks:
            await self.report(disks=(n.DiskAnswer(order_id=disk.order_id, disk=self.disk),))
        for drop in orders.drops:
            await self.report(dropped=(drop.project_uid,))

    def built(self, build: n.BuildOrder) -> Runtime:
        runtime = ready(build.name)
        return Runtime(
            name=build.name,
            source=build.source,
            state=RuntimeState.READY,
            image=runtime.image,
        )

    async def save(self, order: n.SaveOrder) -> None:
        """Intent, then pushed."""
        seq = self._seqs.get(order.project_uid, 0) + 1
        self._seqs[order.project_uid] = seq
        await self.report(saves=(save(order, seq, SaveStep.INTENT),))
        pushed = save(order, seq, SaveStep.PUSHED)
        stored = image(f"projects/{order.project_uid}", str(seq))
        await self.report(saves=(pushed,), images=((order.project_uid, seq, stored),))

    async def restore(self, order: n.RestoreOrder) -> None:
        """The same image under a new sequence."""
        seq = self._seqs.get(order.project_uid, 0) + 1
        self._seqs[order.project_uid] = seq
        done = restored(order, seq)
        await self.report(saves=(done,), images=((order.project_uid, seq, order.image),))


def restored(order: n.RestoreOrder, seq: int, step: SaveStep = SaveStep.PUSHED) -> Save:
    """News of a save that is restored."""
    return Save(
        project_uid=order.project_uid,
        seq=seq,
        generation=order.generation,
        reason=SaveReason.RESTORED,
        step=step,
        order_id=order.order_id,
        digest=order.image.digest,
    )


def save(order: n.SaveOrder, seq: int, step: SaveStep, **more: Any) -> Save:
    """News of the save that an order asked for."""
    digest = image(f"projects/{order.project_uid}", str(seq)).digest
    reason: SaveReason = order.reason
    return Save(
        project_uid=order.project_uid,
        seq=seq,
        generation=order.generation,
        reason=reason,
        step=step,
        order_id=order.order_id,
        digest=digest if step in {SaveStep.PUSHED, SaveStep.RECORDED} else "",
        **more,
    )
