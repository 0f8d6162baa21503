"""The core, the store and the pods together: killed anywhere, they come back to what is wanted."""

import asyncio
import random
from pathlib import Path

import pytest

from controller.core import events as e
from controller.core.state import Box
from controller.store.projects import ProjectRow
from devbox.edge.tasks import Tasks
from devbox.model import nodes as n
from devbox.model import orchestrator as o
from devbox.model.errors import DevboxError
from devbox.model.projects import Desired, Phase
from tests.controller.contract import create, until_gone, until_phase
from tests.support.controller import House, open_house
from tests.support.node import NODE, FakeNode, FakePods, ready

_KEYS = tuple(o.ProjectKey(namespace="team", name=name) for name in ("a", "b"))


class World:
    """What runs on the machine; it outlives every controller."""

    def __init__(self) -> None:
        self.boxes: dict[str, int] = {}
        self.started: dict[str, list[int]] = {}


class WorldPods(FakePods):
    """Pods in a world: a second box of a project is an error, and adopting looks at the world."""

    def __init__(self, house: House, world: World) -> None:
        super().__init__(house.turns, house.tasks)
        self._world = world
        self.wrong: list[str] = []

    def start(self, project: ProjectRow, box: Box) -> None:
        if project.uid in self._world.boxes:
            self.wrong.append(f"a second box of {project.name}: {box.generation}")
        self._world.boxes[project.uid] = box.generation
        self._world.started.setdefault(project.uid, []).append(box.generation)
        super().start(project, box)

    def stop(self, project: ProjectRow, box: Box) -> None:
        if self._world.boxes.get(project.uid) == box.generation:
            del self._world.boxes[project.uid]
        super().stop(project, box)

    def adopt(self, project: ProjectRow, box: Box) -> None:
        if self._world.boxes.get(project.uid) == box.generation:
            self._tell(project, e.BoxUp(box.generation, "10.0.0.2"), e.BoxServing(box.generation))
        else:
            self._tell(project, e.BoxGone(box.generation))

    def forget(self, project: ProjectRow) -> None:
        if project.uid in self._world.boxes:
            self.wrong.append(f"{project.name} was forgotten with its box")


async def open_world(directory: Path, world: World) -> tuple[House, WorldPods]:
    made: list[WorldPods] = []

    def pods(house: House) -> WorldPods:
        made.append(WorldPods(house, world))
        return made[0]

    house = await open_house(directory, pods=pods)
    node = FakeNode(house.nodes)
    await house.nodes.report(n.Report(node=NODE, runtimes=(ready("python"), ready("postgres"))))
    house.tasks.start(node.run(), "node")
    return house, made[0]


async def meddle(house: House, world: World, dice: random.Random) -> None:
    """One thing that a person, or bad luck, does."""
    key = dice.choice(_KEYS)
    calls = (
        lambda: create(house.orchestrator, key, start=True),
        lambda: house.orchestrator.start_project(key),
        lambda: house.orchestrator.stop_project(key),
        lambda: house.orchestrator.start_project(key),
        lambda: house.orchestrator.delete_project(key),
    )
    call = dice.choices(calls, (3, 4, 4, 4, 1))[0]
    tasks = Tasks("meddling")
    # A caller may go away in the middle.
    task = tasks.start(_quietly(call()), "call")
    for _ in range(dice.randrange(6)):
        await asyncio.sleep(0)
    if dice.random() < 0.3:
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if dice.random() < 0.1:
        world.boxes.clear()


async def _quietly(call: object) -> None:
    try:
        await call  # type: ignore[misc]
    except DevboxError:
        return


@pytest.mark.parametrize("seed", range(25))
async def test_any_order_of_wishes_kills_and_reboots_converges(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    world = World()
    for _ in range(dice.randrange(1, 5)):
        house, pods = await open_world(tmp_path, world)
        for _ in range(dice.randrange(1, 8)):
            await meddle(house, world, dice)
        assert pods.wrong == []
        await house.close()
    house, pods = await open_world(tmp_path, world)
    found = (await house.orchestrator.list_projects(o.ListProjects())).projects
    for project in found:
        key = o.ProjectKey(namespace=project.namespace, name=project.name)
        if project.desired is Desired.DELETED:
            await until_gone(house.orchestrator, key)
            continue
        wanted = Phase.RUNNING if project.desired is Desired.RUNNING else Phase.STOPPED
        settled = await until_phase(house.orchestrator, wanted, key)
        runs = world.boxes.get(project.uid)
        assert runs == (settled.generation if wanted is Phase.RUNNING else None)
    assert pods.wrong == []
    assert all(once == sorted(set(once)) for once in world.started.values())
    assert set(world.boxes) <= {project.uid for project in found}
    await house.close()
