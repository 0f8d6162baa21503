"""What happens to a project's files when its boxes come and go, on a real containerd."""

import asyncio
import json
import os
import signal
import sqlite3
import stat

import msgspec
import pytest

from devbox.edge.containerd.client import PINNED_LABEL, Containerd
from devbox.edge.cri.client import Cri
from devbox.edge.cri.proto import runtime_pb2 as cri
from devbox.model.errors import Conflict, Internal, NotFound, Unavailable
from devbox.model.nodes import UPPER_NONCE_XATTR
from devbox.model.saves import SaveReason
from node_agent.upper.pinning import keep_pinned
from tests.support.boxes import Node, project_uid
from tests.support.containerd import BUSYBOX_IMAGE, PAUSE_IMAGE, mounts_under
from tests.support.images import Layer, build, busybox_layer
from tests.support.pods import SLEEP, container_config

pytestmark = pytest.mark.root

EXITED = cri.CONTAINER_EXITED
WORK = """
set -e
mkdir -p /project/dir; echo hello > /project/dir/file; chmod 640 /project/dir/file
chown 1000:1000 /project/dir/file; ln -s file /project/dir/link; ln /project/dir/file /project/hard
echo changed > /base/kept; rm /base/gone; mkfifo /project/pipe
"""
CHECK = """
set -e
test "$(cat /project/dir/file)" = hello
test "$(stat -c %a:%u:%g /project/dir/file)" = 640:1000:1000
test "$(readlink /project/dir/link)" = file
test "$(stat -c %h /project/hard)" = 2; test -p /project/pipe
test "$(cat /base/kept)" = changed; test ! -e /base/gone
"""


@pytest.mark.smoke
async def test_files_outlive_every_box(node: Node) -> None:
    uid = project_uid()
    first = await node.box(uid)
    await node.sh(first, WORK)
    await node.end(first)
    assert (node.upper(uid) / "project/dir/file").read_text() == "hello\n"
    second = await node.box(uid, generation=2)
    await node.sh(second, CHECK)
    upper = node.journal.upper(uid)
    assert upper is not None
    assert (upper.generation, upper.dirty) == (2, True)


async def test_start_record_and_nonce(node: Node) -> None:
    uid = project_uid()
    record = node.know(uid)
    pod = await node.sandbox(record.pod_uid, project=uid)
    await node.create(pod, container_config(SLEEP))
    path = node.layout.boxes / record.pod_uid / "start.json"
    given = json.loads(path.read_text())
    assert given["upper_nonce"].encode() == os.getxattr(node.upper(uid), UPPER_NONCE_XATTR)
    assert given["host_key"] == "the host key"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o777
    assert stat.S_IMODE(node.layout.boxes.stat().st_mode) == 0o700
    await node.runtime.start_container(pod.container_id)
    info = (await node.runtime.container_status(pod.container_id, verbose=True)).info["info"]
    inside = os.getxattr(f"/proc/{json.loads(info)['pid']}/root", UPPER_NONCE_XATTR)
    assert inside.decode() == given["upper_nonce"]
    seen = await node.sh(pod, "cat /.devbox/box/start.json; rm /.devbox/box/start.json")
    assert json.loads(seen) == given
    refused = await node.runtime.exec_sync(pod.container_id, ["touch", "/.devbox/x"])
    assert refused.exit_code != 0
    await node.end(pod)
    assert not path.parent.exists()


async def test_root_directory_keeps_its_attributes(node: Node) -> None:
    pod = await node.box(project_uid())
    assert await node.sh(pod, "stat -c %a:%u:%g / ") == "755:0:0\n"


async def test_stop_wants_one_save_and_kicks(node: Node) -> None:
    uid = project_uid()
    pod = await node.box(uid)
    node.kicked()
    await asyncio.gather(
        *(node.runtime.stop_container(pod.container_id, grace_s=0) for _ in range(15)),
        *(node.runtime.stop_sandbox(pod.sandbox_id) for _ in range(15)),
    )
    removals = [node.runtime.remove_container(pod.container_id) for _ in range(15)]
    outcomes = await asyncio.gather(*removals, return_exceptions=True)
    # containerd itself refuses a removal while another is under way
    assert {type(outcome) for outcome in outcomes} <= {type(None), Internal, NotFound}
    assert None in outcomes
    await node.runtime.remove_sandbox(pod.sandbox_id)
    saves = node.journal.open_saves(uid)
    assert [row.save.reason for row in saves] == [SaveReason.STOPPED]
    assert node.kicked() == 1
    assert node.journal.boxes_of_project(uid) == []


async def test_crash_wants_a_save(node: Node) -> None:
    uid = project_uid()
    pod = await node.box(uid)
    info = (await node.runtime.container_status(pod.container_id, verbose=True)).info["info"]
    os.kill(json.loads(info)["pid"], signal.SIGKILL)
    async with asyncio.timeout(30):
        while not node.journal.open_saves(uid):
            await asyncio.sleep(0.02)
    assert node.journal.open_saves(uid)[0].save.reason is SaveReason.CRASHED
    box = node.journal.box(pod.container_id)
    assert box is not None
    assert not box.may_write


async def test_container_restarts_in_place(node: Node) -> None:
    uid = project_uid()
    pod = await node.box(uid)
    await node.sh(pod, WORK)
    old = pod.container_id
    await node.runtime.stop_container(old, grace_s=0)
    await node.create(pod, container_config((), attempt=1))
    await node.runtime.start_container(pod.container_id)
    await node.sh(pod, CHECK)
    await node.runtime.remove_container(old)
    await node.sh(pod, CHECK)


async def test_second_container_is_refused_while_one_runs(node: Node) -> None:
    uid = project_uid()
    first = await node.box(uid)
    record = node.know(uid, generation=2)
    second = await node.sandbox(record.pod_uid, project=uid)
    with pytest.raises(Unavailable, match="another container still uses"):
        await node.create(second)
    assert await node.runtime.containers(sandbox_id=second.sandbox_id) == []
    await node.end(first)
    await node.create(second)
    await node.runtime.start_container(second.container_id)


async def test_a_container_that_was_overtaken_cannot_start(node: Node) -> None:
    uid = project_uid()
    pods = []
    for generation in (1, 2):
        record = node.know(uid, generation)
        pods.append(await node.sandbox(record.pod_uid, project=uid))
        await node.create(pods[-1])
    with pytest.raises(Conflict, match="no link"):
        await node.runtime.start_container(pods[0].container_id)
    behind = Cri(node.layout.containerd_socket)
    with pytest.raises(Exception, match=r"no such file|failed"):
        await behind.start_container(pods[0].container_id)
    await behind.close()
    await node.runtime.start_container(pods[1].container_id)


async def test_an_old_generation_is_refused(node: Node) -> None:
    uid = project_uid()
    await node.end(await node.box(uid, generation=5))
    record = node.know(uid, generation=4)
    late = await node.sandbox(record.pod_uid, project=uid)
    with pytest.raises(Conflict, match="newer box"):
        await node.create(late)


async def test_a_box_that_needs_its_upper_does_not_get_an_empty_one(node: Node) -> None:
    uid = project_uid()
    record = node.know(uid)
    node.boxes.records[record.pod_uid] = msgspec.structs.replace(record, needs_upper=True)
    early = await node.sandbox(record.pod_uid, project=uid)
    with pytest.raises(Conflict, match="given back"):
        await node.create(early)
    assert not (node.layout.uppers / uid).exists()


async def test_another_image_chain_is_refused(node: Node) -> None:

    uid = project_uid()
    pod = await node.box(uid)
    await node.sh(pod, WORK)
    await node.end(pod)
    other = build([busybox_layer(), Layer(files={"extra": b"x"})])
    node.server.import_image(other, "localhost/other:1")
    record = node.know(uid, generation=2)
    wrong = await node.sandbox(record.pod_uid, project=uid)
    with pytest.raises(Conflict, match="another image"):
        await node.create(wrong, container_config((), image="localhost/other:1"))
    assert await node.runtime.containers(sandbox_id=wrong.sandbox_id) == []
    await node.create(wrong, container_config(()))
    await node.runtime.start_container(wrong.container_id)
    await node.sh(wrong, CHECK)


async def test_a_box_whose_owners_would_be_shifted_is_refused(node: Node) -> None:
    uid = project_uid()
    pod = await node.sandbox(node.know(uid).pod_uid, project=uid)
    pod.sandbox.linux.security_context.namespace_options.userns_options.mode = cri.POD
    with pytest.raises(Conflict, match="user namespace"):
        await node.create(pod)
    assert await node.runtime.containers(sandbox_id=pod.sandbox_id) == []
    assert not (node.layout.uppers / uid).exists()


async def test_removal_behind_the_shims_back_keeps_the_files(node: Node) -> None:
    uid = project_uid()
    pod = await node.box(uid)
    await node.sh(pod, WORK)
    node.server.ctr("tasks", "kill", "--signal", "9", pod.container_id)
    node.server.ctr("tasks", "rm", "--force", pod.container_id, check=False)
    node.server.ctr("containers", "rm", pod.container_id)
    async with asyncio.timeout(30):
        while (await node.runtime.containers(sandbox_id=pod.sandbox_id))[0].state != EXITED:
            await asyncio.sleep(0.02)
    await node.end(pod)
    assert await node.runtime.containers(sandbox_id=pod.sandbox_id) == []
    await node.sh(await node.box(uid, generation=2), CHECK)


async def test_forced_removal_of_a_running_sandbox_keeps_the_files(node: Node) -> None:
    uid = project_uid()
    pod = await node.box(uid)
    await node.sh(pod, WORK)
    direct = Cri(node.layout.containerd_socket)
    await direct.stop_sandbox(pod.sandbox_id)
    await direct.remove_sandbox(pod.sandbox_id)
    await direct.close()
    with pytest.raises(NotFound):
        await node.runtime.container_status(pod.container_id)
    await node.sh(await node.box(uid, generation=2), CHECK)


async def test_a_box_made_without_the_shim_never_touches_the_upper(node: Node) -> None:
    uid = project_uid()
    await node.end(await node.box(uid))
    before = sorted(path.name for path in node.upper(uid).iterdir())
    direct = Cri(node.layout.containerd_socket)
    record = node.know(uid, generation=2)
    pod = await node.sandbox(record.pod_uid, project=uid)
    config = container_config(SLEEP)
    pod.container_id = await direct.create_container(pod.sandbox_id, config, pod.sandbox)
    await direct.start_container(pod.container_id)
    assert await node.sh(pod, "touch /written; ls -d /.devbox 2>/dev/null || echo none") == "none\n"
    assert sorted(path.name for path in node.upper(uid).iterdir()) == before
    assert not (node.layout.boxes / record.pod_uid / "start.json").exists()
    await direct.close()


async def test_start_records_are_in_memory_and_bounded(node: Node) -> None:
    pod = await node.box(project_uid())
    kind = "stat -f -c %T /.devbox/box"
    assert await node.sh(pod, kind) == "tmpfs\n"
    full = "dd if=/dev/zero of=/.devbox/box/full bs=1M count=40 2>/dev/null || echo full"
    assert await node.sh(pod, full) == "full\n"
    await node.box(project_uid())
    await node.end(pod)
    assert str(node.layout.boxes / pod.sandbox.metadata.uid) not in mounts_under(node.layout.run)


async def test_images_are_pinned_while_an_upper_stands_on_them(node: Node) -> None:
    containerd = Containerd(node.layout.containerd_socket)
    digest = (await containerd.image(BUSYBOX_IMAGE)).target.digest
    uid = project_uid()
    record = node.know(uid)
    image = msgspec.structs.replace(record.image, digest=digest)
    node.boxes.records[record.pod_uid] = msgspec.structs.replace(record, image=image)
    await node.create(await node.sandbox(record.pod_uid, project=uid))
    async with asyncio.timeout(30):
        while (await containerd.image(BUSYBOX_IMAGE)).labels.get(PINNED_LABEL) != "pinned":
            await asyncio.sleep(0.01)
    assert PINNED_LABEL not in (await containerd.image(PAUSE_IMAGE)).labels
    await keep_pinned(containerd, frozenset())
    assert not (await containerd.image(BUSYBOX_IMAGE)).labels.get(PINNED_LABEL)
    await containerd.close()


async def test_only_root_may_connect(node: Node) -> None:
    assert stat.S_IMODE(node.layout.cri_socket.stat().st_mode) == 0o600


async def test_one_bad_record_stops_nobody_else(node: Node) -> None:
    bad, good = project_uid(), project_uid()
    await node.end(await node.box(bad))
    upper = node.journal.upper(bad)
    assert upper is not None
    database = sqlite3.connect(node.layout.journal)
    with database:
        database.execute("UPDATE uppers SET image = '{' WHERE project_uid = ?", (bad,))
    pod = await node.box(good)
    await node.runtime.all_container_stats()
    record = node.know(bad, generation=2)
    broken = await node.sandbox(record.pod_uid, project=bad)
    with pytest.raises(Internal):
        await node.create(broken)
    await node.end(pod)
    with database:
        database.execute("DELETE FROM uppers WHERE project_uid = ?", (bad,))
    database.close()
    await node.create(broken)
    assert node.journal.upper(bad) == msgspec.structs.replace(upper, generation=2)


async def test_controller_away(node: Node) -> None:
    node.layout.node_socket.unlink()
    labelled = await node.sandbox("labelled", project="some")
    with pytest.raises(Unavailable, match="controller"):
        await node.create(labelled)
    plain = await node.sandbox("plain")
    await node.create(plain, container_config(SLEEP))
    await node.runtime.start_container(plain.container_id)
