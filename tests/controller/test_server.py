"""The controller as a process, on a real containerd: killed and back, its boxes go on."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from devbox.edge.clients import NodeOrdersClient, OrchestratorClient
from devbox.edge.cri.client import Cri
from devbox.edge.layout import Layout
from devbox.model import nodes as n
from devbox.model import orchestrator as o
from devbox.model.errors import DevboxError
from devbox.model.projects import Image, Phase
from devbox.model.runtimes import Runtime, RuntimeState
from tests.controller.contract import KEY, create, until_gone, until_phase
from tests.support import images
from tests.support.containerd import ContainerdServer, running_containerd
from tests.support.registry import RegistryServer

pytestmark = pytest.mark.root

_AGENT = """\
trap 'exit 0' TERM
while true; do
  printf 'HTTP/1.0 200 OK\\r\\n\\r\\n' | nc -l -p 4242 >/dev/null 2>&1
done &
wait
"""


class Process:
    """`python -m controller`, and clients of it."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        command = [sys.executable, "-m", "controller"]
        folders = ["--data", str(self.layout.data), "--run", str(self.layout.run)]
        with (self.layout.data / "controller.log").open("ab") as log:
            self._process = subprocess.Popen([*command, *folders], stderr=log)
        async with asyncio.timeout(20):
            while True:
                client = OrchestratorClient(self.layout.orchestrator_socket)
                try:
                    await client.list_users(o.Nothing())
                    return
                except DevboxError:
                    await asyncio.sleep(0.05)
                finally:
                    await client.close()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code = self._process.wait(10)
        self._process = None
        return code

    def log(self) -> str:
        return (self.layout.data / "controller.log").read_text()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ContainerdServer, Image]]:
    registry = RegistryServer(tmp_path_factory.mktemp("registry"))
    registry.start()
    try:
        with running_containerd() as containerd:
            (containerd.directory / "cni" / "10-test.conflist").unlink()
            layout = containerd.layout
            (layout.run / "cni").mkdir()
            (layout.run / "cni" / "net.d").symlink_to(containerd.directory / "cni")
            layout.cri_socket.symlink_to(layout.containerd_socket)
            octet = int(containerd.bridge[2:4], 16)
            layout.settings.write_text(
                f'bridge = "{containerd.bridge}"\nregistry_port = {registry.port}\n'
                f'subnet = "10.{60 + octet % 40}.{octet}.0/24"\n'
            )
            yield containerd, _push(registry)
            table = f"devbox_{containerd.bridge}"
            subprocess.run(["nft", "delete", "table", "inet", table], check=False)
    finally:
        registry.kill()


def _push(registry: RegistryServer) -> Image:
    image = images.build([images.busybox_layer()], {"Entrypoint": ["/bin/sh", "-c", _AGENT]})
    digest = images.push(image, registry.url, "runtimes/python", "latest")
    return Image(repository="runtimes/python", digest=digest, architecture="amd64")


@pytest.fixture
async def process(machine: tuple[ContainerdServer, Image]) -> AsyncIterator[Process]:
    process = Process(machine[0].layout)
    await process.start()
    try:
        yield process
    finally:
        process.end(signal.SIGKILL)


async def report(layout: Layout, **news: Any) -> None:
    client = NodeOrdersClient(layout.node_socket)
    try:
        await client.report(n.Report(node="node-1", **news))
    finally:
        await client.close()


async def test_boxes_go_on_while_the_controller_is_killed_and_comes_back(
    process: Process, machine: tuple[ContainerdServer, Image]
) -> None:
    containerd, image = machine
    layout = containerd.layout
    runtime = Runtime(name="python", source="built-in", state=RuntimeState.READY, image=image)
    await report(layout, runtimes=(runtime,))
    orchestrator = OrchestratorClient(layout.orchestrator_socket)
    cri = Cri(layout.containerd_socket)
    try:
        made = await create(orchestrator, start=True)
        await report(layout, prepared=((made.project.uid, image),))
        first = await until_phase(orchestrator, Phase.RUNNING)
        process.end(signal.SIGKILL)
        pid = _pid(containerd)
        await process.start()
        again = await until_phase(orchestrator, Phase.RUNNING)
        assert (again.generation, again.status.pod_uid) == (1, first.status.pod_uid)
        assert again.status.box_ip == first.status.box_ip
        assert _pid(containerd) == pid

        assert process.end() == 0
        os.kill(pid, signal.SIGKILL)
        await _ended(containerd, pid)
        await process.start()
        third = await _generation(orchestrator, 2)
        assert third.status.restarts == 0

        os.kill(_pid(containerd), signal.SIGKILL)
        fourth = await _generation(orchestrator, 3)
        assert fourth.status.restarts == 1

        await orchestrator.delete_project(KEY)
        await _told_to_drop(layout, made.project.uid)
        assert await cri.sandboxes() == []
        await report(layout, dropped=(made.project.uid,))
        await until_gone(orchestrator)
        assert made.token not in process.log()
        token = (layout.keys / "admin-token").read_text().strip()
        assert token not in process.log()
    finally:
        await orchestrator.close()
        await _clear(cri)
        await cri.close()


async def _clear(cri: Cri) -> None:
    for sandbox in await cri.sandboxes():
        with suppress(DevboxError):
            await cri.stop_sandbox(sandbox.id)
            await cri.remove_sandbox(sandbox.id)


async def _generation(orchestrator: o.Orchestrator, number: int) -> Any:
    async with asyncio.timeout(30):
        while True:
            project = await orchestrator.get_project(KEY)
            if project.generation == number and project.status.box_ip:
                return project
            await asyncio.sleep(0.05)


async def _told_to_drop(layout: Layout, project_uid: str) -> None:
    """A node reports what it was told to do, not before."""
    client = NodeOrdersClient(layout.node_socket)
    revision = 0
    try:
        async with asyncio.timeout(30):
            while True:
                asked = n.AskOrders(node="node-1", revision=revision, wait_s=5.0)
                orders = await client.orders(asked)
                if any(drop.project_uid == project_uid for drop in orders.drops):
                    return
                revision = orders.revision
    finally:
        await client.close()


async def _ended(containerd: ContainerdServer, pid: int) -> None:
    """Containerd has seen that the process ended."""
    async with asyncio.timeout(10):
        while any(
            row.split()[1:3] == [str(pid), "RUNNING"]
            for row in containerd.ctr("task", "ls").stdout.splitlines()[1:]
        ):
            await asyncio.sleep(0.02)


def _pid(containerd: ContainerdServer) -> int:
    """Of the box's first process."""
    rows = containerd.ctr("task", "ls").stdout.splitlines()[1:]
    for row in rows:
        pid = int(row.split()[1])
        if "nc" in Path(f"/proc/{pid}/cmdline").read_text():
            return pid
    raise AssertionError("no box runs")
