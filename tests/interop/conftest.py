"""One box with this machine's programs, and every client, each made when it is first used."""

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import asyncssh
import pytest

from devbox.model.nodes import StartRecord
from devbox.model.projects import ImageConfig
from tests.interop.client import Client, Way
from tests.support.box import Gateway, debian_root, record, running
from tests.support.echo import answer, echo_in, join, listening
from tests.support.ssh import Door, door

ECHO_PORT = 8801
ECHO_SOCKET = "/tmp/echo.sock"

Make = Callable[[type[Client]], Client]


@pytest.fixture(scope="package")
def way(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """The ways into a box whose user is uid 1000; echo servers run in it."""
    gateway = Gateway()
    start = record(grant_keys=(gateway.public,), config=ImageConfig(working_dir="/project"))
    root = tmp_path_factory.mktemp("root")
    debian_root(root)
    with (
        running(bundle, root, start, uid=1000) as box,
        door(box, gateway, start) as opened,
        listening(lambda end: _to_ssh(opened, end)) as port,
    ):
        box.wait_healthy()
        with echo_in(opened, ECHO_PORT), echo_in(opened, ECHO_SOCKET):
            yield _way(opened, root, port, start)


def _to_ssh(opened: Door, end: socket.socket) -> None:
    far = socket.socket(socket.AF_UNIX)
    far.connect(f"{opened.place}/s")
    far.sendall(b"ssh {} full\n")
    join(end, far)


def _way(opened: Door, root: Path, port: int, start: StartRecord) -> Way:
    key = asyncssh.import_private_key(start.host_key)
    line = " ".join(key.export_public_key().decode().split()[:2])
    return Way(opened, root, port, line, key.get_fingerprint())


@pytest.fixture(scope="package")
def made(way: Way) -> Iterator[Make]:
    """Gives a client; the same one each time."""
    kept: dict[type[Client], Client] = {}
    with ExitStack() as stack:

        def make(kind: type[Client]) -> Client:
            if kind not in kept:
                name = stack.enter_context(tempfile.TemporaryDirectory(prefix="ssh", dir="/tmp"))
                kept[kind] = stack.enter_context(closing(kind(way, Path(name))))
            return kept[kind]

        yield make


@pytest.fixture(scope="package")
def echo_here() -> Iterator[int]:
    """The port of an echo server on this side."""
    with listening(answer) as port:
        yield port
