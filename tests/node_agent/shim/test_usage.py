"""Writable-layer usage in the stats calls is the upper's, measured as containerd measures."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from devbox.edge.containerd.client import Containerd
from devbox.edge.cri.client import Cri
from devbox.edge.cri.proto import runtime_pb2 as cri
from node_agent.shim import usage
from node_agent.shim.usage import Usage, Usages, measure
from node_agent.upper import overlay_of
from tests.support.boxes import Node, Pod, project_uid
from tests.support.pods import SLEEP, container_config

pytestmark = pytest.mark.root
WRITE = """
set -e
mkdir -p /project/many; for n in 1 2 3 4 5 6 7 8 9; do echo $n > /project/many/$n; done
dd if=/dev/urandom of=/project/large bs=1M count=20 2>/dev/null; ln /project/large /project/hard
rm /base/gone; sync
"""
Ask = Callable[[], Awaitable[cri.ContainerStats | None]]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_EVERY_S", 0.05)
    monkeypatch.setattr(usage, "_SHARE", 1.0)


def counted(upper: Path) -> Usage:
    """What the directory takes, by another way than the shim's."""
    found = {}
    for at, names, files in os.walk(upper):
        for path in (at, *(os.path.join(at, name) for name in (*names, *files))):
            status = os.lstat(path)
            found[status.st_ino] = status.st_blocks * 512
    return Usage(sum(found.values()), len(found))


async def until(ask: Ask, upper: Path) -> Usage:
    """Ask until the answer is what the directory takes."""
    answer = None
    for _ in range(600):
        stats = await ask()
        if stats is not None:
            layer = stats.writable_layer
            answer = Usage(layer.used_bytes.value, layer.inodes_used.value)
            if answer == counted(upper):
                return answer
        await asyncio.sleep(0.1)
    pytest.fail(f"{answer} is not {counted(upper)}")


def of(container_id: str, runtime: Cri) -> dict[str, Ask]:
    async def one() -> cri.ContainerStats | None:
        return await runtime.container_stats(container_id)

    async def among_all() -> cri.ContainerStats | None:
        found = [
            stats
            for stats in await runtime.all_container_stats()
            if stats.attributes.id == container_id
        ]
        return found[0] if found else None

    return {"ContainerStats": one, "ListContainerStats": among_all}


async def test_a_boxs_usage_follows_its_upper(node: Node) -> None:
    uid = project_uid()
    pod = await node.box(uid)
    steps = ((WRITE, True), ("rm /project/large; sync", True), ("rm /project/hard; sync", False))
    for script, is_large in steps:
        await node.sh(pod, script)
        for ask in of(pod.container_id, node.runtime).values():
            found = await until(ask, node.upper(uid))
            assert (found.bytes > 20 << 20) is is_large
            assert found.inodes > 10
    stats = await node.runtime.container_stats(pod.container_id)
    assert stats.memory.working_set_bytes.value > 0


async def test_it_means_what_containerd_means_by_it(node: Node) -> None:
    """A plain container that wrote the same: containerd's own answer is what we would give."""
    pod = await plain(node)
    await node.sh(pod, WRITE)
    containerd = Containerd(node.layout.containerd_socket)
    upper = overlay_of(await containerd.mounts(pod.container_id)).upperdir
    await containerd.close()
    for ask in of(pod.container_id, node.runtime).values():
        assert await until(ask, upper) == await measure(upper)


async def plain(node: Node) -> Pod:
    pod = await node.sandbox("plain-" + project_uid())
    await node.create(pod, container_config(SLEEP))
    await node.runtime.start_container(pod.container_id)
    return pod


async def test_before_it_is_measured_the_last_saves_count_is_told(node: Node) -> None:
    uid = project_uid()
    pod = await node.box(uid)
    node.journal.count_upper(uid, 123_456_789)
    known = Usages(node.journal).by_container()
    assert known[pod.container_id] == Usage(123_456_789)


async def test_what_cannot_be_counted_is_not_told(tmp_path: Path) -> None:
    assert await measure(tmp_path / "missing") is None
    assert await measure(tmp_path) == counted(tmp_path)
