"""Every part of a node is killed at random moments while boxes live and are saved.

Shim, containerd, registry, node agent and its worker are real processes. After each kill what died
is started again, as its supervisor would, and the node must come to rest with every file in exactly
one whole save, and nothing left over.
"""

import asyncio
import contextlib
import itertools
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import pytest

from devbox.edge.cri.client import Cri
from devbox.edge.tasks import Tasks
from devbox.model.errors import DevboxError
from devbox.model.nodes import SaveOrder
from devbox.model.projects import Image, WhenBusy
from devbox.model.saves import SaveReason
from node_agent.shim.rewrite import PROJECT_LABEL
from node_agent.upper import mounted_uppers
from tests.support import images
from tests.support.boxes import Pod, box_record, project_uid, start_shim, write_bundle
from tests.support.containerd import ContainerdServer, running_containerd
from tests.support.node_parts import NodeParts, node_parts
from tests.support.pods import container_config, sandbox_config

if TYPE_CHECKING:
    import subprocess

pytestmark = pytest.mark.root
VICTIMS = ("worker", "worker", "node agent", "node agent", "shim", "containerd", "registry")
_LATEST_S = 1.5
_FREEZERS = Path("/sys/fs/cgroup/freezer/k8s.io")
T = TypeVar("T")


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Until it works."""
    async with asyncio.timeout(90):
        while True:
            with contextlib.suppress(DevboxError):
                return await work()
            await asyncio.sleep(0.05)


class World:
    """The parts, and what they are told to do."""

    def __init__(self, server: ContainerdServer, parts: NodeParts, base: Image) -> None:
        self.server = server
        self.parts = parts
        self.base = base
        self.uid = project_uid()
        self.shim: subprocess.Popen[bytes] = start_shim(server.layout)
        self.runtime = Cri(server.layout.cri_socket)
        self.written: list[str] = []
        self._generations = itertools.count(1)
        parts.start_agent()

    @property
    def upper(self) -> Path:
        return self.parts.layout.uppers / self.uid / "fs"

    def strike(self, victim: str) -> None:
        """Kill a part, and start it again."""
        if victim == "worker":
            self.parts.kill_worker()
        elif victim == "node agent":
            self.parts.kill_agent()
            self.parts.start_agent()
        elif victim == "shim":
            self.shim.kill()
            self.shim.wait()
            self.shim = start_shim(self.server.layout)
        elif victim == "containerd":
            self.server.kill()
            self.server.start()
        else:
            self.parts.registry.kill()
            self.parts.registry.start()

    async def life(self, word: str, *, saved_alive: bool) -> None:
        """A box comes up, works, is perhaps saved meanwhile, and goes."""
        pod = await patiently(self._start)
        script = (
            f"echo {word} >> /log; mkdir -p /d/{word}; echo {word} > /d/{word}/file;"
            f" ln -f /d/{word}/file /d/{word}/other; rm -rf /base/gone /d/last;"
            f" mv /d/{word} /d/last; head -c 300000 /dev/urandom > /blob; echo {word} > /{word}"
        )
        await patiently(lambda: self._sh(pod, script))
        self.written.append(word)
        if saved_alive:
            self.parts.controller.order(saves=(self._order(word),))
            # A box that stays frozen answers nothing.
            await patiently(lambda: self._sh(pod, "echo still here"))
        await patiently(self.clear)

    async def _start(self) -> Pod:
        record = box_record(self.uid, next(self._generations))
        record = msgspec.structs.replace(record, image=self.base)
        self.parts.controller.records[record.pod_uid] = record
        try:
            config = sandbox_config(record.pod_uid, labels={PROJECT_LABEL: self.uid})
            pod = Pod(config, await self.runtime.run_sandbox(config))
            wanted = container_config((), labels={PROJECT_LABEL: self.uid})
            pod.container_id = await self.runtime.create_container(pod.sandbox_id, wanted, config)
            await self.runtime.start_container(pod.container_id)
        except DevboxError:
            await patiently(self.clear)
            raise
        return pod

    async def _sh(self, pod: Pod, script: str) -> None:
        done = await self.runtime.exec_sync(pod.container_id, ["/bin/sh", "-c", script])
        assert done.exit_code == 0, done.stderr.decode()

    def _order(self, word: str) -> SaveOrder:
        return SaveOrder(
            order_id=f"order-{word}",
            project_uid=self.uid,
            generation=1,
            reason=SaveReason.ASKED,
            when_busy=WhenBusy.RETRY,
            tags=(),
        )

    async def clear(self) -> None:
        """Remove all pods, in a kubelet's order."""
        for sandbox in await self.runtime.sandboxes():
            await self.runtime.stop_sandbox(sandbox.id)
            for container in await self.runtime.containers(sandbox_id=sandbox.id):
                await self.runtime.remove_container(container.id)
            await self.runtime.remove_sandbox(sandbox.id)

    async def rest(self) -> Image:
        """Wait until nothing moves, and look at everything."""
        await self.parts.until(
            lambda: not self.parts.journal.boxes_of_project(self.uid), "no box is known any more"
        )
        await self.parts.settled(self.uid)
        # A word whose answer was lost was written twice.
        words = (self.upper / "log").read_text().split()
        assert list(dict.fromkeys(words)) == self.written
        direct = Cri(self.server.layout.containerd_socket)
        assert await direct.containers() == []
        await direct.close()
        # Containerd collects behind the calls, and what a kill left when it collects again.
        lease = self.server.ctr("leases", "create").stdout.strip()
        self.server.ctr("leases", "delete", "--sync", lease)
        await self.parts.until(lambda: not self._links(), "no snapshot links to an upper any more")
        assert self.upper not in mounted_uppers()
        assert frozen() == []
        self.parts.check_uppers_clean({self.uid})
        return await self.parts.check_whole(self.uid)

    def _links(self) -> list[Path]:
        snapshots = self.server.layout.containerd_root / "io.containerd.snapshotter.v1.overlayfs"
        return [path for path in snapshots.glob("snapshots/*/fs") if path.is_symlink()]

    async def close(self) -> None:
        self.shim.kill()
        self.shim.wait()
        await self.runtime.close()


def frozen() -> list[str]:
    """Containers' cgroups that stand still."""
    found = []
    for state in _FREEZERS.glob("*/freezer.state"):
        with contextlib.suppress(OSError):
            if state.read_text().strip() != "THAWED":
                found.append(state.parent.name)
    return found


@contextlib.asynccontextmanager
async def world(work: Path) -> AsyncIterator[World]:
    with running_containerd() as server:
        write_bundle(server.layout)
        async with node_parts(server.layout, work) as parts:
            image = images.build([images.busybox_layer()])
            digest = images.push(image, parts.registry.url, "runtimes/busybox", "1")
            base = Image(repository="runtimes/busybox", digest=digest, architecture="amd64")
            made = World(server, parts, base)
            try:
                await patiently(made.runtime.version)
                yield made
            finally:
                await made.close()


async def kills(work: Path, seed: int, count: int, *, at_once: int = 2) -> None:
    """`count` kills, `at_once` in each box's life."""
    rng = random.Random(seed)
    done = 0
    async with world(work) as node, Tasks("kills") as tasks:
        number = 0
        while done < count:
            number += 1
            life = node.life(f"word-{number}", saved_alive=rng.random() < 0.5)
            living = tasks.start(life, "life")
            for _ in range(at_once):
                await asyncio.sleep(rng.uniform(0, _LATEST_S))
                await asyncio.to_thread(node.strike, rng.choice(VICTIMS))
                done += 1
            async with asyncio.timeout(90):
                await living
            image = await node.rest()
            if done >= count or number % 25 == 0:
                await node.parts.check_files(image, node.upper, work / "out")
                shutil.rmtree(work / "out")
        node.parts.check_registry_clean()


@pytest.mark.timeout(300)
async def test_some_kills(work: Path) -> None:
    await kills(work, seed=1, count=16)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(2, 6))
async def test_two_hundred_kills(work: Path, seed: int) -> None:
    await kills(work, seed=seed, count=50)


@pytest.mark.soak
@pytest.mark.timeout(14400)
async def test_a_thousand_kills(work: Path) -> None:
    await kills(work, seed=10, count=1000)
