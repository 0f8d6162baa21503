"""The commit-shim ends and begins again under a live pod driver: no box fails."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import msgspec
import pytest

from controller.core import events as e
from controller.store.projects import ProjectRow
from devbox.edge.cri.client import Cri
from devbox.edge.layout import Layout
from tests.controller.embedded.test_driver import AGENT, Bench, Node, bench_of, box_of, running_node
from tests.support.boxes import (
    KnownBoxes,
    box_record,
    controller,
    start_shim,
    until_answers,
    write_bundle,
)

pytestmark = pytest.mark.root
SIGNALS = (signal.SIGTERM, signal.SIGKILL)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("registry")) as made:
        layout = made.containerd.layout
        write_bundle(layout, AGENT)
        made.cri_socket = layout.cri_socket
        yield made


class Shim:
    """The shim as a process that somebody starts again whenever it ended."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._process = start_shim(layout)

    async def end(self, number: int) -> None:
        """By this signal; the next one is on its way when this returns."""
        self._process.send_signal(number)
        assert await asyncio.to_thread(self._process.wait, 20) in {0, -number}
        self._process = start_shim(self._layout)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)


@dataclass
class Stage:
    """A pod driver in front of the shim, and a controller that knows its boxes."""

    bench: Bench
    known: KnownBoxes
    shim: Shim

    def start(self, name: str) -> ProjectRow:
        return self.bench.start(name, know=self._know)

    def _know(self, project: ProjectRow) -> None:
        box = box_of(project, 1)
        record = msgspec.structs.replace(
            box_record(project.uid), pod_uid=box.pod_uid, image=box.image
        )
        self.known.records[box.pod_uid] = record

    def failures(self) -> list[e.Event]:
        return [event for _, event in self.bench.told if isinstance(event, e.BoxEnded)]


@pytest.fixture
async def stage(node: Node) -> AsyncIterator[Stage]:
    layout = node.containerd.layout
    async with controller(layout) as known:
        shim = Shim(layout)
        try:
            direct = Cri(layout.cri_socket)
            await until_answers(direct)
            await direct.close()
            async with bench_of(node) as bench:
                yield Stage(bench, known, shim)
        finally:
            shim.close()


async def blows(shim: Shim, count: int, seed: int) -> None:
    """Ends of the shim at random moments."""
    rng = random.Random(seed)
    for number in range(count):
        await asyncio.sleep(rng.uniform(0.0, 1.5))
        await shim.end(SIGNALS[number % 2])


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.soak)])
async def test_no_box_fails(stage: Stage, seed: int) -> None:
    bench = stage.bench
    projects = [stage.start(f"box-{number}") for number in range(4)]
    await blows(stage.shim, 4, seed)
    await bench.serving(*projects)
    upper = bench.node.containerd.layout.uppers
    for project in projects:
        assert (await bench.run(project, "/bin/sh", "-c", "echo kept > /kept"))[0] == 0
        assert (upper / project.uid / "fs" / "kept").read_text() == "kept\n"
    await blows(stage.shim, 2, seed)
    for project in projects:
        assert await bench.run(project, "/bin/cat", "/kept") == (0, "kept\n")
    assert stage.failures() == []
    for project in projects:
        bench.stop(project)
    await blows(stage.shim, 2, seed + 100)
    for project in projects:
        await bench.until(project.uid, e.BoxGone)
    assert stage.failures() == []


async def test_a_call_on_its_way_is_answered_before_a_shim_that_is_asked_to_end(
    stage: Stage,
) -> None:
    project = stage.start("slow")
    await stage.bench.serving(project)
    container = await stage.bench.container(project)
    client = Cri(stage.bench.node.cri_socket)
    answer = asyncio.gather(client.exec_sync(container, ["/bin/sh", "-c", "sleep 1; echo done"], 5))
    await asyncio.sleep(0.3)
    await stage.shim.end(signal.SIGTERM)
    (done,) = await answer
    assert done.stdout == b"done\n"
    await client.close()
