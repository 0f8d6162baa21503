"""Calls made twice, out of order, given up half-way or too late: a box and its files stay whole."""

import asyncio
import json
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from devbox.edge.containerd.channel import Service, open_channel
from devbox.edge.cri.client import Cri
from devbox.edge.cri.proto import runtime_pb2 as cri
from devbox.model.errors import Conflict, DevboxError, Internal, NotFound, Unavailable
from devbox.model.saves import SaveReason
from node_agent.shim import intercept
from node_agent.upper import overlay_of
from tests.node_agent.shim.test_story import CHECK, WORK
from tests.support.boxes import Node, Pod, project_uid
from tests.support.images import Layer, build, busybox_layer
from tests.support.pods import container_config

pytestmark = pytest.mark.root
GRACE_S = 2
ON_PURPOSE = {SaveReason.STOPPED, SaveReason.REMOVED}
"""Whether its exit is seen before its removal is a matter of moments."""


async def created(node: Node, uid: str, generation: int = 1) -> Pod:
    record = node.know(uid, generation)
    pod = await node.sandbox(record.pod_uid, project=uid)
    await node.create(pod)
    return pod


def nonce(node: Node, pod: Pod) -> str:
    record = node.layout.boxes / pod.sandbox.metadata.uid / "start.json"
    return str(json.loads(record.read_text())["upper_nonce"])


async def one_save(node: Node, uid: str) -> SaveReason:
    async with asyncio.timeout(60):
        while not node.journal.open_saves(uid):
            await asyncio.sleep(0.02)
    (row,) = node.journal.open_saves(uid)
    return row.save.reason


async def state_of(node: Node, pod: Pod) -> int:
    return (await node.runtime.container_status(pod.container_id)).status.state


async def too_late(call: Awaitable[None]) -> None:
    """Containerd may say that there is no such thing any more."""
    with suppress(NotFound):
        await call


async def works_again(node: Node, uid: str, generation: int = 2) -> None:
    await node.sh(await node.box(uid, generation), CHECK)


async def test_made_twice(node: Node) -> None:
    uid = project_uid()
    pod = await created(node, uid)
    first, given = pod.container_id, nonce(node, pod)
    with pytest.raises(Internal, match="reserved"):
        await node.create(pod)
    assert nonce(node, pod) == given
    await node.runtime.start_container(first)
    pod.container_id = first
    await node.sh(pod, WORK)
    await node.end(pod)
    await works_again(node, uid)


async def test_a_second_one_that_comes_to_nothing_leaves_the_first(node: Node) -> None:
    uid = project_uid()
    node.server.import_image(build([busybox_layer(), Layer(files={"x": b"x"})]), "localhost/x:1")
    pod = await created(node, uid)
    first, given = pod.container_id, nonce(node, pod)
    with pytest.raises(Conflict, match="another image"):
        await node.create(pod, container_config((), image="localhost/x:1", attempt=1))
    assert nonce(node, pod) == given
    assert [item.id for item in await node.runtime.containers(sandbox_id=pod.sandbox_id)] == [first]
    await node.runtime.start_container(first)


async def test_started_many_times_at_once(node: Node) -> None:
    uid = project_uid()
    pod = await created(node, uid)
    starts = [node.runtime.start_container(pod.container_id) for _ in range(10)]
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    assert [outcome for outcome in outcomes if outcome is None] == [None]
    said = {str(outcome) for outcome in outcomes if outcome is not None}
    assert all("RUNNING" in sentence for sentence in said), said
    await node.sh(pod, WORK)


async def test_removed_without_being_stopped(node: Node) -> None:
    uid = project_uid()
    pod = await node.box(uid)
    await node.sh(pod, WORK)
    await node.runtime.remove_container(pod.container_id)
    assert await one_save(node, uid) in ON_PURPOSE
    for _ in range(2):
        await too_late(node.runtime.stop_container(pod.container_id))
        await too_late(node.runtime.remove_container(pod.container_id))
    await node.runtime.stop_sandbox(pod.sandbox_id)
    await works_again(node, uid)
    assert len(node.journal.open_saves(uid)) == 1


async def test_the_sandbox_is_removed_before_all_else(node: Node) -> None:
    uid = project_uid()
    pod = await node.box(uid)
    await node.sh(pod, WORK)
    await node.runtime.remove_sandbox(pod.sandbox_id)
    assert await one_save(node, uid) in ON_PURPOSE
    for _ in range(2):
        await too_late(node.runtime.remove_sandbox(pod.sandbox_id))
        await too_late(node.runtime.stop_sandbox(pod.sandbox_id))
        await too_late(node.runtime.remove_container(pod.container_id))
    assert node.journal.boxes_of_project(uid) == []
    await works_again(node, uid)


async def test_a_stop_that_is_given_up_half_way_still_wants_its_save(node: Node) -> None:
    uid = project_uid()
    pod = await node.box(uid)
    await node.sh(pod, WORK)
    hasty = Cri(node.layout.cri_socket)
    stop = asyncio.gather(hasty.stop_container(pod.container_id, grace_s=GRACE_S))
    await asyncio.sleep(0.3)
    stop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stop
    await hasty.close()
    assert await one_save(node, uid) is SaveReason.STOPPED
    async with asyncio.timeout(60):  # its exit is told before CRI knows of it
        while await state_of(node, pod) != cri.CONTAINER_EXITED:
            await asyncio.sleep(0.02)
    await node.end(pod)
    await works_again(node, uid)


async def test_a_stop_that_is_too_late_can_be_made_again(node: Node) -> None:
    uid = project_uid()
    pod = await node.box(uid)
    await node.sh(pod, WORK)
    channel = open_channel(node.layout.cri_socket)
    service = Service(channel, "runtime.v1.RuntimeService")
    stop = cri.StopContainerRequest(container_id=pod.container_id, timeout=GRACE_S)
    with pytest.raises(Unavailable):
        await service.call("StopContainer", stop, cri.StopContainerResponse, 0.3)
    await service.call("StopContainer", stop, cri.StopContainerResponse, 60)
    await channel.close(None)
    await one_save(node, uid)
    await node.end(pod)
    await works_again(node, uid)
    assert len(node.journal.open_saves(uid)) == 1


async def test_everything_at_once(node: Node) -> None:
    uid = project_uid()
    pod = await node.box(uid)
    await node.sh(pod, WORK)
    calls = [
        partial(node.runtime.stop_container, pod.container_id, 0),
        partial(node.runtime.remove_container, pod.container_id),
        partial(node.runtime.stop_sandbox, pod.sandbox_id),
        partial(node.runtime.remove_sandbox, pod.sandbox_id),
        partial(node.runtime.start_container, pod.container_id),
    ]
    outcomes = await asyncio.gather(*(call() for call in calls * 5), return_exceptions=True)
    assert all(outcome is None or isinstance(outcome, DevboxError) for outcome in outcomes)
    await node.runtime.remove_sandbox(pod.sandbox_id)
    await one_save(node, uid)
    assert node.journal.boxes_of_project(uid) == []
    await works_again(node, uid)
    assert len(node.journal.open_saves(uid)) == 1


async def test_a_user_namespace_is_refused_before_anything_is_made(node: Node) -> None:
    uid = project_uid()
    record = node.know(uid)
    pod = await node.sandbox(record.pod_uid, project=uid)
    config = container_config(())
    shifted = cri.IDMapping(host_id=100_000, container_id=0, length=65536)
    config.linux.security_context.namespace_options.userns_options.CopyFrom(
        cri.UserNamespace(mode=cri.POD, uids=[shifted], gids=[shifted])
    )
    with pytest.raises(Conflict, match="user namespace") as caught:
        await node.create(pod, config)
    assert "hostUsers: true" in caught.value.message
    assert await node.runtime.containers(sandbox_id=pod.sandbox_id) == []
    assert not (node.layout.uppers / uid).exists()


@pytest.mark.parametrize("option", ["metacopy", "redirect_dir"])
async def test_overlay_options_that_saves_do_not_know_are_refused(
    node: Node, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / option).write_text("Y\n")
    monkeypatch.setattr(intercept, "overlay_of", partial(overlay_of, parameters=tmp_path))
    uid = project_uid()
    record = node.know(uid)
    pod = await node.sandbox(record.pod_uid, project=uid)
    with pytest.raises(Conflict, match=f"overlay mounts have {option} on"):
        await node.create(pod)
    assert await node.runtime.containers(sandbox_id=pod.sandbox_id) == []
    assert not (node.layout.uppers / uid).exists()
    monkeypatch.undo()
    await node.create(pod)
    await node.runtime.start_container(pod.container_id)
