"""The node agent, or its worker, is killed right after each step of a save; then all is well."""

from pathlib import Path

import pytest

from devbox.model.nodes import SaveOrder
from devbox.model.projects import Image, WhenBusy
from devbox.model.saves import SaveReason, SaveStep
from tests.support.life import Life
from tests.support.node_parts import NodeParts

pytestmark = pytest.mark.root
UID = "p1"
STEPS = (
    "begun",
    "worker: layers",
    "worker: blobs",
    "written",
    "worker: first try",
    "worker: manifest",
    "worker: index",
    "pushed",
    "told",
    "heard",
    "recorded",
)
"""Of one save, in order."""
OF_AN_UPPER = ("given up", "put aside")


async def died(parts: NodeParts, seq: int, *, worker: bool) -> None:
    """The node agent is dead, or a save failed since its worker is."""
    agent = parts.agent
    assert agent is not None

    before = parts.journal.save(UID, seq)
    tries = before.attempts if before else 0

    def failed() -> bool:
        row = parts.journal.save(UID, seq)
        return row is not None and row.save.step is SaveStep.FAILED and row.attempts > tries

    await parts.until(failed if worker else lambda: agent.poll() is not None, "it dies")
    parts.kill_agent()
    with parts.journal._change() as database:
        # The pause before the next try is not what is looked at here.
        database.execute("UPDATE saves SET retry_at = 0")


async def test_killed_after_every_step_of_one_save(
    parts: NodeParts, base: Image, work: Path
) -> None:
    """Each restart gets one step further."""
    life = Life(parts, base)
    life.live("word")
    for step in STEPS:
        parts.start_agent(die_at=step)
        await died(parts, 1, worker=step.startswith("worker"))
    parts.start_agent()
    await parts.settled(UID)
    await parts.check_files(await parts.check_whole(UID), life.upper, work / "out")
    assert [save.seq for save in parts.controller.recorded(UID)] == [1]
    parts.check_registry_clean()
    parts.check_uppers_clean({UID})


@pytest.mark.soak
async def test_killed_once_in_each_of_many_saves(parts: NodeParts, base: Image, work: Path) -> None:
    life = Life(parts, base)
    for number, step in enumerate(STEPS, start=1):
        life.live(f"word-{number}")
        parts.start_agent(die_at=step)
        await died(parts, number, worker=step.startswith("worker"))
        parts.start_agent()
        await parts.settled(UID)
        await parts.check_whole(UID)
        assert [save.seq for save in parts.controller.recorded(UID)] == list(range(1, number + 1))
        parts.kill_agent()
    await parts.check_files(await parts.check_whole(UID), life.upper, work / "out")
    parts.check_registry_clean()


@pytest.mark.parametrize("step", OF_AN_UPPER)
async def test_killed_while_an_upper_is_given_back(
    parts: NodeParts, base: Image, step: str
) -> None:
    life = Life(parts, base)
    life.live("word")
    parts.controller.order(collectable=(UID,))
    agent = parts.start_agent(die_at=step)
    await parts.until(lambda: agent.poll() is not None, "it dies")
    parts.start_agent()
    await parts.until(lambda: parts.journal.going() == [], "the upper is gone")
    await parts.until(lambda: list(parts.layout.uppers.glob(".trash-*")) == [], "no trash")
    await parts.check_whole(UID)
    parts.check_uppers_clean(set())
    assert parts.controller.uppers == set() == {u.project_uid for u in parts.journal.uppers()}


async def test_a_newer_save_does_not_hide_what_a_first_try_pushed(
    parts: NodeParts, base: Image
) -> None:
    life = Life(parts, base)
    life.live("word-1")
    parts.start_agent(die_at="worker: manifest")
    await died(parts, 1, worker=True)
    life.live("word-2")
    asked = SaveOrder(
        order_id="o1",
        project_uid=UID,
        generation=1,
        reason=SaveReason.ASKED,
        when_busy=WhenBusy.RETRY,
        tags=(),
    )
    assert parts.journal.take_order(asked, 2.0) == 2
    parts.start_agent()
    await parts.settled(UID)
    await parts.check_whole(UID)
    parts.check_registry_clean()


async def test_a_first_try_of_other_files_leaves_no_image(
    parts: NodeParts, base: Image, work: Path
) -> None:
    """Its box wrote on after the kill, so the second try makes another image."""
    life = Life(parts, base)
    life.live("word-1")
    parts.start_agent(die_at="worker: manifest")
    await died(parts, 1, worker=True)
    assert len(parts._manifests(f"projects/{UID}")) == 1
    life.live("word-2")
    parts.start_agent()
    await parts.settled(UID)
    image = await parts.check_whole(UID)
    await parts.check_files(image, life.upper, work / "out")
    parts.check_registry_clean()
