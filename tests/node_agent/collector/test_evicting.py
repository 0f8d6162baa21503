"""Between low and high water: longest unused goes first, and no more than is needed."""

import asyncio
from collections.abc import Collection

import pytest

from devbox.edge.space import Space
from devbox.edge.tasks import Tasks
from devbox.model.errors import Unavailable
from node_agent.collector.evicting import Evicting


class Node:
    """A disk of 100 bytes, on which each image and each upper takes a few."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.images: dict[str, int] = {}
        self.uppers: dict[str, int] = {}
        self.stuck: set[str] = set()
        self.gone: list[str] = []
        self.pending = 0
        self.evicting = Evicting(self.look, self, self.collect, self.collected)

    def look(self) -> Space:
        return Space(free=self.free, total=100)

    async def unused_images(self, kept: Collection[str]) -> list[str]:
        return [digest for digest in self.images if digest not in kept]

    async def remove_image(self, digest: str) -> None:
        self.free += self.images.pop(digest)
        self.gone.append(digest)

    async def collect(self, uid: str) -> bool:
        if uid in self.stuck:
            raise Unavailable("it is being linked")
        self.pending += self.uppers.pop(uid, 0)
        self.gone.append(uid)
        return True

    async def collected(self) -> None:
        """Only now is the disk of uppers free."""
        self.free += self.pending
        self.pending = 0

    async def run(self, *, until: int, grounds: frozenset[str] = frozenset()) -> None:
        """As the node agent does, until so many went."""
        async with Tasks("evicting") as tasks:
            tasks.start(self.evicting.run(lambda: tuple(self.uppers), lambda: grounds), "evicting")
            async with asyncio.timeout(10):
                while len(self.gone) < until:
                    await asyncio.sleep(0)
            for _ in range(50):
                await asyncio.sleep(0)


@pytest.mark.smoke
async def test_what_was_unused_longest_goes_first_and_no_more_than_is_needed() -> None:
    node = Node(free=9)
    node.uppers = {"old": 3, "older than some": 3, "young": 50}
    await node.run(until=2)
    assert node.gone == ["old", "older than some"]
    assert node.free == 15


async def test_nothing_goes_above_low_water() -> None:
    node = Node(free=10)
    node.uppers = {"old": 3}
    node.images = {"sha256:a": 3}
    await node.run(until=0)
    assert node.gone == []


async def test_images_go_first_but_not_those_that_uppers_stand_on() -> None:
    node = Node(free=5)
    node.images = {"sha256:ground": 50, "sha256:old": 4, "sha256:young": 6, "sha256:kept": 50}
    node.uppers = {"old": 3}
    await node.run(until=2, grounds=frozenset({"sha256:ground"}))
    assert node.gone == ["sha256:old", "sha256:young"]
    assert list(node.uppers) == ["old"]


async def test_an_upper_that_cannot_go_holds_nobody_up() -> None:
    node = Node(free=5)
    node.uppers = {"stuck": 3, "next": 20}
    node.stuck = {"stuck"}
    await node.run(until=1)
    assert node.gone == ["next"]
