"""Tells the controller what moved, until it has heard it."""

import asyncio
from typing import TypeVar

import msgspec
import structlog

from devbox.model.errors import DevboxError
from devbox.model.nodes import (
    DiffAnswer,
    DiskAnswer,
    ForgetOrder,
    NodeOrders,
    OverQuota,
    Report,
    UpperReport,
)
from devbox.model.projects import Image
from devbox.model.runtimes import Runtime
from devbox.model.saves import SaveStep
from node_agent.faults import Fault, no_fault
from node_agent.journal import Journal, PendingSave

_log = structlog.get_logger()
_BATCH = 100
_LONGEST_WAIT_S = 5.0
_FIRST_WAIT_S = 0.2
_EVERY_S = 30.0
_KINDS = ("runtime", "prepared", "dropped", "forgotten", "refused", "diff", "disk", "full")

T = TypeVar("T")


class Reporting:
    """Owns the outbox's way to the controller."""

    def __init__(
        self, node: str, journal: Journal, controller: NodeOrders, fault: Fault = no_fault
    ) -> None:
        self._node = node
        self._fault = fault
        self._journal = journal
        self._controller = controller
        self._news = asyncio.Event()
        self._news.set()

    def changed(self) -> None:
        """There may be news."""
        self._news.set()

    def runtime(self, runtime: Runtime) -> None:
        """A runtime's state or progress changed."""
        self._journal.add_news("runtime", runtime.name, msgspec.json.encode(runtime))
        self._news.set()

    def prepared(self, project_uid: str, image: Image) -> None:
        """The image is in the project's own repository."""
        self._journal.add_news("prepared", project_uid, msgspec.json.encode(image))
        self._news.set()

    def dropped(self, project_uid: str) -> None:
        """Nothing of the project is left on this node and in the registry."""
        self._journal.add_news("dropped", project_uid)
        self._news.set()

    def forgotten(self, order: ForgetOrder) -> None:
        """The image of a save that is gone is out of the registry."""
        key = f"{order.project_uid}/{order.digest}"
        self._journal.add_news("forgotten", key, msgspec.json.encode(order))
        self._news.set()

    def compared(self, answer: DiffAnswer) -> None:
        """Two saves were compared."""
        self._journal.add_news("diff", answer.order_id, msgspec.json.encode(answer))
        self._news.set()

    def measured(self, answer: DiskAnswer) -> None:
        """The disk was measured."""
        self._journal.add_news("disk", answer.order_id, msgspec.json.encode(answer))
        self._news.set()

    def full(self, over: OverQuota) -> None:
        """A box has written all that it may."""
        self._journal.add_news("full", over.project_uid, msgspec.json.encode(over))
        self._news.set()

    def refused(self, key: str, sentence: str) -> None:
        """An order can never be carried out."""
        self._journal.add_news("refused", key, sentence.encode())
        self._news.set()

    async def run(self) -> None:
        """Until cancelled. Reports at once when something changed, and now and then anyway."""
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                async with asyncio.timeout(_EVERY_S):
                    await self._news.wait()
            except TimeoutError:
                self._news.set()
            self._news.clear()
            try:
                await self._report()
                wait_s = _FIRST_WAIT_S
            except DevboxError as error:
                _log.warning("report_failed", error=error.message)
                self._news.set()
                await asyncio.sleep(wait_s)
                wait_s = min(_LONGEST_WAIT_S, wait_s * 2)

    async def _report(self) -> None:
        saves = self._journal.unreported_saves()[:_BATCH]
        news = {kind: self._journal.news(kind) for kind in _KINDS}
        await self._controller.report(
            Report(
                node=self._node,
                uppers=self._uppers(),
                saves=tuple(row.save for row in saves),
                images=_images(saves),
                diffs=tuple(_of(DiffAnswer, value) for _, value in news["diff"]),
                disks=tuple(_of(DiskAnswer, value) for _, value in news["disk"]),
                full=tuple(_of(OverQuota, value) for _, value in news["full"]),
                dropped=tuple(key for key, _ in news["dropped"]),
                forgotten=tuple(_of(ForgetOrder, value) for _, value in news["forgotten"]),
                prepared=tuple((key, _of(Image, value)) for key, value in news["prepared"]),
                refused=tuple((key, value.decode()) for key, value in news["refused"]),
                runtimes=tuple(_of(Runtime, value) for _, value in news["runtime"]),
            )
        )
        if any(row.save.step is SaveStep.PUSHED for row in saves):
            self._fault("heard")
        self._journal.reported([row.save for row in saves])
        if any(row.save.step is SaveStep.PUSHED for row in saves):
            self._fault("recorded")
        for kind, told in news.items():
            self._journal.heard(kind, told)
        if self._journal.unreported_saves():
            self._news.set()

    def _uppers(self) -> tuple[UpperReport, ...]:
        used = {box.project_uid for box in self._journal.boxes() if box.may_write}
        return tuple(
            UpperReport(
                project_uid=upper.project_uid,
                generation=upper.generation,
                image=upper.image,
                bytes=upper.bytes,
                in_use=upper.project_uid in used,
            )
            for upper in self._journal.uppers()
        )


def _images(saves: list[PendingSave]) -> tuple[tuple[str, int, Image], ...]:
    return tuple((row.save.project_uid, row.save.seq, row.image) for row in saves if row.image)


def _of(kind: type[T], value: bytes) -> T:
    return msgspec.json.decode(value, type=kind)
