"""Shim and containerd are killed at random moments while boxes come and go: no file is lost."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import pytest

from devbox.edge.cri.client import Cri
from devbox.edge.tasks import Tasks
from devbox.model.errors import DevboxError
from node_agent.upper import mounted_uppers
from tests.support.boxes import Node, Pod, node_of, project_uid, start_shim
from tests.support.containerd import running_containerd

pytestmark = pytest.mark.root
_LATEST_S = 0.3
T = TypeVar("T")


class Driver:
    """A pod driver that gives up a box after any failure and makes the next."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.uid = project_uid()
        self.generations = itertools.count(1)
        self.written: list[str] = []

    async def run_one(self, word: str) -> None:
        """Bring a box up, write a word, and take the box down, whatever happens meanwhile."""
        pod = await patiently(self._start)
        while True:
            try:
                await self.node.sh(pod, f"echo {word} >> /log")
                break
            except DevboxError:
                await asyncio.sleep(0.05)
        self.written.append(word)
        await patiently(self.clear)

    async def _start(self) -> Pod:
        pod = None
        record = self.node.know(self.uid, next(self.generations))
        try:
            pod = await self.node.sandbox(record.pod_uid, project=self.uid)
            await self.node.create(pod)
            await self.node.runtime.start_container(pod.container_id)
        except DevboxError:
            await patiently(self.clear)
            raise
        return pod

    async def clear(self) -> None:
        """Remove all pods, in a kubelet's order."""
        runtime = self.node.runtime
        for sandbox in await runtime.sandboxes():
            await runtime.stop_sandbox(sandbox.id)
            for container in await runtime.containers(sandbox_id=sandbox.id):
                await runtime.remove_container(container.id)
            await runtime.remove_sandbox(sandbox.id)


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Until it works."""
    while True:
        with suppress(DevboxError):
            return await work()
        await asyncio.sleep(0.05)


async def kills(seed: int, count: int) -> None:
    rng = random.Random(seed)
    with running_containerd() as server:
        async with node_of(server, shim=False) as node, Tasks("kills") as tasks:
            driver = Driver(node)
            shim = start_shim(server.layout)
            try:
                await patiently(node.runtime.version)
                for number in range(count):
                    work = tasks.start(driver.run_one(f"word-{number}"), "driver")
                    await asyncio.sleep(rng.uniform(0, _LATEST_S))
                    if rng.random() < 0.7:
                        shim.kill()
                        shim.wait()
                        shim = start_shim(server.layout)
                    else:
                        server.kill()
                        await asyncio.to_thread(server.start)
                    async with asyncio.timeout(60):
                        await work
                # a word whose answer was lost was written twice
                words = (node.upper(driver.uid) / "log").read_text().split()
                assert list(dict.fromkeys(words)) == driver.written
                await nothing_left(node, driver.uid)
            finally:
                shim.kill()
                shim.wait()


async def nothing_left(node: Node, uid: str) -> None:
    direct = Cri(node.layout.containerd_socket)
    assert await direct.containers() == []
    await direct.close()
    async with asyncio.timeout(20):
        while node.journal.boxes_of_project(uid):
            await asyncio.sleep(0.05)
    assert node.upper(uid) not in mounted_uppers()
    assert [row.save.seq for row in node.journal.open_saves(uid)] == [1]


async def test_a_few_kills() -> None:
    await kills(seed=1, count=4)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_many_kills() -> None:
    await kills(seed=2, count=200)
