"""The controller's calls over a real store, with fake pods."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from controller.calls.context import Context
from controller.calls.nodes import EmbeddedNodeOrders
from controller.calls.orchestrator import EmbeddedOrchestrator
from controller.store.database import Database
from controller.turns import Turns
from devbox.edge.layout import ServerSettings
from devbox.edge.tasks import Tasks
from tests.support.node import NODE, FakePods


@dataclass
class House:
    """All parts of a controller."""

    tasks: Tasks
    db: Database
    turns: Turns
    pods: FakePods
    orchestrator: EmbeddedOrchestrator
    nodes: EmbeddedNodeOrders

    async def close(self) -> None:
        """As a crash would: nothing is finished."""
        self.turns.close()
        await self.tasks.close()
        self.db.close()


async def open_house(
    directory: Path,
    clock: Callable[[], float] = time.time,
    settings: ServerSettings | None = None,
    pods: Callable[["House"], FakePods] | None = None,
) -> House:
    """A controller on `directory`; again, to play a restart."""
    tasks = Tasks("test")
    db = Database(directory / "controller.db")
    turns = Turns(db, tasks, node=NODE, clock=clock)
    context = Context(
        db=db,
        turns=turns,
        settings=settings or ServerSettings(),
        clock=clock,
        architecture="amd64",
        grant_key="key",
        logs=lambda row, lines: (),
        disk=directory,
    )
    house = House(
        tasks=tasks,
        db=db,
        turns=turns,
        pods=FakePods(turns, tasks),
        orchestrator=EmbeddedOrchestrator(context),
        nodes=EmbeddedNodeOrders(context),
    )
    if pods is not None:
        house.pods = pods(house)
    turns.pods = house.pods
    await turns.restart()
    return house
