"""Boxes on a real containerd, straight: without the commit-shim a box is a plain container."""

import asyncio
import random
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from controller.core import events as e
from controller.core.state import Box, BoxStep
from controller.embedded import driver, logs
from controller.embedded.driver import PodDriver
from controller.embedded.network import Network
from controller.embedded.pods import POD_LABEL
from controller.embedded.resolver import Resolver
from controller.embedded.rules import Neighbour, Net
from controller.store.projects import ProjectRow
from devbox.edge.cri.client import Cri
from devbox.edge.tasks import Tasks
from devbox.model.projects import Desired, Image, ProjectSpec, Resources
from tests.support import images
from tests.support.containerd import ContainerdServer, running_containerd
from tests.support.registry import RegistryServer

pytestmark = pytest.mark.root
_PATIENCE_S = 40.0
_PROCESSES = 77
_CAP_MKNOD = 27

# Answers like an agent: 200 on the agent's port, whatever it is asked.
AGENT = """\
trap 'exit 0' TERM
echo began as $$
while true; do
  printf 'HTTP/1.0 200 OK\\r\\n\\r\\n' | nc -l -p 4242 >/dev/null 2>&1
done &
echo serving
wait
"""
_BROKEN = "echo one; echo the table is missing; exit 3"
_HUNGRY = """\
cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null
sleep 0.3
exec dd if=/dev/zero of=/dev/null bs=200M count=1
"""
_REFUSING = """\
trap 'exit 0' TERM
while true; do
  printf 'HTTP/1.0 503 No\\r\\n\\r\\nThis box has no kept upper.' | nc -l -p 4242 >/dev/null
done &
wait
"""


@dataclass
class Node:
    """Containerd, a registry that holds the images, and the boxes' network."""

    containerd: ContainerdServer
    registry: RegistryServer
    net: Net
    images: dict[str, Image]
    cri_socket: Path


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("registry")) as made:
        yield made


@contextmanager
def running_node(directory: Path) -> Iterator[Node]:
    registry = RegistryServer(directory)
    registry.start()
    try:
        with running_containerd() as containerd:
            (containerd.directory / "cni" / "10-test.conflist").unlink()
            third = int(containerd.bridge[2:4], 16)
            subnet = IPv4Network(f"10.{100 + third % 40}.{third}.0/24")
            net = Net(
                subnet=subnet, bridge=containerd.bridge, gateway_port=7080, registry_port=7081
            )
            known = {
                name: _push(registry, name, script)
                for name, script in (
                    ("agent", AGENT),
                    ("broken", _BROKEN),
                    ("hungry", _HUNGRY),
                    ("refusing", _REFUSING),
                )
            }
            yield Node(containerd, registry, net, known, containerd.socket)
    finally:
        registry.kill()


def _push(registry: RegistryServer, name: str, script: str) -> Image:
    image = images.build([images.busybox_layer()], {"Entrypoint": ["/bin/sh", "-c", script]})
    digest = images.push(image, registry.url, f"runtimes/{name}", "latest")
    return Image(repository=f"runtimes/{name}", digest=digest, architecture="amd64")


@dataclass
class Bench:
    """A driver, and what it told."""

    node: Node
    driver: PodDriver
    network: Network
    cri: Cri
    tasks: Tasks
    told: list[tuple[str, e.Event]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    made: list[tuple[ProjectRow, Box]] = field(default_factory=list)

    async def see(self, uid: str, event: e.Event) -> None:
        self.told.append((uid, event))
        self.news.set()

    async def until(self, uid: str, kind: type, count: int = 1) -> e.Event:
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                found = [event for who, event in self.told if who == uid and type(event) is kind]
                if len(found) >= count:
                    return found[-1]
                self.news.clear()
                await self.news.wait()

    def start(
        self,
        name: str,
        image: str = "agent",
        namespace: str = "team",
        resources: Resources | None = None,
        know: Callable[[ProjectRow], None] = lambda _: None,
    ) -> ProjectRow:
        project = _project(name, namespace, self.node.images[image])
        spec = ProjectSpec(runtime="x", resources=resources or Resources())
        project = replace(project, spec=spec)
        box = box_of(project, 1)
        self.made.append((project, box))
        know(project)
        self.driver.start(project, box)
        return project

    def stop(self, project: ProjectRow) -> None:
        self.driver.stop(project, box_of(project, 1))

    async def container(self, project: ProjectRow) -> str:
        found = await self.cri.containers(labels={POD_LABEL: box_of(project, 1).pod_uid})
        return found[0].id

    async def run(self, project: ProjectRow, *command: str) -> tuple[int, str]:
        done = await self.cri.exec_sync(await self.container(project), command, 20)
        return done.exit_code, (done.stdout + done.stderr).decode()

    async def serving(self, *projects: ProjectRow) -> None:
        for project in projects:
            await self.until(project.uid, e.BoxServing)


def _project(name: str, namespace: str, image: Image) -> ProjectRow:
    return ProjectRow(
        uid=str(uuid.uuid4()),
        namespace=namespace,
        name=name,
        spec=ProjectSpec(runtime="x"),
        image=image,
        runtime="x",
        desired=Desired.RUNNING,
        created_at=0.0,
        host_key="",
    )


def box_of(project: ProjectRow, generation: int) -> Box:
    uid = str(uuid.uuid5(uuid.UUID(project.uid), f"box {generation}"))
    return Box(pod_uid=uid, generation=generation, image=project.image, step=BoxStep.STARTING)


def _driver(node: Node, network: Network, tasks: Tasks, see: Callable[..., object]) -> PodDriver:
    return PodDriver(
        Cri(node.cri_socket),
        network,
        tasks,
        see=see,  # type: ignore[arg-type]
        registry_host=node.registry.host,
        log_root=node.containerd.layout.data / "logs",
        most_processes=_PROCESSES,
    )


@pytest.fixture
async def bench(node: Node) -> AsyncIterator[Bench]:
    async with bench_of(node) as made:
        yield made


@asynccontextmanager
async def bench_of(node: Node) -> AsyncIterator[Bench]:
    tasks = Tasks("test")
    network = Network(node.net, node.containerd.directory / "net")
    # The fixture's containerd reads its networks from a folder of its own.
    network.conflists = node.containerd.directory / "cni"
    await network.set_up()
    cri = Cri(node.containerd.socket)
    bench = Bench(node, None, network, cri, tasks)  # type: ignore[arg-type]
    bench.driver = _driver(node, network, tasks, bench.see)
    tasks.start(bench.driver.look(), "look")
    yield bench
    for project, box in bench.made:
        bench.driver.stop(project, box)
    for project, _ in bench.made:
        await bench.until(project.uid, e.BoxGone)
    await tasks.close()
    assert list(await cri.sandboxes()) == []
    await cri.close()
    await bench.driver._cri.close()
    await network.remove()


@pytest.mark.smoke
async def test_a_box_starts_serves_writes_logs_and_stops(bench: Bench) -> None:
    project = bench.start("hello")
    up = await bench.until(project.uid, e.BoxUp)
    assert isinstance(up, e.BoxUp)
    assert up.ip in {str(address) for address in bench.node.net.subnet}
    await bench.serving(project)
    root = bench.node.containerd.layout.data / "logs"
    assert logs.last_lines(root, box_of(project, 1).pod_uid, 5)[0].startswith("began as")
    _, said = await bench.run(project, "/bin/cat", "/etc/hostname", "/etc/resolv.conf")
    assert said.splitlines()[0] == "hello"
    assert f"nameserver {bench.node.net.gateway}" in said
    assert "search team.devbox.internal" in said
    bench.stop(project)
    await bench.until(project.uid, e.BoxGone)
    assert list(await bench.cri.sandboxes()) == []
    bench.driver.forget(replace(project, state=replace(project.state, generation=1)))
    assert list((root / "pods").iterdir()) == []


async def test_a_box_that_ends_says_how_and_its_last_words(bench: Bench) -> None:
    project = bench.start("broken", "broken")
    ended = await bench.until(project.uid, e.BoxEnded)
    assert isinstance(ended, e.BoxEnded)
    assert "exit code 3" in ended.sentence
    assert "the table is missing" in ended.sentence


async def test_a_box_that_eats_more_than_its_bound_is_ended_and_says_so(bench: Bench) -> None:
    bound = Resources(cpus=0.5, memory_bytes=64 << 20)
    project = bench.start("hungry", "hungry", resources=bound)
    ended = await bench.until(project.uid, e.BoxEnded)
    assert isinstance(ended, e.BoxEnded)
    assert "more memory than its bound" in ended.sentence
    root = bench.node.containerd.layout.data / "logs"
    assert logs.last_lines(root, box_of(project, 1).pod_uid, 1)[0].startswith("50000")


async def test_a_box_is_confined(bench: Bench) -> None:
    project = bench.start("confined")
    await bench.serving(project)
    asked = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max; cat /proc/self/status"
    _, said = await bench.run(project, "/bin/sh", "-c", f"({asked}) 2>/dev/null")
    assert said.splitlines()[0] == str(_PROCESSES)
    facts = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
    assert facts["Seccomp"].strip() == "2"
    assert not int(facts["CapBnd"], 16) >> _CAP_MKNOD & 1


async def test_an_agent_that_refuses_is_heard(bench: Bench) -> None:
    project = bench.start("refusing", "refusing")
    refusing = await bench.until(project.uid, e.BoxRefusing)
    assert refusing == e.BoxRefusing(1, "This box has no kept upper.")


async def test_an_image_that_is_nowhere_is_said(bench: Bench) -> None:
    missing = replace(bench.node.images["agent"], digest=f"sha256:{'0' * 64}")
    bench.node.images["missing"] = missing
    project = bench.start("missing", "missing")
    ended = await bench.until(project.uid, e.BoxEnded)
    assert isinstance(ended, e.BoxEnded)
    assert "could not be started" in ended.sentence


async def test_what_is_killed_or_removed_behind_our_back_is_noticed(bench: Bench) -> None:
    killed, removed = bench.start("killed"), bench.start("removed")
    await bench.serving(killed, removed)
    bench.node.containerd.ctr("task", "kill", "-s", "9", await bench.container(killed))
    for sandbox in await bench.cri.sandboxes({POD_LABEL: box_of(removed, 1).pod_uid}):
        await bench.cri.stop_sandbox(sandbox.id)
        await bench.cri.remove_sandbox(sandbox.id)
    ended = await bench.until(killed.uid, e.BoxEnded)
    assert isinstance(ended, e.BoxEnded)
    assert "SIGKILL" in ended.sentence
    await bench.until(removed.uid, e.BoxEnded)


async def test_a_runtime_that_is_away_is_waited_for(bench: Bench) -> None:
    kept, late = bench.start("kept"), _project("late", "team", bench.node.images["agent"])
    await bench.serving(kept)
    bench.node.containerd.kill()
    bench.stop(kept)
    bench.made.append((late, box_of(late, 1)))
    bench.driver.start(late, box_of(late, 1))
    await asyncio.to_thread(bench.node.containerd.start)
    await bench.until(kept.uid, e.BoxGone)
    await bench.serving(late)
    assert all(type(event) is not e.BoxEnded for _, event in bench.told)


async def test_a_runtime_that_stays_away_is_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "_RETRY_S", (0.01, 0.02))
    tasks = Tasks("away")
    away = Cri(bench.node.containerd.directory / "nobody.sock")
    alone = PodDriver(
        away, bench.network, tasks, see=bench.see, registry_host="x", log_root=Path("/nowhere")
    )
    project = _project("away", "team", bench.node.images["agent"])
    alone.start(project, box_of(project, 1))
    ended = await bench.until(project.uid, e.BoxEnded)
    assert ended == e.BoxEnded(
        1, "The box could not be started: the container runtime does not answer."
    )
    await tasks.close()
    await away.close()


async def test_a_stop_in_the_middle_of_a_start_leaves_nothing(bench: Bench) -> None:
    project = bench.start("hasty")
    while not await bench.cri.sandboxes():
        await asyncio.sleep(0.01)
    bench.stop(project)
    await bench.until(project.uid, e.BoxGone)
    assert list(await bench.cri.sandboxes()) == []


async def test_a_new_driver_adopts_what_runs_and_clears_what_does_not(bench: Bench) -> None:
    kept, lost, stray = bench.start("kept"), bench.start("lost"), bench.start("stray")
    await bench.serving(kept, lost, stray)
    bench.node.containerd.ctr("task", "kill", "-s", "9", await bench.container(lost))
    await bench.until(lost.uid, e.BoxEnded)
    tasks = Tasks("second")
    bench.told.clear()
    again = _driver(bench.node, bench.network, tasks, bench.see)
    again.adopt(kept, box_of(kept, 1))
    again.adopt(lost, box_of(lost, 1))
    await bench.until(kept.uid, e.BoxServing)
    await bench.until(lost.uid, e.BoxGone)
    known = {box_of(kept, 1).pod_uid}
    await again.tidy(lambda uid: uid in known)
    left = {sandbox.metadata.uid for sandbox in await bench.cri.sandboxes()}
    assert left == known
    await tasks.close()
    await again._cri.close()


async def test_a_box_that_writes_much_gets_a_new_file(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 10)
    project = bench.start("wordy")
    await bench.serving(project)
    await bench.driver.turn_logs_over()
    folder = logs.directory(bench.node.containerd.layout.data / "logs", box_of(project, 1).pod_uid)
    assert sorted(path.name for path in folder.iterdir()) == ["box.log", "box.log.1"]


@dataclass
class Outside:
    """A machine that is not ours: a network namespace with an address of its own."""

    name: str
    address: str

    def command(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *words]


@pytest.fixture
def outside() -> Iterator[Outside]:
    name = f"dvo{random.randrange(16**6):06x}"
    third = random.randrange(256)
    here, there = f"198.18.{third}.1", f"198.18.{third}.2"
    steps = [
        ["ip", "netns", "add", name],
        ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name],
        ["ip", "address", "add", f"{here}/24", "dev", name],
        ["ip", "link", "set", name, "up"],
        ["ip", "-n", name, "address", "add", f"{there}/24", "dev", "eth0"],
        ["ip", "-n", name, "link", "set", "eth0", "up"],
        ["ip", "-n", name, "route", "add", "default", "via", here],
    ]
    try:
        for step in steps:
            subprocess.run(step, check=True)
        yield Outside(name, there)
    finally:
        subprocess.run(["ip", "link", "delete", name], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "netns", "delete", name], check=False)


async def test_boxes_reach_out_by_the_hosts_address_and_nobody_reaches_in(
    bench: Bench, outside: Outside
) -> None:
    project = bench.start("hello")
    await bench.serving(project)
    box = bench.network.address_of(Neighbour("team", "hello"))
    assert box is not None
    listen = "import socket; s = socket.create_server(('', 80)); c, who = s.accept(); "
    script = listen + "c.sendall(who[0].encode())"
    with subprocess.Popen(outside.command(sys.executable, "-c", script)) as server:
        try:
            said = ""
            while not said:
                _, said = await bench.run(project, "/bin/nc", "-w", "2", outside.address, "80")
                said = said if said[:3] == "198" else ""
        finally:
            server.kill()
    assert said == outside.address[:-1] + "1", "the box showed its own address"
    await bench.run(
        project, "/bin/sh", "-c", "(while true; do echo in | nc -l -p 80; done) >/dev/null 2>&1 &"
    )
    dial = f"import socket; socket.create_connection(('{box}', 80), 1)"
    done = subprocess.run(outside.command(sys.executable, "-c", dial), capture_output=True)
    assert b"timed out" in done.stderr


async def test_boxes_of_a_namespace_reach_each_other_by_name_and_no_others(bench: Bench) -> None:
    resolver = Resolver(bench.network, bench.tasks, list)
    await resolver.start()
    hello, db = bench.start("hello"), bench.start("db")
    other = bench.start("other", namespace="foreign")
    await bench.serving(hello, db, other)
    try:
        serve = "while true; do echo hi | nc -l -p 5432; done >/dev/null 2>&1 &"
        for project in (db, other):
            await bench.run(project, "/bin/sh", "-c", serve)
        assert await bench.run(hello, "/bin/nc", "-w", "3", "db", "5432") == (0, "hi\n")
        address = bench.network.address_of(bench.driver._pods[box_of(db, 1).pod_uid].neighbour)
        assert address is not None
        code, _ = await bench.run(other, "/bin/nc", "-w", "1", "db", "5432")
        assert code != 0
        code, _ = await bench.run(other, "/bin/nc", "-w", "1", address, "5432")
        assert code != 0
        code, _ = await bench.run(hello, "/bin/nc", "-w", "1", address, "4242")
        assert code != 0, "another box reached an agent"
    finally:
        await resolver.close()


async def test_boxes_reach_nothing_of_the_host(bench: Bench) -> None:
    project = bench.start("hello")
    await bench.serving(project)
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "0.0.0.0", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        gateway = bench.node.net.gateway
        for host in (gateway, "127.0.0.1"):
            code, _ = await bench.run(project, "/bin/nc", "-w", "1", host, str(port))
            assert code != 0
    finally:
        listening.close()
        await listening.wait_closed()
