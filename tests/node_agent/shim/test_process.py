"""The shim as a process: killed anywhere, containerd killed under it, started again."""

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from devbox.edge.cri.client import Cri
from devbox.model.errors import Conflict, Internal, NoSpace, NotFound, Unavailable
from devbox.model.saves import SaveReason
from tests.node_agent.shim.test_story import CHECK, WORK
from tests.support.boxes import Node, Pod, node_of, project_uid, start_shim, until_answers
from tests.support.containerd import ContainerdServer, running_containerd
from tests.support.pods import SLEEP, container_config

pytestmark = pytest.mark.root


class Shims:
    """Starts shims on one node and ends the last one."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self, *more: str) -> None:
        self.kill()
        self.process = start_shim(self.node.layout, *more)
        await until_answers(self.node.runtime)

    def kill(self, number: int = signal.SIGKILL) -> int | None:
        if self.process is None:
            return None
        self.process.send_signal(number)
        status = self.process.wait(10)
        self.process = None
        return status


@pytest.fixture(scope="module")
def own_containerd() -> Iterator[ContainerdServer]:
    with running_containerd() as server:
        yield server


@pytest.fixture
async def node(own_containerd: ContainerdServer) -> AsyncIterator[Node]:
    own_containerd.layout.cri_socket.unlink(missing_ok=True)
    async with node_of(own_containerd, shim=False) as made:
        yield made


@pytest.fixture
async def shims(node: Node) -> AsyncIterator[Shims]:
    made = Shims(node)
    yield made
    made.kill()


@pytest.mark.parametrize("step", ["opened", "recorded", "journalled", "linked"])
async def test_killed_while_it_links(shims: Shims, step: str) -> None:
    node, uid = shims.node, project_uid()
    await shims.start()
    first = await node.box(uid)
    await node.sh(first, WORK)
    await node.end(first)
    await shims.start("--die-at", step)
    record = node.know(uid, generation=2)
    pod = await node.sandbox(record.pod_uid, project=uid)
    with pytest.raises(Unavailable):
        await node.create(pod)
    assert shims.process is not None
    assert shims.process.wait(10) == -signal.SIGKILL
    await closed_or_right(node, pod, step)
    await shims.start()
    await create_again(node, pod)
    await node.runtime.start_container(pod.container_id)
    await node.sh(pod, CHECK)


async def closed_or_right(node: Node, pod: Pod, step: str) -> None:
    """Started behind the shim's back, the half-made box sees all its files or none."""
    direct = Cri(node.layout.containerd_socket)
    (half,) = await direct.containers(sandbox_id=pod.sandbox_id)
    await direct.start_container(half.id)
    done = await direct.exec_sync(half.id, ["cat", "/project/dir/file"])
    assert done.stdout == (b"hello\n" if step == "linked" else b"")
    await direct.stop_container(half.id, grace_s=0)
    await direct.remove_container(half.id)
    await direct.close()


async def create_again(node: Node, pod: Pod) -> None:
    """As a pod driver does: until it works."""
    async with asyncio.timeout(30):
        while True:
            with suppress(Unavailable):
                await node.create(pod)
                return
            await asyncio.sleep(0.05)


async def test_a_full_disk_is_told_and_nothing_is_left_half_made(shims: Shims) -> None:
    node, uid = shims.node, project_uid()
    await shims.start()
    await node.end(await node.box(uid))
    small = ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=2", "x", str(node.layout.uppers)]
    other = project_uid()
    record = node.know(other)
    pod = await node.sandbox(record.pod_uid, project=other)
    subprocess.run(small, check=True)
    try:
        with pytest.raises(NoSpace):
            await node.create(pod)
    finally:
        subprocess.run(["umount", str(node.layout.uppers)], check=True)
    assert await node.runtime.containers(sandbox_id=pod.sandbox_id) == []
    await node.create(pod)
    await node.runtime.start_container(pod.container_id)


async def test_a_half_made_box_is_cleared_away(shims: Shims) -> None:
    node, uid = shims.node, project_uid()
    await shims.start("--die-at", "recorded")
    record = node.know(uid)
    pod = await node.sandbox(record.pod_uid, project=uid)
    with pytest.raises(Unavailable):
        await node.create(pod)
    await shims.start()
    async with asyncio.timeout(30):
        while await node.runtime.containers(sandbox_id=pod.sandbox_id):
            await asyncio.sleep(0.05)
    await node.create(pod)
    await node.runtime.start_container(pod.container_id)


async def test_containerd_is_killed_and_comes_back(shims: Shims) -> None:
    node, uid = shims.node, project_uid()
    await shims.start()
    pod = await node.box(uid)
    await node.sh(pod, WORK)
    node.server.kill()
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await node.runtime.status()
        assert time.monotonic() - began < 3
    record = node.know(uid, generation=2)
    with pytest.raises(Unavailable):
        await node.runtime.create_container("x", container_config(), pod.sandbox)
    await asyncio.to_thread(node.server.start)
    await until_answers(node.runtime)
    await node.sh(pod, CHECK)
    second = await node.sandbox(record.pod_uid, project=uid)
    with pytest.raises(Unavailable, match="still uses"):
        await node.create(second)
    await node.end(pod)
    await node.create(second)
    await node.runtime.start_container(second.container_id)
    await node.sh(second, CHECK)


async def test_a_box_that_ends_while_no_shim_runs_is_saved(shims: Shims) -> None:
    node, uid = shims.node, project_uid()
    await shims.start()
    pod = await node.box(uid)
    shims.kill()
    direct = Cri(node.layout.containerd_socket)
    await direct.stop_container(pod.container_id, grace_s=0)
    await direct.close()
    assert node.journal.open_saves(uid) == []
    await shims.start()
    async with asyncio.timeout(30):
        while not node.journal.open_saves(uid):
            await asyncio.sleep(0.02)
    assert node.journal.open_saves(uid)[0].save.reason is SaveReason.CRASHED
    assert node.kicked() == 1


async def test_a_client_that_goes_away_changes_nothing(shims: Shims) -> None:
    node, uid = shims.node, project_uid()
    await shims.start()
    record = node.know(uid)
    pod = await node.sandbox(record.pod_uid, project=uid)
    hasty = Cri(node.layout.cri_socket)
    work = asyncio.gather(hasty.create_container(pod.sandbox_id, container_config(()), pod.sandbox))
    await asyncio.sleep(0.002)
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work
    await hasty.close()
    await node.create(pod, container_config((), attempt=1))
    await node.runtime.start_container(pod.container_id)
    await node.sh(pod, WORK)
    for other in await node.runtime.containers(sandbox_id=pod.sandbox_id):
        if other.id != pod.container_id:
            with pytest.raises((Conflict, Internal, Unavailable, NotFound)):
                await node.runtime.start_container(other.id)


async def test_ends_cleanly_and_serves_plain_pods_without_a_controller(shims: Shims) -> None:
    node = shims.node
    node.layout.node_socket.unlink()
    await shims.start()
    plain = await node.sandbox("plain-pod")
    await node.create(plain, container_config(SLEEP))
    await node.runtime.start_container(plain.container_id)
    assert await node.sh(plain, "cat /base/kept") == "from the image\n"
    began = time.monotonic()
    assert shims.kill(signal.SIGTERM) == 0
    assert time.monotonic() - began < 5
