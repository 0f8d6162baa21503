"""Saves of a running box on the real parts: it stands still for a moment, and never for longer."""

import contextlib
import io
import json
import os
import signal
import tarfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from devbox.edge.registry import Registry
from devbox.edge.registry.images import model_image, runtime_layers
from node_agent.agent.containers import freezer
from node_agent.saver.thaw_guard import Freezer
from tests.e2e.blows import Machine
from tests.support.person import DEVBOX, Person, Said
from tests.support.saved_images import layers
from tests.support.server import Server

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
NAME = "lively"
WRITER = r"""
import os, sys, time
size, number = int(sys.argv[1]) << 20, 0
with open("/project/store", "wb") as file:
    for _ in range(size >> 20):
        file.write(os.urandom(1 << 20))
    file.flush()
    while True:
        number += 1
        os.pwrite(file.fileno(), b"%012d" % number, number * 4096 % size)
        with open("/project/.count", "w") as count:
            count.write(str(number))
        os.rename("/project/.count", "/project/count")
        time.sleep(0.001)
"""
# Writes into a file of so many MiB: each moment has the whole of it to read.


@pytest.fixture(scope="module")
def me(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    person = Person(tmp_path_factory.mktemp("live") / "home", server.root)
    person.ok("create", NAME, "--runtime", "python", "--autosave", "0", timeout=280)
    yield person
    for name in (NAME, "minute"):
        person.devbox("delete", name, "--yes")


@pytest.fixture
def machine(server: Server) -> Machine:
    return Machine(server.layout, server.settings.registry_port)


@contextlib.contextmanager
def writer(me: Person, megabytes: int) -> Iterator[None]:
    """A busy box."""
    me.sh(NAME, f"cat > /tmp/writer.py <<'END'\n{WRITER}END\nrm -f /project/count")
    started = f"setsid python3 /tmp/writer.py {megabytes} </dev/null >/dev/null 2>&1 &"
    me.sh(NAME, f"{started} echo $! > /tmp/writer.pid")
    try:
        eventually(lambda: me.devbox("ssh", NAME, "--", "cat /project/count").status == 0)
        yield
    finally:
        me.sh(NAME, "kill $(cat /tmp/writer.pid); rm -f /project/store")


def eventually(seen: Callable[[], Any], deadline_s: float = 60) -> Any:
    end = time.monotonic() + deadline_s
    while not (found := seen()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def cgroup(me: Person, machine: Machine) -> Path:
    """The directory that freezes the running box."""
    known = {box["container"] for box in machine.boxes(me.json("show", NAME)["uid"])}
    for line in machine.ctr("tasks", "ls").splitlines()[1:]:
        container, pid, _ = line.split()
        if container in known:
            found = freezer(Path(f"/proc/{pid}/cgroup").read_text())
            assert found is not None
            return found
    raise AssertionError("no box runs")


def goes_on(me: Person) -> None:
    """The box is not frozen, and its writer writes."""
    first = me.sh(NAME, "cat /project/count")
    eventually(lambda: me.sh(NAME, "cat /project/count") != first)


def frozen_in_a_save(me: Person, group: Path) -> None:
    """Order saves until one is seen while the box stands still; a moment is easily overlooked."""
    box = Freezer(str(group))
    for _ in range(20):
        with me.start(str(DEVBOX), "save", NAME) as order:
            while order.poll() is None:
                if box.frozen:
                    order.kill()
                    order.communicate()
                    return
            order.communicate()
    raise AssertionError("the box was never seen frozen")


def workers(machine: Machine) -> list[int]:
    """The processes that write saves."""
    parent = machine.parts()["node_agent"]
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if b"saver.worker" in _command(pid)]


def _command(pid: str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@contextlib.contextmanager
def nobody_restarts(server: Server) -> Iterator[None]:
    """The supervisor stands still: what is killed stays away."""
    supervisor = json.loads(server.layout.server_state.read_text())["pid"]
    os.kill(supervisor, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)


def saved(me: Person) -> dict[str, Any]:
    """A save on top of what was ordered before; what was killed goes on by itself."""
    said = eventually(partial(_saved, me))
    done: dict[str, Any] = json.loads(said.out)
    steps = [save["step"] for save in me.json("saves", NAME)["saves"]]
    assert set(steps) <= {"recorded", "dropped"}
    return done


def _saved(me: Person) -> Said | None:
    said = me.devbox("save", NAME, "--output", "json", timeout=200)
    assert said.status == 0 or "the saver ended" in said.err, said.err
    return None if said.status else said


async def names_in_saves(me: Person, server: Server) -> set[str]:
    """All that the project's saves hold above its runtime."""
    uid, newest = me.json("show", NAME)["uid"], recorded(me, NAME)[0][0]
    async with Registry(f"http://{server.settings.registry_host}") as registry:
        stored, document = await registry.image(f"projects/{uid}", f"save-{newest}")
        image = model_image(f"projects/{uid}", stored.digest, document)
        found = await layers(registry, image, runtime_layers(document))
    return {name for raw in found for name in tarfile.open(fileobj=io.BytesIO(raw)).getnames()}


async def test_a_busy_box_is_saved_as_of_one_moment(
    me: Person, machine: Machine, server: Server
) -> None:
    with writer(me, 8):
        done = saved(me)
        assert not Freezer(str(cgroup(me, machine))).frozen
        goes_on(me)
    assert done["frozen_ms"] > 0
    assert done["note"] == ""
    names = await names_in_saves(me, server)
    assert "project/store" in names
    roots = {name.partition("/")[0] for name in names}
    assert roots.isdisjoint({".devbox", "dev", "proc", "sys"})
    assert names.isdisjoint({"etc/resolv.conf", "etc/hosts", "etc/hostname"})


@pytest.mark.parametrize("victim", ["worker", "node agent"])
def test_who_froze_the_box_is_killed_and_the_box_goes_on(
    me: Person, machine: Machine, server: Server, victim: str
) -> None:
    group = cgroup(me, machine)
    with writer(me, 48):
        agent = machine.parts()["node_agent"]
        with nobody_restarts(server):
            pids = workers(machine) if victim == "worker" else [agent]
            frozen_in_a_save(me, group)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            eventually(lambda: not Freezer(str(group)).frozen)
            goes_on(me)
        saved(me)


def test_a_node_agent_thaws_what_it_finds_frozen(
    me: Person, machine: Machine, server: Server
) -> None:
    """As after an end that took the thaw's own guard too."""
    group = cgroup(me, machine)
    with writer(me, 1):
        box = Freezer(str(group))
        try:
            with nobody_restarts(server):
                machine.kill("node_agent")
                box.freeze()
                eventually(lambda: box.frozen)
            eventually(lambda: not box.frozen)
        finally:
            box.thaw()
        goes_on(me)


def test_a_box_that_is_too_busy_is_saved_per_file_and_the_list_says_so(me: Person) -> None:
    me.ok("edit", NAME, "--when-busy", "per-file")
    assert me.json("show", NAME)["spec"]["when_busy"] == "per-file"
    with writer(me, 120):
        done = saved(me)
        assert "per file only" in done["note"]
        assert "/project/store" in done["note"]
        assert "/project/store" in me.ok("saves", NAME).replace("\n", "").replace(" ", "")
        goes_on(me)
    assert saved(me)["note"] == ""


@pytest.mark.soak
def test_a_minute_later_it_is_saved_and_unchanged_it_is_not(me: Person) -> None:
    me.ok("create", "minute", "--runtime", "python", "--autosave", "1", timeout=280)
    asked = me.json("save", "minute")["seq"]

    newest: list[tuple[int, str]] = []
    for number in range(2):
        before = recorded(me, "minute")[0][0]
        me.sh("minute", f"echo {number} > /project/work")
        eventually(partial(newer, me, before), 150)
        newest = recorded(me, "minute")
        assert [reason for _, reason in newest] == ["autosave", "asked"]
        assert newest[1][0] == asked
    time.sleep(80)
    assert recorded(me, "minute") == newest


def recorded(me: Person, name: str) -> list[tuple[int, str]]:
    found = me.json("saves", name)["saves"]
    return [(save["seq"], save["reason"]) for save in found if save["step"] == "recorded"]


def newer(me: Person, seq: int) -> bool:
    return recorded(me, "minute")[0][0] > seq
