"""A node for tests: real containerd, the commit-shim, and a controller that knows some pods."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from devbox.edge import rpc
from devbox.edge.cri.client import Cri
from devbox.edge.cri.proto import runtime_pb2 as cri
from devbox.edge.layout import Layout
from devbox.model.errors import DevboxError, NotFound
from devbox.model.nodes import AskOrders, BoxKey, BoxRecord, NodeOrders, Orders, Report, StartRecord
from devbox.model.orchestrator import Nothing
from devbox.model.projects import Image, ImageConfig
from node_agent.journal import Journal
from node_agent.shim.rewrite import PROJECT_LABEL
from node_agent.shim.server import serving
from tests.support.containerd import ContainerdServer
from tests.support.images import BUSYBOX
from tests.support.pods import container_config, sandbox_config

_SLEEP = "exec /.devbox/bin/busybox sleep 2000000000\n"


class KnownBoxes(NodeOrders):
    """A controller that knows just which pods are boxes."""

    def __init__(self) -> None:
        self.records: dict[str, BoxRecord] = {}

    async def box(self, request: BoxKey) -> BoxRecord:
        if request.pod_uid not in self.records:
            raise NotFound("no such box")
        return self.records[request.pod_uid]

    async def orders(self, request: AskOrders) -> Orders:
        raise NotImplementedError

    async def report(self, request: Report) -> Nothing:
        raise NotImplementedError


@dataclass
class Pod:
    """A pod with one container."""

    sandbox: cri.PodSandboxConfig
    sandbox_id: str
    container_id: str = ""


@dataclass
class Node:
    """What a pod driver sees of a node, and what tests look at behind it."""

    server: ContainerdServer
    boxes: KnownBoxes
    runtime: Cri
    journal: Journal
    kicks: socket.socket
    _pods: list[Pod] = field(default_factory=list)

    @property
    def layout(self) -> Layout:
        return self.server.layout

    def upper(self, project: str) -> Path:
        return self.layout.uppers / project / "fs"

    def know(self, project: str, generation: int = 1) -> BoxRecord:
        """The controller makes a pod for a project."""
        record = box_record(project, generation)
        self.boxes.records[record.pod_uid] = record
        return record

    async def sandbox(self, pod_uid: str, *, project: str = "") -> Pod:
        labels = {PROJECT_LABEL: project} if project else {}
        config = sandbox_config(pod_uid, labels=labels)
        pod = Pod(config, await self.runtime.run_sandbox(config))
        self._pods.append(pod)
        return pod

    async def create(self, pod: Pod, config: cri.ContainerConfig | None = None) -> str:
        wanted = config or container_config((), labels=dict(pod.sandbox.labels))
        pod.container_id = await self.runtime.create_container(pod.sandbox_id, wanted, pod.sandbox)
        return pod.container_id

    async def box(self, project: str, generation: int = 1) -> Pod:
        """A new box of a project, running."""
        record = self.know(project, generation)
        pod = await self.sandbox(record.pod_uid, project=project)
        await self.create(pod)
        await self.runtime.start_container(pod.container_id)
        return pod

    async def sh(self, pod: Pod, script: str) -> str:
        """Run a script in the box; it must end well."""
        done = await self.runtime.exec_sync(pod.container_id, ["/bin/sh", "-c", script])
        assert done.exit_code == 0, done.stderr.decode()
        return done.stdout.decode()

    async def end(self, pod: Pod) -> None:
        """What a kubelet does to a pod that is deleted."""
        await self.runtime.stop_container(pod.container_id, grace_s=0)
        await self.runtime.stop_sandbox(pod.sandbox_id)
        await self.runtime.remove_container(pod.container_id)
        await self.runtime.remove_sandbox(pod.sandbox_id)

    async def clean(self) -> None:
        """Remove all pods, straight at containerd."""
        direct = Cri(self.layout.containerd_socket)
        for pod in self._pods:
            with suppress(DevboxError):
                await direct.stop_sandbox(pod.sandbox_id)
                await direct.remove_sandbox(pod.sandbox_id)
        await direct.close()

    def kicked(self) -> int:
        """How often the node agent was woken since the last time."""
        count = 0
        with suppress(BlockingIOError):
            while self.kicks.recv(100):
                count += 1
        return count


def box_record(project: str, generation: int = 1) -> BoxRecord:
    """A pod of a project, as the controller records it."""
    start = StartRecord(
        project_uid=project,
        cluster="c",
        region="r",
        namespace="tests",
        project="name",
        generation=generation,
        host_key="the host key",
        grant_keys=(),
        config=ImageConfig(),
        env={},
        run_image_command=False,
    )
    return BoxRecord(
        pod_uid=f"pod-{uuid.uuid4()}",
        project_uid=project,
        namespace="tests",
        project="name",
        generation=generation,
        image=Image(
            repository="runtimes/busybox", digest="sha256:" + "0" * 64, architecture="amd64"
        ),
        start=start,
    )


def write_bundle(layout: Layout, script: str = _SLEEP) -> None:
    """An agent bundle that only runs a script. The first one for a layout stays."""
    programs = layout.bundle / "test" / "bin"
    if programs.exists():
        return
    programs.mkdir(parents=True)
    shutil.copy(BUSYBOX, programs / "busybox")
    (programs / "devbox-init").write_text("#!/.devbox/bin/busybox sh\n" + script)
    (programs / "devbox-init").chmod(0o755)
    (layout.bundle / "current").symlink_to("test")


def project_uid() -> str:
    """A fresh one."""
    return f"project-{uuid.uuid4()}"


def start_shim(layout: Layout, *more: str) -> subprocess.Popen[bytes]:
    """The shim as a process of its own."""
    command = [sys.executable, "-m", "node_agent.shim"]
    command += ["--data", str(layout.data), "--run", str(layout.run), *more]
    log = (layout.data.parent / "shim.log").open("ab")
    with log:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=Path(__file__).parents[2],
            start_new_session=True,  # as the server's supervisor does
        )


async def until_answers(runtime: Cri, seconds: float = 60) -> None:
    """A runtime, or a shim, that is on its way up."""
    async with asyncio.timeout(seconds):
        while True:
            with suppress(DevboxError):
                await runtime.version()
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def controller(layout: Layout) -> AsyncIterator[KnownBoxes]:
    """Answers for the pods it knows."""
    known = KnownBoxes()
    runner = await rpc.serve(layout.node_socket, protocol=NodeOrders, implementation=known)
    try:
        yield known
    finally:
        await runner.cleanup()
        layout.node_socket.unlink(missing_ok=True)


@asynccontextmanager
async def node_of(server: ContainerdServer, *, shim: bool = True) -> AsyncIterator[Node]:
    """A node; with `shim` the commit-shim runs in this process."""
    layout = server.layout
    write_bundle(layout)
    async with AsyncExitStack() as stack:
        known = await stack.enter_async_context(controller(layout))
        if shim:
            await stack.enter_async_context(serving(layout))
        kicks = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        with suppress(FileNotFoundError):
            os.unlink(layout.kick_socket)
        kicks.bind(str(layout.kick_socket))
        kicks.setblocking(False)
        journal = Journal.open(layout.journal)
        stack.callback(journal.close)
        runtime = Cri(layout.cri_socket)
        stack.push_async_callback(runtime.close)
        node = Node(server, known, runtime, journal, kicks)
        stack.push_async_callback(node.clean)
        yield node
