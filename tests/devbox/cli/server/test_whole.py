"""The whole server on the real parts: a part is killed, the server is, it goes down and up."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devbox.cli.server import leftovers, state
from devbox.cli.server.parts import parts
from devbox.edge.priority import group_nice
from node_agent.saver.saver import WORKER_NICE
from tests.support.person import Person
from tests.support.server import Server
from tests.support.subnets import free_subnet

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def admin(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Person:
    return Person(tmp_path_factory.mktemp("whole") / "home", server.root)


@pytest.fixture(scope="module")
def box(server: Server, admin: Person) -> Iterator[str]:
    """A running project with a file."""
    admin.ok("create", "whole", "--runtime", "python")
    admin.ok("ssh", "whole", "--", "echo kept >/project/file")
    yield "whole"
    admin.ok("delete", "whole", "--yes")


def wait(true: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def pid_of(server: Server, part: str) -> int:
    now = state.read(server.layout)
    return now.parts[part].pid if now is not None and now.parts[part].ready else 0


def test_up_again_changes_nothing(server: Server, admin: Person) -> None:
    before = state.read(server.layout)
    said = admin.ok("server", "up")
    assert "already running" in said
    assert server.url in said
    assert str(server.layout.keys / "admin-token") in said
    assert state.read(server.layout) == before


def test_who_works_for_saves_stands_behind_and_who_answers_calls_before_all_others(
    server: Server,
) -> None:
    if not Path("/proc/self/autogroup").exists():
        pytest.skip("this kernel makes no groups of sessions")
    agent = pid_of(server, "node_agent")
    children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    assert [group_nice(int(pid)) for pid in children] == [WORKER_NICE]
    found = {part: group_nice(pid_of(server, part)) for part in ("registry", "shim", "controller")}
    assert found == {"registry": 10, "shim": -10, "controller": 0}


def test_nothing_is_wrong_with_it(admin: Person) -> None:
    found = admin.json("doctor")
    assert [check for check in found if not check["good"]] == []


def test_settings_of_a_running_server_do_not_change(admin: Person) -> None:
    said = admin.devbox("server", "up", "--set", "gateway_port=1")
    assert (said.status, "devbox server down" in said.err) == (5, True)


def test_another_server_cannot_take_its_ports(
    server: Server, admin: Person, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    (other / "data" / "bundle").mkdir(parents=True)
    current = (server.layout.bundle / "current").resolve()
    (other / "data" / "bundle" / "current").symlink_to(current)
    port = server.settings.gateway_port
    said = admin.devbox(
        "server",
        "up",
        "--root",
        str(other),
        f"--set=gateway_port={port}",
        f"--set=subnet={free_subnet()}",
    )
    assert said.status == 5
    assert f"port {port} is taken by" in said.err
    assert state.read(Server(other).layout) is None


@pytest.mark.parametrize("part", ["node_agent", "shim", "controller", "gateway", "registry"])
def test_a_killed_part_comes_back(server: Server, admin: Person, box: str, part: str) -> None:
    before = pid_of(server, part)
    os.kill(before, signal.SIGKILL)
    wait(lambda: pid_of(server, part) not in {0, before}, f"{part} does not come back")
    all_parts = parts(server.layout, server.settings)
    assert all(one.ready() for one in all_parts)
    assert admin.ok("ssh", box, "--", "cat /project/file").strip() == "kept"


def test_boxes_survive_containerd(server: Server, admin: Person, box: str) -> None:
    before = pid_of(server, "containerd")
    shown = admin.json("show", box)
    os.kill(before, signal.SIGKILL)
    wait(lambda: pid_of(server, "containerd") not in {0, before}, "containerd does not come back")
    assert admin.ok("ssh", box, "--", "cat /project/file").strip() == "kept"
    assert admin.json("show", box)["generation"] == shown["generation"]


def test_down_and_up_brings_every_project_back(server: Server, admin: Person, box: str) -> None:
    admin.ok("create", "idle", "--runtime", "python", "--no-start")
    admin.ok("ssh", box, "--", "echo more >>/project/file")
    server.run("down")
    assert state.read(server.layout) is None
    assert leftovers.orphans(server.layout) == []
    assert leftovers.mounts_under(server.layout) == []
    bridge = server.settings.bridge
    assert not Path("/sys/class/net", bridge).exists()
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True)
    assert f"devbox_{bridge}" not in tables.stdout
    server.run("up")
    wait(lambda: phase(admin, box) == "running", "the box does not come back", 60)
    assert phase(admin, "idle") == "stopped"
    assert admin.ok("ssh", box, "--", "cat /project/file").split() == ["kept", "more"]
    wait(lambda: admin.json("saves", box)["saves"][0]["step"] == "recorded", "no save is recorded")
    admin.ok("delete", "idle", "--yes")


def phase(admin: Person, name: str) -> str:
    return str(admin.json("show", name)["status"]["phase"])


def test_a_killed_server_leaves_its_boxes(server: Server, admin: Person, box: str) -> None:
    now = state.read(server.layout)
    assert now is not None
    os.kill(now.pid, signal.SIGKILL)
    wait(lambda: all(not state.born(one.pid) for one in now.parts.values()), "parts go on alone")
    assert leftovers.orphans(server.layout)
    said = admin.devbox("server", "status", "--output", "json")
    assert (said.status, json.loads(said.out)) == (6, {"stage": "stopped"})
    server.run("up")
    assert admin.ok("ssh", box, "--", "cat /project/file").split() == ["kept", "more"]


def test_two_that_start_it_at_once_start_one(server: Server, admin: Person) -> None:
    server.run("down")
    starts = [
        subprocess.Popen(
            ["devbox", "server", "up"],
            env=admin.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(2)
    ]
    said = [start.communicate(timeout=120)[0].decode() for start in starts]
    assert [start.returncode for start in starts] == [0, 0], said
    assert all("The server is running" in text for text in said)
    assert pid_of(server, "gateway") > 0
