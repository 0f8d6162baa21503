"""Orders and reports: what a node is told, and what its news changes."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from controller.calls.nodes import gather
from controller.calls.questions import Questions
from controller.store import projects, runtimes, saves
from devbox.edge.layout import ServerSettings
from devbox.model import nodes as n
from devbox.model import orchestrator as o
from devbox.model.disk import Disk, ProjectDisk
from devbox.model.errors import BadInput, Conflict, DevboxError, NoSpace, NotFound, Unavailable
from devbox.model.projects import Desired, Phase, Project, ProjectSpec, Resources
from devbox.model.runtimes import Runtime, RuntimeState
from devbox.model.saves import Save, SaveReason, SaveStep
from tests.controller.contract import KEY, create, until, until_gone, until_phase
from tests.support.controller import House, open_house
from tests.support.node import NODE, image, ready, restored, save


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = await open_house(tmp_path)
    await report(
        house, runtimes=(ready("python", ports=(8000,)), ready("db", run_image_command=True))
    )
    yield house
    await house.close()


async def report(house: House, **news: Any) -> None:
    await house.nodes.report(n.Report(node=NODE, **news))


async def orders(house: House, revision: int = 0, wait_s: float = 0.0) -> n.Orders:
    return await house.nodes.orders(n.AskOrders(node=NODE, revision=revision, wait_s=wait_s))


async def running(house: House, **spec: Any) -> Project:
    """A project whose box serves."""
    made = await create(house.orchestrator, start=True, **spec)
    await report(house, prepared=((made.project.uid, image(f"projects/{made.project.uid}")),))
    return await until_phase(house.orchestrator, Phase.RUNNING)


async def ask(house: House, **more: Any) -> n.SaveOrder:
    await house.orchestrator.ask_save(o.AskSave(namespace="team", name="hello", **more))
    return (await orders(house)).saves[-1]


async def pushed(house: House, order: n.SaveOrder, seq: int, **more: Any) -> Save:
    done = save(order, seq, SaveStep.PUSHED, **more)
    stored = image(f"projects/{order.project_uid}", str(seq))
    await report(house, saves=(done,), images=((order.project_uid, seq, stored),))
    return (await house.orchestrator.list_saves(KEY)).saves[0]


async def head(house: House) -> int:
    return (await house.orchestrator.get_project(KEY)).status.head_seq


async def test_a_ready_runtime_is_copied_first_and_then_the_box_starts(house: House) -> None:
    made = await create(house.orchestrator, start=True)
    assert made.project.status.phase is Phase.PREPARING
    assert made.project.spec.ports[0].port == 8000
    (prepare,) = (await orders(house)).prepares
    assert prepare.image == image("runtimes/python")
    await report(house, prepared=((prepare.project_uid, image("projects/copy")),))
    await until_phase(house.orchestrator, Phase.RUNNING)
    told = await orders(house)
    assert told.prepares == ()
    assert [rule.project_uid for rule in told.autosaves] == [made.project.uid]
    record = await house.nodes.box(n.BoxKey(pod_uid=await pod(house)))
    assert record.image == image("projects/copy")
    assert (record.generation, record.start.generation) == (1, 1)
    assert record.start.upper_nonce == ""


async def pod(house: House) -> str:
    return (await house.orchestrator.get_project(KEY)).status.pod_uid


async def test_a_runtime_that_is_not_built_is_ordered_and_its_progress_is_told(
    house: House,
) -> None:
    await report(house, runtimes=(Runtime(name="go", source="built-in", title="Go"),))
    assert (await orders(house)).builds == ()
    made = await create(house.orchestrator, start=True, runtime="go")
    assert made.project.image.repository == ""
    (build,) = (await orders(house)).builds
    assert (build.name, build.source, build.attempt) == ("go", "built-in", 1)
    half = Runtime(
        name="go", source="built-in", state=RuntimeState.BUILDING, progress=0.4, message="unpacking"
    )
    await report(house, runtimes=(half,))
    status = (await house.orchestrator.get_project(KEY)).status
    assert status.phase is Phase.PREPARING
    assert "40%" in status.message
    assert "unpacking" in status.message
    await report(house, runtimes=(ready("go", run_image_command=True),))
    told = await orders(house)
    assert told.builds == ()
    assert [prepare.image for prepare in told.prepares] == [image("runtimes/go")]
    assert (await house.orchestrator.get_project(KEY)).spec.run_image_command


async def test_a_recipe_that_changed_is_built_by_the_next_project(house: House) -> None:
    changed = Runtime(name="python", source="built-in", title="Python, newer")
    await report(house, runtimes=(changed,))
    shown = {
        one.name: one for one in (await house.orchestrator.list_runtimes(o.Nothing())).runtimes
    }
    assert shown["python"] == changed
    await create(house.orchestrator, start=True)
    (build,) = (await orders(house)).builds
    assert build.name == "python"
    await report(house, runtimes=(changed,))
    assert (await orders(house)).builds == (build,)


async def test_a_failed_build_fails_the_project_and_a_start_tries_again(house: House) -> None:
    await create(house.orchestrator, start=True, runtime="image:registry.example/tool:1")
    (build,) = (await orders(house)).builds
    assert build.source == "registry.example/tool:1"
    failed = Runtime(
        name=build.name,
        source=build.source,
        state=RuntimeState.FAILED,
        message="The registry does not know it.",
    )
    await report(house, runtimes=(failed,))
    status = (await house.orchestrator.get_project(KEY)).status
    assert status.phase is Phase.FAILED
    assert "does not know it" in status.message
    assert (await orders(house)).builds == ()
    await house.orchestrator.start_project(KEY)
    (again,) = (await orders(house)).builds
    assert again.attempt == build.attempt + 1


async def test_an_image_for_another_machine_is_refused_in_words(house: House) -> None:
    foreign = replace(image("runtimes/arm"), architecture="arm64")
    runtime = Runtime(name="arm", source="built-in", state=RuntimeState.READY, image=foreign)
    await report(house, runtimes=(runtime,))
    with pytest.raises(BadInput, match="arm64"):
        await create(house.orchestrator, runtime="arm")
    await create(house.orchestrator, start=True, runtime="image:registry.example/arm:1")
    (build,) = (await orders(house)).builds
    await report(house, runtimes=(replace(runtime, name=build.name, source=build.source),))
    status = (await house.orchestrator.get_project(KEY)).status
    assert status.phase is Phase.FAILED
    assert "arm64" in status.message


async def test_no_runtime_is_known_before_a_node_reported(tmp_path: Path) -> None:
    house = await open_house(tmp_path / "other")
    with pytest.raises(Unavailable):
        await create(house.orchestrator)
    await house.close()


async def test_databases_run_their_images_command(house: House) -> None:
    made = await create(house.orchestrator, runtime="db")
    assert made.project.spec.run_image_command


async def test_a_pod_that_nobody_recorded_is_no_box(house: House) -> None:
    for uid in ("", "x", "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(NotFound):
            await house.nodes.box(n.BoxKey(pod_uid=uid))


async def test_orders_wait_until_there_are_new_ones(house: House) -> None:
    first = await orders(house)
    waiting = asyncio.get_running_loop().create_task(orders(house, first.revision, 20.0))
    await asyncio.sleep(0)
    await create(house.orchestrator)
    async with asyncio.timeout(5):
        told = await waiting
    assert told.revision != first.revision
    assert len(told.prepares) == 1
    assert await orders(house, told.revision) == told


async def test_an_asked_save_is_ordered_until_it_is_recorded(house: House) -> None:
    await running(house)
    order = await ask(house)
    await report(house, saves=(save(order, 1, SaveStep.INTENT),))
    await report(house, saves=(save(order, 1, SaveStep.WRITTEN, done_bytes=5),))
    assert (await orders(house)).saves == (order,)
    # Pushed, but its image's description got lost on the way.
    await report(house, saves=(save(order, 1, SaveStep.PUSHED),))
    assert (await orders(house)).saves == (order,)
    assert await head(house) == 0
    await report(house, images=((order.project_uid, 1, image("projects/x")),))
    assert (await orders(house)).saves == ()
    assert await head(house) == 1
    (stored,) = (await house.orchestrator.list_saves(KEY)).saves
    assert stored.step is SaveStep.RECORDED


@pytest.mark.parametrize("late", [SaveStep.INTENT, SaveStep.FAILED, SaveStep.PUSHED])
async def test_late_news_does_not_take_a_record_back(house: House, late: SaveStep) -> None:
    await running(house)
    order = await ask(house)
    recorded = await pushed(house, order, 1)
    await report(house, saves=(save(order, 1, late),))
    assert (await house.orchestrator.list_saves(KEY)).saves == (recorded,)
    assert await head(house) == 1


async def test_a_save_of_a_node_that_came_back_is_never_the_head(house: House) -> None:
    await running(house)
    first = await ask(house)
    await pushed(house, first, 1)
    # The upper is gone, so the second box begins anew from the save.
    await house.orchestrator.stop_project(KEY)
    await until_phase(house.orchestrator, Phase.STOPPED)
    await report(house, uppers=())
    await house.orchestrator.start_project(KEY)
    await until_phase(house.orchestrator, Phase.RUNNING)
    record = await house.nodes.box(n.BoxKey(pod_uid=await pod(house)))
    assert record.image == image(f"projects/{record.project_uid}", "1")
    # What the left-behind node pushes now, is of the older box.
    stray = replace(first, order_id="")
    stored = await pushed(house, stray, 9)
    assert (stored.seq, stored.reason) == (9, SaveReason.RECOVERY)
    assert await head(house) == 1


async def test_a_save_that_was_joined_with_a_newer_one_settles_its_order(house: House) -> None:
    await running(house)
    first, second = await ask(house), await ask(house)
    await report(house, saves=(save(first, 1, SaveStep.INTENT),))
    await report(house, saves=(save(first, 1, SaveStep.DROPPED),))
    assert len((await orders(house)).saves) == 2
    await pushed(house, second, 2)
    assert (await orders(house)).saves == ()


async def test_a_save_that_nobody_asked_for_and_that_came_to_nothing_is_not_listed(
    house: House,
) -> None:
    project = await running(house)
    stopped = Save(
        project_uid=project.uid,
        seq=1,
        generation=1,
        reason=SaveReason.STOPPED,
        step=SaveStep.INTENT,
    )
    await report(house, saves=(stopped,))
    assert (await house.orchestrator.list_saves(KEY)).saves == (stopped,)
    for _ in range(2):
        await report(house, saves=(replace(stopped, step=SaveStep.DROPPED),))
        assert (await house.orchestrator.list_saves(KEY)).saves == ()


async def release(house: House, version: str = "v1") -> asyncio.Task[Any]:
    make = o.MakeRelease(namespace="team", name="hello", version=version, notes="n")

    async def run() -> Any:
        try:
            return await house.orchestrator.make_release(make)
        except DevboxError as error:
            return error

    task = asyncio.get_running_loop().create_task(run())

    async def reserved() -> bool:
        return task.done() or bool(saves.orders(house.db.reader))

    await until(house.orchestrator, reserved)
    return task


async def test_a_release_waits_for_its_save_and_keeps_its_version_meanwhile(
    house: House,
) -> None:
    await running(house)
    making = await release(house)
    with pytest.raises(Conflict):
        await house.orchestrator.make_release(
            o.MakeRelease(namespace="team", name="hello", version="v1")
        )
    assert (await house.orchestrator.list_releases(KEY)).releases == ()
    (order,) = (await orders(house)).saves
    assert (order.tags, order.reason) == (("release-v1",), SaveReason.RELEASE)
    stored = await pushed(house, order, 1, total_bytes=77)
    made = await making
    assert (made.save_seq, made.digest, made.total_bytes) == (1, stored.digest, 77)
    assert (await house.orchestrator.list_releases(KEY)).releases == (made,)


async def test_a_release_goes_on_when_nobody_waits_and_over_a_restart(
    house: House, tmp_path: Path
) -> None:
    await running(house)
    making = await release(house)
    making.cancel()
    await house.close()
    again = await open_house(tmp_path)
    (order,) = (await orders(again)).saves
    await pushed(again, order, 1)
    (made,) = (await again.orchestrator.list_releases(KEY)).releases
    assert (made.version, made.notes) == ("v1", "n")
    assert again.pods.calls == [("adopt", "hello", 1)]
    await again.close()


async def test_whoever_waits_is_answered_when_the_controller_ends(house: House) -> None:
    await running(house)
    making = await release(house)
    begun = await house.orchestrator.watch(o.Watch(revision=0))
    told = await orders(house)
    loop = asyncio.get_running_loop()
    watching = loop.create_task(house.orchestrator.watch(o.Watch(revision=begun.revision)))
    waiting = loop.create_task(orders(house, told.revision, 20.0))
    await asyncio.sleep(0)
    house.db.end_waiting()
    async with asyncio.timeout(2):
        assert (await watching).projects == ()
        assert await waiting == told
        assert isinstance(await making, Unavailable)


async def test_a_refused_release_frees_its_version(house: House) -> None:
    await running(house)
    making = await release(house)
    (order,) = (await orders(house)).saves
    await report(house, refused=((order.order_id, "The upper is broken."),))
    error = await making
    assert isinstance(error, Conflict)
    assert error.message == "The upper is broken."
    assert (await orders(house)).saves == ()
    making = await release(house)
    (order,) = (await orders(house)).saves
    await pushed(house, order, 1)
    assert (await making).version == "v1"


async def test_a_stopped_project_without_an_upper_is_released_from_its_head(
    house: House,
) -> None:
    await running(house)
    await pushed(house, await ask(house), 1)
    await house.orchestrator.stop_project(KEY)
    await until_phase(house.orchestrator, Phase.STOPPED)
    await report(house, uppers=())
    with pytest.raises(Conflict):
        await house.orchestrator.ask_save(o.AskSave(namespace="team", name="hello"))
    making = await release(house)
    (order,) = (await orders(house)).saves
    await pushed(house, order, 2)
    assert (await making).save_seq == 2


async def test_a_deleted_project_goes_only_when_the_node_says_so(house: House) -> None:
    project = await running(house)
    await ask(house)
    await report(house, dropped=(project.uid,))
    await house.orchestrator.delete_project(KEY)

    async def ordered() -> bool:
        return bool((await orders(house)).drops)

    await until(house.orchestrator, ordered)
    told = await orders(house)
    assert told.drops == (n.DropOrder(project_uid=project.uid),)
    assert told.saves == ()
    gone = await house.orchestrator.get_project(KEY)
    assert (gone.desired, gone.status.phase) == (Desired.DELETED, Phase.DELETING)
    for call in (house.orchestrator.start_project(KEY), create(house.orchestrator)):
        with pytest.raises(Conflict):
            await call
    await report(house, dropped=(project.uid,))
    await until_gone(house.orchestrator)
    for table in ("saves", "orders", "tokens", "uppers", "releases"):
        assert house.db.reader.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert house.pods.calls[-1] == ("forget", "hello", 0)


async def test_uppers_are_collected_only_when_their_save_holds_them(house: House) -> None:
    project = await running(house)

    def told(idle_since: float = 1e12) -> tuple[str, ...]:
        return gather(house.db.reader, NODE, idle_since=idle_since).collectable

    upper = n.UpperReport(
        project_uid=project.uid, generation=1, image=image("x"), bytes=9, in_use=False
    )
    await report(house, uppers=(upper,))
    await pushed(house, await ask(house), 1)
    assert told() == (), "it runs"
    assert (await orders(house)).evictable == ()
    await house.orchestrator.stop_project(KEY)
    await until_phase(house.orchestrator, Phase.STOPPED)
    assert told() == (project.uid,)
    assert told(idle_since=1.0) == ()
    assert (await orders(house)).collectable == (), "kept, while there is room"
    assert (await orders(house)).evictable == (project.uid,)
    later = Save(
        project_uid=project.uid,
        seq=2,
        generation=1,
        reason=SaveReason.STOPPED,
        step=SaveStep.INTENT,
    )
    await report(house, saves=(later,))
    assert told() == (), "a save is under way"
    assert (await orders(house)).evictable == ()
    assert runtimes.uppers(house.db.reader, NODE) == (upper,)


async def test_what_may_go_is_told_longest_stopped_first(tmp_path: Path) -> None:
    now = [1000.0]
    house = await open_house(tmp_path, clock=lambda: now[0])
    await report(house, runtimes=(ready("python"),))
    uids, uppers = [], []
    for seq, name in enumerate(("first", "second", "third"), start=1):
        key = o.ProjectKey(namespace="team", name=name)
        project = (await create(house.orchestrator, key, start=True)).project
        await report(house, prepared=((project.uid, image(f"projects/{project.uid}")),))
        await until_phase(house.orchestrator, Phase.RUNNING, key)
        uids.append(project.uid)
        uppers.append(
            n.UpperReport(
                project_uid=project.uid, generation=1, image=image("x"), bytes=9, in_use=False
            )
        )
        await report(house, uppers=tuple(uppers))
        asked = o.AskSave(namespace="team", name=name)
        await house.orchestrator.ask_save(asked)
        (order,) = (await orders(house)).saves
        stored = image(f"projects/{project.uid}", str(seq))
        await report(
            house,
            saves=(save(order, 1, SaveStep.PUSHED),),
            images=((project.uid, 1, stored),),
        )
    for name in ("second", "third", "first"):
        now[0] += 1.0
        key = o.ProjectKey(namespace="team", name=name)
        await house.orchestrator.stop_project(key)
        await until_phase(house.orchestrator, Phase.STOPPED, key)
    assert (await orders(house)).evictable == (uids[1], uids[2], uids[0])
    await house.close()


async def test_uppers_go_after_the_time_that_the_settings_give(tmp_path: Path) -> None:
    now = [1000.0]
    house = await open_house(
        tmp_path, clock=lambda: now[0], settings=ServerSettings(keep_upper_s=60.0)
    )
    await report(house, runtimes=(ready("python"),))
    project = await running(house)
    await house.orchestrator.stop_project(KEY)
    await until_phase(house.orchestrator, Phase.STOPPED)
    upper = n.UpperReport(
        project_uid=project.uid, generation=1, image=image("x"), bytes=9, in_use=False
    )
    await report(house, uppers=(upper,))
    await pushed(house, await ask(house), 1)
    assert (await orders(house)).collectable == ()
    now[0] += 60.0
    assert (await orders(house)).collectable == (project.uid,)
    await house.close()


async def test_a_box_says_when_it_must_not_start_without_its_upper(house: House) -> None:
    project = await running(house)
    record = await house.nodes.box(n.BoxKey(pod_uid=await pod(house)))
    assert not record.needs_upper, "the first box begins it"
    upper = n.UpperReport(
        project_uid=project.uid, generation=1, image=record.image, bytes=9, in_use=True
    )
    await report(house, uppers=(upper,))
    await house.orchestrator.stop_project(KEY)
    await until_phase(house.orchestrator, Phase.STOPPED)
    await house.orchestrator.start_project(KEY)
    record = await house.nodes.box(n.BoxKey(pod_uid=await pod(house)))
    assert record.needs_upper
    await until_phase(house.orchestrator, Phase.RUNNING)
    await pushed(house, await ask(house), 1)
    await house.orchestrator.stop_project(KEY)
    await until_phase(house.orchestrator, Phase.STOPPED)
    await report(house, uppers=())
    await house.orchestrator.start_project(KEY)
    record = await house.nodes.box(n.BoxKey(pod_uid=await pod(house)))
    assert not record.needs_upper, "it begins anew from the save"


async def test_what_nobody_knows_any_more_is_ignored(house: House) -> None:
    lost = n.SaveOrder(
        order_id="x",
        project_uid="00000000-0000-0000-0000-000000000000",
        generation=1,
        reason=SaveReason.ASKED,
        when_busy=ProjectSpec(runtime="x").when_busy,
    )
    upper = n.UpperReport(
        project_uid=lost.project_uid, generation=1, image=image("x"), bytes=1, in_use=False
    )
    await report(
        house,
        saves=(save(lost, 1, SaveStep.PUSHED),),
        images=((lost.project_uid, 1, image("x")),),
        uppers=(upper,),
        dropped=(lost.project_uid,),
        prepared=((lost.project_uid, image("x")),),
        refused=((lost.project_uid, "no"), ("order", "no")),
        runtimes=(Runtime(name="removed", source="registry.example/x:1"),),
    )
    assert projects.everyone(house.db.reader) == []
    assert runtimes.find(house.db.reader, "removed") is None
    assert (await orders(house)).drops == (), "an upper of nobody is never dropped"


async def test_a_restore_waits_for_the_save_and_is_refused_when_that_fails(house: House) -> None:
    await running(house)
    order = await ask(house)
    first = await pushed(house, order, 1)
    wanted = o.AskRestore(namespace="team", name="hello", seq=first.seq)
    asking = house.tasks.start(house.orchestrator.ask_restore(wanted), "restore")
    await until(house.orchestrator, lambda: _has_save_order(house))
    (saving,) = (await orders(house)).saves
    await report(house, saves=(save(saving, 2, SaveStep.FAILED, note="the registry is down"),))
    with pytest.raises(Unavailable, match="nothing was restored: the registry is down"):
        await asking
    assert (await house.orchestrator.get_project(KEY)).status.phase is Phase.RUNNING
    assert (await orders(house)).restores == ()


async def _has_save_order(house: House) -> bool:
    return bool((await orders(house)).saves)


async def test_a_restore_is_ordered_once_the_box_is_gone_and_survives_a_restart(
    house: House,
) -> None:
    project = await running(house)
    first = await pushed(house, await ask(house), 1)
    wanted = o.AskRestore(namespace="team", name="hello", seq=first.seq)
    asking = house.tasks.start(house.orchestrator.ask_restore(wanted), "restore")
    await until(house.orchestrator, lambda: _has_save_order(house))
    await pushed(house, (await orders(house)).saves[0], 2)
    asked = await asking
    await until_phase(house.orchestrator, Phase.PREPARING)
    with pytest.raises(Conflict, match="being restored already"):
        await house.orchestrator.ask_restore(wanted)
    await house.turns.restart()
    (restore,) = (await orders(house)).restores
    assert (restore.order_id, restore.save.seq) == (asked.order_id, 1)
    assert restore.image == image(f"projects/{project.uid}", "1")
    assert restore.generation == project.generation + 1
    done = restored(restore, 3)
    await report(house, saves=(done,), images=((project.uid, 3, restore.image),), uppers=())
    again = await until_phase(house.orchestrator, Phase.RUNNING)
    assert (again.generation, again.status.head_seq) == (project.generation + 1, 3)
    assert (await orders(house)).restores == ()
    record = await house.nodes.box(n.BoxKey(pod_uid=await pod(house)))
    assert (record.image, record.needs_upper) == (restore.image, False)


@pytest.mark.parametrize("reference", ["built-in", "python", "team/tool:1", ""])
async def test_what_is_no_reference_is_refused_at_once(house: House, reference: str) -> None:
    with pytest.raises(BadInput, match="names no registry"):
        await create(house.orchestrator, runtime=f"image:{reference}")
    assert (await orders(house)).builds == ()


async def test_a_save_that_leaves_the_history_is_ordered_away_until_a_node_did_it(
    house: House,
) -> None:
    project = await running(house)
    for seq in (1, 2, 3):
        order = await ask(house)
        auto = replace(save(order, seq, SaveStep.PUSHED), reason=SaveReason.AUTOSAVE, order_id="")
        stored = image(f"projects/{project.uid}", str(seq))
        auto = replace(auto, digest=stored.digest)
        await report(house, saves=(auto,), images=((project.uid, seq, stored),))
    assert [one.seq for one in (await house.orchestrator.list_saves(KEY)).saves] == [3]
    told = (await orders(house)).forgets
    assert [(one.seq, one.project_uid) for one in told] == [(1, project.uid), (2, project.uid)]
    await report(house, forgotten=told[:1])
    assert (await orders(house)).forgets == told[1:]
    await report(house, forgotten=told)
    assert (await orders(house)).forgets == ()
    assert await head(house) == 3


async def test_saves_that_were_asked_for_stay_whatever_comes_by_itself(house: House) -> None:
    await running(house)
    await pushed(house, await ask(house), 1)
    for seq in (2, 3, 4):
        order = await ask(house)
        await pushed(house, replace(order, reason=SaveReason.STOPPED), seq)
    found = (await house.orchestrator.list_saves(KEY)).saves
    assert [one.seq for one in found] == [4, 1]


async def test_what_is_being_restored_stays_in_the_history(house: House) -> None:
    await running(house)
    order = await ask(house)
    await pushed(house, replace(order, reason=SaveReason.STOPPED), 1)
    order = await ask(house)
    await pushed(house, order, 2)
    asked = asyncio.gather(
        house.orchestrator.ask_restore(o.AskRestore(namespace="team", name="hello", seq=1))
    )
    order = await until_ordered(house)
    await pushed(house, order, 3)
    await asked
    for seq in (4, 5):
        late = replace(order, order_id="", reason=SaveReason.STOPPED)
        await pushed(house, late, seq)
    found = (await house.orchestrator.list_saves(KEY)).saves
    assert [one.seq for one in found] == [5, 3, 2, 1]


async def until_ordered(house: House) -> n.SaveOrder:
    while True:
        if found := (await orders(house)).saves:
            return found[-1]
        await asyncio.sleep(0)


async def test_a_box_that_wrote_all_that_it_may_is_stopped_until_somebody_starts_it(
    house: House,
) -> None:
    project = await running(house)
    (rule,) = (await orders(house)).quotas
    assert (rule.project_uid, rule.generation, rule.bytes) == (project.uid, 1, 20 << 30)
    spec = replace(project.spec, resources=Resources(disk_bytes=64 << 20))
    edit = o.EditProject(namespace="team", name="hello", spec=spec)
    await house.orchestrator.edit_project(edit)
    assert (await orders(house)).quotas[0].bytes == 64 << 20, "at once"
    over = n.OverQuota(
        project_uid=project.uid, generation=1, used_bytes=65 << 20, quota_bytes=64 << 20
    )
    await report(house, full=(over,))
    failed = await until_phase(house.orchestrator, Phase.FAILED)
    assert "it has written 0.06 GiB" in failed.status.message
    assert "Every file is kept and saved" in failed.status.message
    assert (await orders(house)).quotas == ()
    await report(house, full=(over,))
    await house.orchestrator.start_project(KEY)
    again = await until_phase(house.orchestrator, Phase.RUNNING)
    assert (again.generation, again.status.message) == (2, "")
    with pytest.raises(BadInput, match="too little"):
        await house.orchestrator.edit_project(
            replace(edit, spec=replace(spec, resources=Resources(disk_bytes=5)))
        )


async def test_a_nearly_full_disk_starts_no_box_and_keeps_what_runs(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await running(house)
    full = shutil._ntuple_diskusage(total=100, used=99, free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    await house.orchestrator.start_project(KEY)
    assert (await pushed(house, await ask(house), 1)).step is SaveStep.RECORDED
    with pytest.raises(NoSpace, match="nearly full"):
        await create(house.orchestrator, o.ProjectKey(namespace="team", name="other"), start=True)
    await house.orchestrator.stop_project(KEY)
    await until_phase(house.orchestrator, Phase.STOPPED)
    with pytest.raises(NoSpace, match="no box is started"):
        await house.orchestrator.start_project(KEY)
    assert (await house.orchestrator.get_project(KEY)).desired is Desired.STOPPED


async def test_a_comparison_is_asked_once_and_its_failure_is_told(house: House) -> None:
    await running(house)
    await pushed(house, await ask(house), 1)
    await pushed(house, await ask(house), 2)
    revision = (await orders(house)).revision
    asking = house.tasks.start(
        house.orchestrator.diff_saves(o.DiffSaves(namespace="team", name="hello", older=1)), "diff"
    )
    told = await orders(house, revision, wait_s=10.0)
    (question,) = told.diffs
    assert (question.older_seq, question.newer_seq, question.limit) == (1, 2, 1000)
    failed = n.DiffAnswer(order_id=question.order_id, failure="a layer is gone")
    await report(house, diffs=(n.DiffAnswer(order_id="nobody's"), failed))
    with pytest.raises(Unavailable, match="could not be compared: a layer is gone"):
        await asking
    assert (await orders(house)).diffs == ()
    await report(house, diffs=(failed,))


async def test_the_disk_is_measured_by_the_node_and_named_for_who_may_see(house: House) -> None:
    project = await running(house)
    gone = "00000000-0000-0000-0000-000000000000"

    async def ask_disk(namespaces: tuple[str, ...] | None) -> list[tuple[str, str, int]]:
        asking = house.tasks.start(
            house.orchestrator.get_disk(o.AskDisk(namespaces=namespaces)), "disk"
        )
        while not (questions := (await orders(house)).disks):
            await asyncio.sleep(0)
        sizes = ((project.uid, 5), (gone, 7))
        disk = Disk(
            node="node-1",
            total_bytes=10,
            free_bytes=5,
            low_bytes=3,
            high_bytes=4,
            floor_bytes=1,
            projects=tuple(ProjectDisk(project_uid=u, saves_bytes=size) for u, size in sizes),
        )
        await report(house, disks=(n.DiskAnswer(order_id=questions[0].order_id, disk=disk),))
        return [(one.namespace, one.name, one.total_bytes) for one in (await asking).projects]

    assert await ask_disk(None) == [("", "", 7), ("team", "hello", 5)]
    assert await ask_disk(("team",)) == [("team", "hello", 5)]
    assert await ask_disk(("other",)) == []


async def test_a_disk_that_cannot_be_measured_is_an_answer(house: House) -> None:
    asking = house.tasks.start(house.orchestrator.get_disk(o.AskDisk()), "disk")
    while not (questions := (await orders(house)).disks):
        await asyncio.sleep(0)
    failed = n.DiskAnswer(order_id=questions[0].order_id, failure="du failed")
    await report(house, disks=(failed,))
    with pytest.raises(Unavailable, match="could not be measured: du failed"):
        await asking


async def test_nobody_waits_for_ever_for_a_comparison() -> None:
    question = n.DiffOrder(
        order_id="d",
        older_seq=1,
        newer_seq=2,
        older=image("a"),
        newer=image("b"),
        after="",
        limit=1,
    )
    questions: Questions[n.DiffOrder, n.DiffAnswer] = Questions("compare the saves")
    with pytest.raises(Unavailable, match="did not compare"):
        await questions.ask(question, lambda: None, 0.0)
    assert questions.orders == ()
