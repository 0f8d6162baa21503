"""The loop, with fakes of the other rooms: what is ordered is made, told, and survives."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from pathlib import Path

import msgspec
import pytest

from devbox.edge.tasks import Tasks
from devbox.model.disk import Disk
from devbox.model.errors import NotFound, Unavailable
from devbox.model.nodes import (
    AskOrders,
    AutosaveRule,
    BoxKey,
    BoxRecord,
    BuildOrder,
    DiffOrder,
    DiskOrder,
    DropOrder,
    ForgetOrder,
    NodeOrders,
    Orders,
    PrepareOrder,
    Report,
    RestoreOrder,
    SaveOrder,
)
from devbox.model.orchestrator import Nothing
from devbox.model.projects import Image, WhenBusy
from devbox.model.runtimes import Runtime, RuntimeState
from devbox.model.saves import Save, SaveDiff, SaveReason, SaveStep, UpperState
from node_agent.agent.observing import observe
from node_agent.agent.orders import Ordered, Parts
from node_agent.agent.parts import CannotRelease, Progress, SavedImage, SaveWork
from node_agent.agent.reporting import Reporting
from node_agent.agent.saving import Saving, autosave
from node_agent.collector.sweeping import Sweeping
from node_agent.journal import Box, Journal, Upper

IMAGE = Image(repository="runtimes/python", digest="sha256:" + "a" * 64, architecture="amd64")
MADE = msgspec.structs.replace(IMAGE, repository="projects/p1", digest="sha256:" + "c" * 64)
OLD = msgspec.structs.replace(MADE, digest="sha256:" + "0d" * 32)
UPPER = Upper(
    project_uid="p1",
    path="/u/p1/fs",
    image=IMAGE,
    chain_id="x",
    generation=1,
    state=UpperState.CLEAN,
)


class Controller(NodeOrders):
    """Gives orders and keeps what is reported."""

    def __init__(self) -> None:
        self.orders_now = Orders(revision=1)
        self.changed = asyncio.Event()
        self.reports: list[Report] = []
        self.heard = asyncio.Condition()
        self.down = False

    async def box(self, request: BoxKey) -> BoxRecord:
        raise NotImplementedError

    async def orders(self, request: AskOrders) -> Orders:
        if request.revision == self.orders_now.revision:
            self.changed.clear()
            await self.changed.wait()
        return self.orders_now

    def order(self, **facts: object) -> None:
        self.orders_now = msgspec.structs.replace(
            Orders(revision=self.orders_now.revision + 1), **facts
        )
        self.changed.set()

    async def report(self, request: Report) -> Nothing:
        if self.down:
            raise Unavailable("the controller does not answer")
        async with self.heard:
            self.reports.append(request)
            self.heard.notify_all()
        return Nothing()

    async def until(self, seen: Callable[[Report], bool]) -> Report:
        async with asyncio.timeout(10), self.heard:
            while True:
                for report in self.reports:
                    if seen(report):
                        return report
                await self.heard.wait()


class Rooms:
    """Writer, uppers, containers and builder that note what they are asked."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.asked: list[str] = []
        self.running: dict[str, bool] = {}
        self.broken = 0
        self.unchanged = False
        self.partial = False
        self.lost: set[str] = set()
        self.may_release = True
        self.entered = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def save(
        self, work: SaveWork, on_step: Callable[[SaveStep], None], progress: Progress
    ) -> SavedImage:
        self.asked.append(f"save {work.seq} {work.cgroup}")
        self.entered.set()
        await self.may_go_on.wait()
        if self.broken:
            self.broken -= 1
            raise Unavailable("the registry is down")
        if work.tags and not self.may_release:
            raise CannotRelease("a secret lies below")
        progress(1, 2)
        if not self.unchanged:
            on_step(SaveStep.WRITTEN)
        return SavedImage(
            image=MADE,
            changed=not self.unchanged,
            layers=1,
            new_bytes=5,
            total_bytes=5,
            upper_bytes=7,
            partial=self.partial and bool(work.tags),
        )

    async def tag(self, image: Image, tags: tuple[str, ...]) -> None:
        self.asked.append(f"tag {image.digest[7:9]} {tags}")

    async def confirm(self, image: Image) -> None:
        if image.digest in self.lost:
            raise NotFound("the registry has lost a layer")

    async def copy(self, image: Image, repository: str, tag: str) -> Image:
        self.asked.append(f"copy {repository} {tag}")
        return msgspec.structs.replace(image, repository=repository)

    async def forget(self, project_uid: str, digest: str) -> None:
        self.asked.append(f"forget {project_uid} {digest[7:9]}")

    async def compare(self, order: DiffOrder) -> SaveDiff:
        self.asked.append(f"compare {order.older_seq} {order.newer_seq}")
        if self.broken:
            raise Unavailable("the registry is down")
        return SaveDiff(older=order.older_seq, newer=order.newer_seq, added=1)

    async def drop(self, project_uid: str) -> None:
        self.asked.append(f"drop {project_uid}")

    async def remove(self, project_uid: str) -> None:
        self.asked.append(f"remove {project_uid}")
        self.journal.forget_upper(project_uid)

    async def collect(self, project_uid: str) -> None:
        await self.remove(project_uid)

    async def live(self) -> Mapping[str, bool]:
        return self.running

    async def cgroup(self, container_id: str) -> Path | None:
        return Path("/cg") / container_id if self.running.get(container_id) else None

    async def idle(self) -> None:
        self.asked.append("idle")

    async def unused_images(self, kept: Collection[str]) -> list[str]:
        return []

    async def remove_image(self, digest: str) -> None:
        self.asked.append(f"remove {digest}")

    async def first_process(self, container_id: str) -> int | None:
        return None

    async def forget_images(self, repository: str) -> None:
        self.asked.append(f"forget {repository}")

    async def disk(self) -> Disk:
        self.asked.append("disk")
        if self.broken:
            raise Unavailable("a tree could not be read")
        return Disk(
            node="n1", total_bytes=9, free_bytes=3, low_bytes=2, high_bytes=3, floor_bytes=1
        )

    async def known(self) -> list[Runtime]:
        return []

    async def build(self, order: BuildOrder, progress: Callable[[float, str], None]) -> Runtime:
        progress(0.5, "half")
        if order.name == "bad":
            raise Unavailable("no package source answers", "Try again")
        return Runtime(name=order.name, source=order.source, state=RuntimeState.READY, image=IMAGE)


class Node:
    """The loop with its fakes."""

    def __init__(self, journal: Journal, registry: Path) -> None:
        self.journal = journal
        self.repositories = registry / "docker/registry/v2/repositories"
        self.controller = Controller()
        self.rooms = Rooms(journal)
        self.reporting = Reporting("n1", journal, self.controller)
        self.saving = Saving(journal, self.rooms, self.rooms, self.rooms, self.reporting.changed)
        parts = Parts(
            writer=self.rooms,
            uppers=self.rooms,
            containers=self.rooms,
            data=registry,
            builder=self.rooms,
            sweeping=Sweeping(registry),
            meter=self.rooms,
        )
        self.ordered = Ordered(journal, parts, self.saving, self.reporting)

    async def saved(self, seq: int, step: SaveStep) -> Save:
        def seen(report: Report) -> bool:
            return any(s.seq == seq and s.step is step for s in report.saves)

        report = await self.controller.until(seen)
        return next(s for s in report.saves if s.seq == seq and s.step is step)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    journal = Journal.open(tmp_path / "journal.db")
    made = Node(journal, tmp_path / "registry")
    async with Tasks("node") as tasks:
        tasks.start(made.saving.run(), "saving", vital=True)
        tasks.start(made.reporting.run(), "reporting", vital=True)
        tasks.start(made.ordered.run("n1", made.controller), "orders", vital=True)
        yield made
    assert tasks.error is None
    journal.close()


def save_order(order_id: str, tags: tuple[str, ...] = ()) -> SaveOrder:
    return SaveOrder(
        order_id=order_id,
        project_uid="p1",
        generation=1,
        reason=SaveReason.ASKED,
        when_busy=WhenBusy.RETRY,
        tags=tags,
    )


async def test_an_order_becomes_a_recorded_save(node: Node) -> None:
    node.journal.put_upper(UPPER)
    node.journal.link_box(Box("c1", "s1", "pod1", "p1", 1))
    node.rooms.running["c1"] = True
    node.controller.order(saves=(save_order("o1"),))
    save = await node.saved(1, SaveStep.RECORDED)
    assert (save.order_id, save.digest, save.new_bytes) == ("o1", MADE.digest, 5)
    assert node.rooms.asked == ["save 1 /cg/c1"]
    pushed = await node.controller.until(lambda report: bool(report.images))
    assert pushed.images == (("p1", 1, MADE),)


async def test_a_box_that_ends_while_it_is_saved_is_saved_again(node: Node) -> None:
    node.journal.put_upper(UPPER)
    node.journal.link_box(Box("c1", "s1", "pod1", "p1", 1))
    node.rooms.running["c1"] = True
    node.rooms.may_go_on.clear()
    node.journal.want_save("p1", generation=1, reason=SaveReason.AUTOSAVE, now=1.0)
    node.saving.kick()
    await node.rooms.entered.wait()
    node.journal.box_ended("c1")
    assert not node.journal.want_save("p1", generation=1, reason=SaveReason.STOPPED, now=2.0)
    node.rooms.may_go_on.set()
    await node.saved(1, SaveStep.RECORDED)
    assert (await node.saved(2, SaveStep.RECORDED)).reason is SaveReason.STOPPED
    upper = node.journal.upper("p1")
    assert upper is not None
    assert not upper.dirty


async def test_the_shims_save_is_made_and_what_did_not_change_is_no_save(node: Node) -> None:
    node.journal.put_upper(UPPER)
    node.journal.link_box(Box("c1", "s1", "pod1", "p1", 1))
    node.journal.box_ended("c1")
    node.journal.want_save("p1", generation=1, reason=SaveReason.STOPPED, now=1.0)
    node.saving.kick()
    await node.saved(1, SaveStep.RECORDED)
    upper = node.journal.upper("p1")
    assert upper is not None
    assert (upper.dirty, upper.bytes) == (False, 7)
    node.rooms.unchanged = True
    node.journal.link_box(Box("c2", "s2", "pod2", "p1", 2))
    node.journal.want_save("p1", generation=2, reason=SaveReason.STOPPED, now=2.0)
    node.saving.kick()
    assert "nothing changed" in (await node.saved(2, SaveStep.DROPPED)).note


async def test_a_running_box_is_saved_by_the_clock_and_unchanged_it_is_no_save(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node_agent.agent.saving._AUTOSAVE_LOOK_S", 0.01)
    node.journal.put_upper(UPPER)
    node.journal.link_box(Box("c1", "s1", "pod1", "p1", 1))
    node.rooms.running["c1"] = True
    rule = AutosaveRule(project_uid="p1", generation=1, minutes=1, when_busy=WhenBusy.RETRY)
    rules = [msgspec.structs.replace(rule, minutes=1e-4)]
    async with Tasks("clock") as clock:
        clock.start(autosave(node.journal, lambda: rules, node.saving.kick), "autosave")
        assert (await node.saved(1, SaveStep.RECORDED)).reason is SaveReason.AUTOSAVE
        node.rooms.unchanged = True
        quiet = await node.controller.until(
            lambda report: any(save.step is SaveStep.DROPPED for save in report.saves)
        )
        (dropped,) = [save for save in quiet.saves if save.step is SaveStep.DROPPED]
        assert dropped.note == "nothing changed since the save before"


async def test_a_registry_that_is_down_costs_a_try_and_no_file(node: Node) -> None:
    node.rooms.broken = 1
    node.journal.put_upper(UPPER)
    node.controller.order(saves=(save_order("o1"),))
    failed = await node.saved(1, SaveStep.FAILED)
    assert "registry is down; the files are kept" in failed.note
    assert (await node.saved(1, SaveStep.RECORDED)).digest == MADE.digest


async def test_without_an_upper_the_head_gets_the_tags_or_the_order_is_refused(node: Node) -> None:
    node.controller.order(saves=(save_order("o1"),))
    report = await node.controller.until(lambda report: bool(report.refused))
    assert report.refused == (("o1", "this node keeps no files of the project, and no save of it"),)
    node.journal.put_upper(UPPER)
    node.controller.order(saves=(save_order("o2"),))
    await node.saved(2, SaveStep.RECORDED)
    node.journal.forget_upper("p1")
    node.controller.order(saves=(save_order("o3", ("release-v1",)),))
    assert (await node.saved(3, SaveStep.RECORDED)).digest == MADE.digest
    assert node.rooms.asked[-1] == "tag cc ('release-v1',)"


def restore_order(order_id: str) -> RestoreOrder:
    old = Save(
        project_uid="p1",
        seq=1,
        generation=1,
        reason=SaveReason.ASKED,
        step=SaveStep.RECORDED,
        layers=3,
        total_bytes=9,
    )
    return RestoreOrder(order_id=order_id, project_uid="p1", generation=2, save=old, image=OLD)


async def test_a_restore_saves_first_then_gives_the_upper_up(node: Node) -> None:
    node.journal.put_upper(UPPER)
    node.journal.link_box(Box("c1", "s1", "pod1", "p1", 1))
    node.journal.box_ended("c1")
    node.controller.order(restores=(restore_order("r1"),))
    restored = await node.saved(1, SaveStep.RECORDED)
    assert (restored.reason, restored.generation) == (SaveReason.RESTORED, 2)
    assert (restored.digest, restored.layers, restored.total_bytes) == (OLD.digest, 3, 9)
    assert node.rooms.asked == ["save 2 None", "tag 0d ('save-1',)", "remove p1"]
    reports = node.controller.reports
    kept = next(i for i, r in enumerate(reports) if any(s.seq == 2 and s.digest for s in r.saves))
    assert reports[kept].uppers != ()
    assert reports[-1].uppers == ()
    assert any(("p1", 1, OLD) in report.images for report in reports)
    node.controller.order(restores=(restore_order("r1"),), saves=(save_order("o2", ("x",)),))
    assert (await node.saved(3, SaveStep.RECORDED)).digest == OLD.digest


async def test_a_restore_waits_while_the_present_files_cannot_be_saved(node: Node) -> None:
    node.rooms.broken = 1
    node.journal.put_upper(msgspec.structs.replace(UPPER, state=UpperState.DIRTY))
    node.controller.order(restores=(restore_order("r1"),))
    await node.saved(2, SaveStep.FAILED)
    assert node.rooms.asked == ["save 2 None"]
    await node.saved(1, SaveStep.RECORDED)
    assert node.rooms.asked == ["save 2 None", "save 2 None", "tag 0d ('save-1',)", "remove p1"]


async def test_a_restore_of_an_image_that_is_gone_changes_nothing(node: Node) -> None:
    async def tag(image: Image, tags: tuple[str, ...]) -> None:
        raise NotFound("the registry has no such manifest")

    node.rooms.tag = tag  # type: ignore[method-assign]
    node.journal.put_upper(UPPER)
    node.controller.order(restores=(restore_order("r1"),))
    dropped = await node.saved(1, SaveStep.DROPPED)
    assert "its image is gone" in dropped.note
    assert node.journal.upper("p1") == UPPER


async def test_a_comparison_is_answered_once_also_when_it_fails(node: Node) -> None:
    def question(order_id: str) -> DiffOrder:
        return DiffOrder(
            order_id=order_id,
            older_seq=1,
            newer_seq=2,
            older=OLD,
            newer=MADE,
            after="",
            limit=5,
        )

    node.controller.order(diffs=(question("d1"),))
    report = await node.controller.until(lambda report: bool(report.diffs))
    assert report.diffs[0].diff == SaveDiff(older=1, newer=2, added=1)
    node.rooms.broken = 1
    node.controller.reports.clear()
    node.controller.order(diffs=(question("d1"), question("d2")))
    report = await node.controller.until(lambda report: bool(report.diffs))
    (answer,) = report.diffs
    assert (answer.order_id, answer.diff, answer.failure) == ("d2", None, "the registry is down")
    assert node.rooms.asked == ["compare 1 2"] * 2


async def test_the_disk_is_measured_when_somebody_asks(node: Node) -> None:
    node.controller.order(disks=(DiskOrder(order_id="m1"),))
    report = await node.controller.until(lambda report: bool(report.disks))
    (answer,) = report.disks
    assert answer.order_id == "m1"
    assert answer.disk is not None
    assert answer.disk.free_bytes == 3
    node.rooms.broken = 1
    node.controller.reports.clear()
    node.controller.order(disks=(DiskOrder(order_id="m2"),))
    report = await node.controller.until(lambda report: bool(report.disks))
    assert report.disks[0].failure == "a tree could not be read"


async def test_a_controller_that_is_away_hears_everything_later(node: Node) -> None:
    node.controller.down = True
    node.journal.put_upper(UPPER)
    node.journal.take_order(save_order("o1"), 1.0)
    node.saving.kick()
    await asyncio.sleep(0)
    node.controller.down = False
    await node.saved(1, SaveStep.RECORDED)


async def test_drop_waits_for_the_box_then_leaves_nothing(node: Node) -> None:
    node.journal.put_upper(UPPER)
    node.journal.link_box(Box("c1", "s1", "pod1", "p1", 1))
    for uid in ("p1", "p2"):
        (node.repositories / f"projects/{uid}/_layers").mkdir(parents=True)
    node.controller.order(drops=(DropOrder(project_uid="p1"),))
    report = await node.controller.until(lambda report: bool(report.dropped))
    assert report.dropped == ("p1",)
    assert node.rooms.asked == ["remove p1", "drop p1", "forget projects/p1"]
    assert node.journal.uppers() == []
    assert list(node.repositories.glob("projects/*")) == [node.repositories / "projects/p2"]


async def test_after_a_release_that_lacks_files_the_upper_is_saved_again(node: Node) -> None:
    node.journal.put_upper(UPPER)
    node.rooms.partial = True
    node.controller.order(saves=(save_order("o1", ("release-v1",)),))
    await node.saved(1, SaveStep.RECORDED)
    assert (await node.saved(2, SaveStep.RECORDED)).reason is SaveReason.STOPPED
    upper = node.journal.upper("p1")
    assert upper is not None
    assert not upper.dirty


async def test_a_release_that_cannot_be_is_refused_and_nothing_is_lost(node: Node) -> None:
    node.journal.put_upper(UPPER)
    node.rooms.may_release = False
    node.controller.order(saves=(save_order("o1", ("release-v1",)),))
    report = await node.controller.until(lambda report: bool(report.refused))
    assert report.refused == (("o1", "a secret lies below"),)
    assert (await node.saved(1, SaveStep.DROPPED)).note == "a secret lies below"
    assert (await node.saved(2, SaveStep.RECORDED)).reason is SaveReason.STOPPED


def tells(order: ForgetOrder) -> Callable[[Report], bool]:
    return lambda report: order in report.forgotten


async def test_an_image_is_forgotten_once_no_save_runs_and_never_if_it_is_needed(
    node: Node,
) -> None:
    old = ForgetOrder(project_uid="p1", digest="sha256:" + "b" * 64, seq=1)
    node.journal.put_upper(UPPER)
    node.rooms.may_go_on.clear()
    node.controller.order(saves=(save_order("o1"),), forgets=(old,))
    await node.rooms.entered.wait()
    assert node.rooms.asked == ["save 1 None"]
    node.rooms.may_go_on.set()
    report = await node.controller.until(lambda report: bool(report.forgotten))
    assert report.forgotten == (old,)
    assert node.rooms.asked == ["save 1 None", "forget p1 bb"]
    for digest in (MADE.digest, IMAGE.digest):
        needed = ForgetOrder(project_uid="p1", digest=digest, seq=1)
        node.controller.order(forgets=(needed,))
        await node.controller.until(tells(needed))
    assert node.rooms.asked == ["save 1 None", "forget p1 bb"]


async def test_prepare_and_build(node: Node) -> None:
    node.controller.order(
        prepares=(PrepareOrder(project_uid="p1", image=IMAGE),),
        builds=(
            BuildOrder(name="good", source="built-in", attempt=1),
            BuildOrder(name="bad", source="built-in", attempt=1),
        ),
    )
    prepared = await node.controller.until(lambda report: bool(report.prepared))
    assert prepared.prepared[0][1].repository == "projects/p1"

    def told(name: str, state: RuntimeState) -> Callable[[Report], bool]:
        return lambda report: any(r.name == name and r.state is state for r in report.runtimes)

    await node.controller.until(told("good", RuntimeState.READY))
    report = await node.controller.until(told("bad", RuntimeState.FAILED))
    failed = next(r for r in report.runtimes if r.name == "bad")
    assert failed.message == "no package source answers. Try again"


async def test_only_what_is_recorded_and_unused_is_given_back(node: Node) -> None:
    node.journal.put_upper(UPPER)
    node.journal.link_box(Box("c1", "s1", "pod1", "p1", 1))
    node.controller.order(collectable=("p1",))
    node.journal.take_order(save_order("o1"), 1.0)
    node.saving.kick()
    await node.saved(1, SaveStep.RECORDED)
    node.ordered.take(msgspec.structs.replace(node.controller.orders_now, collectable=("p1",)))
    node.journal.box_ended("c1")
    node.journal.forget_box("c1")
    node.journal.take_order(save_order("o2"), 1.0)
    node.saving.kick()
    await node.saved(2, SaveStep.RECORDED)
    assert not any(asked.startswith("remove") for asked in node.rooms.asked)
    node.controller.reports.clear()
    node.controller.order(collectable=("p1",))
    await node.controller.until(lambda report: report.uppers == ())
    assert node.rooms.asked[-1] == "remove p1"


async def test_an_upper_stays_and_is_saved_again_when_the_registry_lost_its_save(
    node: Node,
) -> None:
    node.journal.put_upper(UPPER)
    node.journal.take_order(save_order("o1"), 1.0)
    node.saving.kick()
    await node.saved(1, SaveStep.RECORDED)
    node.rooms.lost = {MADE.digest}
    node.controller.order(collectable=("p1",))
    again = await node.saved(2, SaveStep.RECORDED)
    assert again.reason is SaveReason.REMOVED
    assert node.journal.upper("p1") is not None
    assert "remove p1" not in node.rooms.asked
    node.controller.reports.clear()
    node.rooms.lost = set()
    await node.controller.until(lambda report: report.uppers == ())
    assert node.rooms.asked[-1] == "remove p1"


def test_what_ended_behind_everybodys_back_is_saved(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.db")
    journal.put_upper(UPPER)
    journal.link_box(Box("c1", "s1", "pod1", "p1", 1))
    assert not observe(journal, journal.boxes(), {"c1": True}, 1.0)
    assert observe(journal, journal.boxes(), {"c1": False}, 1.0)
    assert not observe(journal, journal.boxes(), {"c1": False}, 1.0)
    (row,) = journal.open_saves()
    assert row.save.reason is SaveReason.CRASHED
    assert journal.boxes() != []
    assert not observe(journal, journal.boxes(), {}, 1.0)
    assert journal.boxes() == []
    journal.close()


async def test_what_is_being_deleted_is_saved_no_more(node: Node) -> None:
    node.rooms.running["c1"] = True
    node.journal.put_upper(UPPER)
    node.journal.link_box(Box("c1", "s1", "pod1", "p1", 1))
    node.ordered.take(Orders(revision=9, drops=(DropOrder(project_uid="p1"),)))
    node.journal.want_save("p1", generation=1, reason=SaveReason.STOPPED, now=1.0)
    node.saving.kick()
    node.rooms.running["c1"] = False
    await node.controller.until(lambda report: bool(report.dropped))
    assert node.rooms.asked == ["remove p1", "drop p1", "forget projects/p1"]
