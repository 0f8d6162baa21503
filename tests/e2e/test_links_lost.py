"""Sessions outlive gateways and addresses: real ssh and scp of a client whose network fails.

The client is in a network namespace. It knows one name, which has the addresses of two gateways.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devbox.edge.clients import OrchestratorClient
from devbox.model import orchestrator as o
from tests.e2e.blows import Machine
from tests.support.box import wait_for
from tests.support.networks import Laptop, laptop
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


@pytest.fixture
def gateways(server: Server, owner: Person) -> Iterator[tuple[Laptop, Replica, Replica]]:
    """A namespace, and two gateways that it reaches."""
    del owner
    with laptop() as there, contextlib.ExitStack() as stack:
        port = free_port()
        first = stack.enter_context(replica(server, there.host_ip, port))
        second = stack.enter_context(replica(server, there.second_ip, port))
        there.knows(GATEWAYS, there.host_ip, there.second_ip)
        yield there, first, second


@pytest.fixture
def roamer(server: Server, gateways: tuple[Laptop, Replica, Replica], tmp_path: Path) -> Roamer:
    """Logged in by the gateways' one name."""
    there, first, _ = gateways
    person = Person(tmp_path / "home", None)
    token = tmp_path / "token"
    token.write_text(server.admin_token)
    url = f"http://{GATEWAYS}:{first.port}"
    for command in (("login", url, "--token-file", str(token)), ("ssh-config", "--write")):
        said = person.run(*there.run(str(DEVBOX), *command))
        assert said.status == 0, said.err
    return Roamer(person, there)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def begin_work(shell: Terminal) -> None:
    """State that a new shell would not have: a variable, a directory, a job in the background."""
    shell.type("stty -echo; PS1=; cd /srv; kept=still-$((40+2)); sleep 1000 & echo job-$!-begun\n")
    shell.until("-begun")


def still_there(shell: Terminal, tag: str) -> str:
    shell.type(f"echo {tag}: $kept $PWD $(jobs -r | wc -l) end-{tag}\n")
    return shell.until(f"end-{tag}", 120.0).rpartition(f"{tag}: ")[2]


def test_the_gateway_is_killed_and_the_address_changes(
    roamer: Roamer, gateways: tuple[Laptop, Replica, Replica], owner: Person
) -> None:
    there, first, _ = gateways
    size = 16 << 20
    up, down = os.urandom(size), os.urandom(size)
    (roamer.person.home / "up").write_bytes(up)
    owner.run(str(DEVBOX), "ssh", PROJECT, "--", "cat > /tmp/down", stdin=down)
    with roamer.shell() as shell:
        begin_work(shell)
        there.rate("60mbit")
        before = there.carried_bytes()
        copies = [
            roamer.scp("up", f"{PROJECT}.devbox:/tmp/up"),
            roamer.scp(f"{PROJECT}.devbox:/tmp/down", "down"),
        ]
        try:
            midway = before + size // 2
            wait_for(lambda: there.carried_bytes() > midway, "the copies to be midway", 60.0)
            first.kill()
            assert [copy.poll() for copy in copies] == [None, None]
            there.move(2, 3)
            assert still_there(shell, "after") == "still-42 /srv 1 end-after"
            for copy in copies:
                _, err = copy.communicate(timeout=120)
                assert copy.returncode == 0, err.decode()
        finally:
            for copy in copies:
                copy.kill()
                copy.wait()
        shell.type("exit 7\n")
        assert shell.process.wait(timeout=30) == 7
    assert digest((roamer.person.home / "down").read_bytes()) == digest(down)
    assert owner.sh(PROJECT, "sha256sum < /tmp/up").split()[0] == digest(up)


def test_a_new_connection_finds_the_gateway_that_lives(
    roamer: Roamer, gateways: tuple[Laptop, Replica, Replica]
) -> None:
    gateways[1].kill()
    said = roamer.person.run(*roamer.words(str(DEVBOX), "ssh", PROJECT, "--", "echo in"))
    assert (said.status, said.out) == (0, "in\n"), said.err


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
