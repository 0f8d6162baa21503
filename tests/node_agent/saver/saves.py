"""What the saver's tests share."""

from pathlib import Path

from devbox.edge.registry import Registry
from devbox.model.projects import Image
from devbox.model.saves import SaveStep
from node_agent.saver.orders import SavedImage, UpperSave
from node_agent.saver.save import SaveWork


class Quiet:
    """Observes nothing but steps."""

    def __init__(self) -> None:
        self.steps: list[SaveStep] = []

    async def progress(self, done: int, expected: int) -> None:
        """Nobody looks."""

    async def step(self, step: SaveStep) -> None:
        self.steps.append(step)


def order(upper: Path, base: Image, index: Path, uid: str = "u1", **more: object) -> UpperSave:
    given = {
        "project_uid": uid,
        "seq": 1,
        "upper": str(upper),
        "base": base,
        "index": str(index),
        "repository": f"projects/{uid}",
        **more,
    }
    return UpperSave(**given)  # type: ignore[arg-type]


async def save(registry: Registry, ordered: UpperSave) -> SavedImage:
    """In this process: the worker's part without the worker."""
    return await SaveWork(ordered, registry, Quiet()).run()
