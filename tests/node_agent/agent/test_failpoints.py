"""The node agent, or its worker, is killed right after each step of a save; then all is well."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from devbox.edge.layout import Layout
from devbox.edge.registry import Registry
from devbox.model.projects import Image
from devbox.model.saves import SaveReason, SaveStep, UpperState
from node_agent.journal import Box, Upper
from tests.support.node_parts import NodeParts, node_parts
from tests.support.saved_images import push_base

pytestmark = pytest.mark.root
UID = "p1"
OF_THE_AGENT = ("begun", "written", "pushed", "told", "heard", "recorded")
OF_THE_WORKER = ("layers", "blobs", "first try", "manifest", "index")
OF_AN_UPPER = ("given up", "put aside")


@pytest.fixture
def work() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="dvf-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def parts(work: Path) -> AsyncIterator[NodeParts]:
    layout = Layout(data=work / "data", run=work / "run")
    async with node_parts(layout, work) as made:
        yield made


@pytest.fixture
async def base(parts: NodeParts, work: Path) -> Image:
    tree = work / "base"
    tree.mkdir()
    (tree / "from-base").write_text("base")
    async with Registry(parts.registry.url) as registry:
        return await push_base(registry, "runtimes/plain", tree)


class Life:
    """A box without a container: what the commit-shim would note of it, and what it writes."""

    def __init__(self, parts: NodeParts, base: Image) -> None:
        self.parts = parts
        self.upper = parts.layout.uppers / UID / "fs"
        self.upper.mkdir(parents=True)
        row = Upper(
            project_uid=UID,
            path=str(self.upper),
            image=base,
            chain_id="x",
            generation=1,
            state=UpperState.DIRTY,
        )
        parts.journal.put_upper(row)

    def live(self, word: str) -> None:
        """Start, write, end."""
        journal = self.parts.journal
        journal.link_box(Box(word, "s1", "pod1", UID, 1))
        (self.upper / word).mkdir(exist_ok=True)
        (self.upper / word / "file").write_text(word)
        os.link(self.upper / word / "file", self.upper / word / "other")
        (self.upper / "log").open("a").write(word)
        journal.box_ended(word)
        journal.want_save(UID, generation=1, reason=SaveReason.STOPPED, now=1.0)
        journal.forget_box(word)


async def died(parts: NodeParts, seq: int, *, worker: bool) -> None:
    """The node agent is dead, or a save failed since its worker is."""
    agent = parts.agent
    assert agent is not None

    def failed() -> bool:
        row = parts.journal.save(UID, seq)
        return row is not None and row.save.step is SaveStep.FAILED

    await parts.until(failed if worker else lambda: agent.poll() is not None, "it dies")
    parts.kill_agent()


async def test_killed_after_each_step_of_a_save(parts: NodeParts, base: Image, work: Path) -> None:
    life = Life(parts, base)
    steps = [*OF_THE_AGENT, *(f"worker: {step}" for step in OF_THE_WORKER)]
    for number, step in enumerate(steps, start=1):
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
    parts.check_uppers_clean({UID})


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
