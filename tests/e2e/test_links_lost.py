"""Sessions outlive gateways and addresses: real ssh and scp of a client whose network fails.

The client is in a network namespace. It knows one name, which has the addresses of two gateways.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devbox.edge.clients import OrchestratorClient
from devbox.model import orchestrator as o
from tests.e2e.blows import Machine
from tests.support.box import wait_for
from tests.support.networks import Air, Laptop, roaming_laptop
from tests.support.person import DEVBOX, Person
from tests.support.replicas import Replica, replica
from tests.support.server import Server, free_port
from tests.support.terminal import Terminal, terminal

if TYPE_CHECKING:
    import subprocess

pytestmark = [pytest.mark.root, pytest.mark.timeout(400)]

GATEWAYS = "gateways.test"
PROJECT = "roaming"


@dataclass(frozen=True)
class Roamer:
    """A person in a namespace of their own."""

    person: Person
    there: Laptop

    def words(self, *command: str) -> list[str]:
        return self.there.run(*command)

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        return self.person.start(*self.words(*command))

    def scp(self, source: str, target: str) -> "subprocess.Popen[bytes]":
        config = str(self.person.home / ".ssh/config")
        return self.start("scp", "-q", "-F", config, source, target)

    def shell(self) -> contextlib.AbstractContextManager[Terminal]:
        command = self.words(str(DEVBOX), "ssh", PROJECT)
        env = {**self.person.env, "TERM": "dumb"}
        return terminal(*command, env=env, cwd=self.person.home)


@pytest.fixture(scope="module")
def owner(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """Who has the project, at the machine itself."""
    person = Person(tmp_path_factory.mktemp("owner") / "home", server.root)
    person.ok("create", PROJECT, "--runtime", "python", timeout=580)
    yield person
    person.devbox("delete", PROJECT, "--yes")


@dataclass
class Ground:
    """A namespace, the air around it, and two gateways that it reaches."""

    server: Server
    there: Laptop
    air: Air
    replicas: list[Replica]
    stack: contextlib.ExitStack

    @property
    def port(self) -> int:
        return self.replicas[0].port

    def exchange(self, at: int) -> None:
        """SIGKILL one gateway, and start another in its place."""
        old = self.replicas[at]
        old.kill()
        self.replicas[at] = self.stack.enter_context(replica(self.server, old.host, old.port))


@pytest.fixture
def ground(server: Server, owner: Person) -> Iterator[Ground]:
    del owner
    with roaming_laptop() as (there, air), contextlib.ExitStack() as stack:
        port, hosts = free_port(), (there.host_ip, there.second_ip)
        replicas = [stack.enter_context(replica(server, host, port)) for host in hosts]
        there.knows(GATEWAYS, *hosts)
        yield Ground(server, there, air, replicas, stack)


@pytest.fixture
def roamer(server: Server, ground: Ground, tmp_path: Path) -> Roamer:
    """Logged in by the gateways' one name."""
    there = ground.there
    person = Person(tmp_path / "home", None)
    token = tmp_path / "token"
    token.write_text(server.admin_token)
    url = f"http://{GATEWAYS}:{ground.port}"
    for command in (("login", url, "--token-file", str(token)), ("ssh-config", "--write")):
        said = person.run(*there.run(str(DEVBOX), *command))
        assert said.status == 0, said.err
    return Roamer(person, there)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def at_work(roamer: Roamer) -> Iterator[Terminal]:
    """State that a new shell would not have: a variable, a directory, a job in the background."""
    with roamer.shell() as shell:
        shell.type("stty -echo; PS1=; cd /srv; kept=still-$((40+2)); sleep 1000 & echo be''gun\n")
        shell.until("begun")
        yield shell


def still_there(shell: Terminal, tag: str) -> str:
    shell.type(f"echo {tag}: $kept $PWD $(jobs -r | wc -l) end-{tag}\n")
    return shell.until(f"end-{tag}", 120.0).rpartition(f"{tag}: ")[2]


@dataclass
class Copies:
    """An scp in each direction, at once."""

    roamer: Roamer
    owner: Person
    up: bytes
    down: bytes
    running: list["subprocess.Popen[bytes]"]

    @property
    def going(self) -> bool:
        return any(copy.poll() is None for copy in self.running)

    def finish(self, limit_s: float) -> None:
        """Both ended well, and the bytes are those."""
        for copy in self.running:
            _, err = copy.communicate(timeout=limit_s)
            assert copy.returncode == 0, err.decode()
        assert digest((self.roamer.person.home / "down").read_bytes()) == digest(self.down)
        assert self.owner.sh(PROJECT, "sha256sum < /tmp/up").split()[0] == digest(self.up)


@contextlib.contextmanager
def copying(roamer: Roamer, owner: Person, size: int) -> Iterator[Copies]:
    up, down = os.urandom(size), os.urandom(size)
    (roamer.person.home / "up").write_bytes(up)
    said = owner.run(str(DEVBOX), "ssh", PROJECT, "--", "cat > /tmp/down", stdin=down)
    assert said.status == 0, said.err
    there = f"{PROJECT}.devbox:/tmp"
    running = [roamer.scp("up", f"{there}/up"), roamer.scp(f"{there}/down", "down")]
    try:
        yield Copies(roamer, owner, up, down, running)
    finally:
        for copy in running:
            copy.kill()
            copy.wait()


def test_the_gateway_is_killed_and_the_address_changes(
    roamer: Roamer, ground: Ground, owner: Person
) -> None:
    size = 16 << 20
    ground.air.become(mbit=60)
    with at_work(roamer) as shell, copying(roamer, owner, size) as copies:
        midway = ground.there.carried_bytes() + size // 2
        wait_for(lambda: ground.there.carried_bytes() > midway, "the copies to be midway", 60.0)
        ground.replicas[0].kill()
        assert [copy.poll() for copy in copies.running] == [None, None]
        ground.there.move(2, 3)
        assert still_there(shell, "after") == "still-42 /srv 1 end-after"
        copies.finish(120)
        shell.type("exit 7\n")
        assert shell.process.wait(timeout=30) == 7


def test_a_new_connection_finds_the_gateway_that_lives(roamer: Roamer, ground: Ground) -> None:
    ground.replicas[0].kill()
    said = roamer.person.run(*roamer.words(str(DEVBOX), "ssh", PROJECT, "--", "echo in"))
    assert (said.status, said.out) == (0, "in\n"), said.err


def another_gateway(ground: Ground, turn: int) -> None:
    ground.exchange(turn % 2)


def another_address(ground: Ground, turn: int) -> None:
    ends = (2, 3) if turn % 2 else (3, 2)
    ground.there.move(*ends)


def no_network(ground: Ground, turn: int) -> None:
    del turn
    ground.there.link("down")
    time.sleep(0.7)
    ground.there.link("up")


FAULTS = (another_gateway, another_address, no_network)


def _wait_for_bytes(ground: Ground, copies: Copies, step: int) -> None:
    goal = ground.there.carried_bytes() + step
    wait_for(lambda: ground.there.carried_bytes() > goal or not copies.going, "more bytes", 300.0)


def travel(ground: Ground, roamer: Roamer, owner: Person, size: int, turns: int) -> None:
    """A shell and copies under fault after fault, until the copies are done."""
    step = 2 * size // (turns + 1)
    with at_work(roamer) as shell, copying(roamer, owner, size) as copies:
        for turn in count():
            _wait_for_bytes(ground, copies, step)
            if not copies.going:
                break
            FAULTS[turn % len(FAULTS)](ground, turn)
            assert still_there(shell, f"turn{turn}") == f"still-42 /srv 1 end-turn{turn}"
        assert turn >= len(FAULTS)
        copies.finish(300)
        assert still_there(shell, "last") == "still-42 /srv 1 end-last"


def test_copies_and_a_shell_on_a_bad_network(roamer: Roamer, ground: Ground, owner: Person) -> None:
    """Delay, jitter, loss, doubled and overtaking packets, little bandwidth; and all the faults."""
    ground.air.become(delay_ms=8, jitter_ms=3, loss=0.002, double=0.005, overtake=0.01, mbit=40)
    travel(ground, roamer, owner, 10 << 20, turns=5)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_gibibyte_both_ways_on_a_bad_network(
    roamer: Roamer, ground: Ground, owner: Person
) -> None:
    ground.air.become(delay_ms=2, jitter_ms=1, loss=0.0003, double=0.001, overtake=0.002)
    travel(ground, roamer, owner, 1 << 30, turns=40)


def test_what_was_revoked_while_the_gateway_was_down_ends_in_the_box(
    server: Server, owner: Person, tmp_path: Path
) -> None:
    """No gateway hears of it: the next one that starts finds out."""
    made = owner.json("token", "new", PROJECT, "--name", "guest")
    kept = tmp_path / "address"
    kept.write_text(str(made["url"]))
    machine = Machine(server.layout, server.settings.registry_port)
    guest = Person(tmp_path / "guest", None)
    words = ("ssh", "--address-file", str(kept), "--", "echo up; exec sleep 975")
    client = guest.start(str(DEVBOX), *words)
    gateway = machine.parts()["gateway"]
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == b"up\n"
        os.kill(gateway, signal.SIGSTOP)
        try:
            revoke(server, str(made["token"]["id"]))
        finally:
            os.kill(gateway, signal.SIGKILL)
        assert client.wait(timeout=60) != 0
    finally:
        client.kill()
        client.communicate()
    found = "pgrep -f '[s]leep 975' || echo none"
    wait_for(lambda: owner.devbox("ssh", PROJECT, "--", found).out == "none\n", "its end", 60.0)


def revoke(server: Server, token_id: str) -> None:
    """Straight at the controller."""

    async def work() -> None:
        orchestrator = OrchestratorClient(server.layout.orchestrator_socket)
        await orchestrator.revoke_token(
            o.RevokeToken(namespace="default", name=PROJECT, token_id=token_id)
        )
        await orchestrator.close()

    asyncio.run(work())
