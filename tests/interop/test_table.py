"""The table: every operation with every client that can do it, against the real agent."""

import hashlib
import itertools
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.client import Client, Done, Way
from tests.interop.conftest import ECHO_PORT, ECHO_SOCKET, Make
from tests.interop.libraries import Jsch, Mina, Paramiko, Sshj
from tests.interop.openssh import Git, Lftp, OldScp, OpenSsh, Rsync, Scp, Sftp, Sshfs
from tests.interop.others import Dropbear, Plink, Psftp
from tests.support.box import wait_for
from tests.support.echo import EXPECTED, ask, ask_in, connected, through_socks

pytestmark = pytest.mark.root
COMMAND_LINE = (OpenSsh, Scp, OldScp, Sftp, Rsync, Git, Sshfs, Lftp, Plink, Psftp, Dropbear)
CLIENTS: tuple[type[Client], ...] = (*COMMAND_LINE, Paramiko, Sshj, Mina, Jsch)
CHANNELS = 50
FILE_BYTES = 3_000_000
_CROWD_S = 60.0
"""Fifty shells start slowly on a machine that is busy with other tests."""
_fresh = itertools.count(9000)


@dataclass(frozen=True)
class Case:
    """A client at work."""

    client: Client
    way: Way
    here: Path
    echo_here: int


def execute(case: Case) -> None:
    """Status, input, output and errors, each by itself."""
    done = case.client.execute("cat; echo err >&2; exit 7", b"in\n")
    assert done == Done(7, b"in\n", b"err\n")
    assert case.client.execute("exit 0") == Done(0, b"")


def execute_bulk(case: Case) -> None:
    """More than any window, both ways at once."""
    data = os.urandom(FILE_BYTES)
    assert case.client.execute("cat", data) == Done(0, data)


def terminal(case: Case) -> None:
    said = case.client.terminal("tty; stty -a | grep -o ' echo '; echo done")
    assert re.search(rb"/dev/pts/\d+\r?\n echo \r?\ndone", said), said


def upload(case: Case) -> None:
    data = os.urandom(FILE_BYTES)
    (case.here / "up").write_bytes(data)
    there = f"up-{next(_fresh)}"
    case.client.upload(case.here / "up", there)
    assert _hash(case.way.home / there) == hashlib.sha256(data).digest()


def download(case: Case) -> None:
    data = os.urandom(FILE_BYTES)
    there = f"down-{next(_fresh)}"
    (case.way.home / there).write_bytes(data)
    case.client.download(there, case.here / "down")
    assert _hash(case.here / "down") == hashlib.sha256(data).digest()


def _hash(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def local(case: Case) -> None:
    with case.client.local(ECHO_PORT) as place:
        assert ask(connected(place), half_close=case.client.half_closes) == EXPECTED


def local_unix(case: Case) -> None:
    with case.client.local_unix(ECHO_SOCKET) as place:
        assert ask(connected(place), half_close=case.client.half_closes) == EXPECTED


def remote(case: Case) -> None:
    there = next(_fresh)
    with case.client.remote(there, case.echo_here):
        box = case.way.door.box
        assert ask_in(box, there, half_close=case.client.half_closes) == EXPECTED


def remote_unix(case: Case) -> None:
    there = f"/tmp/remote-{next(_fresh)}.sock"
    with case.client.remote_unix(there, case.echo_here):
        assert (
            ask(connected(f"{case.way.root}{there}"), half_close=case.client.half_closes)
            == EXPECTED
        )


def dynamic(case: Case) -> None:
    with case.client.dynamic() as port:
        end = through_socks(port, ECHO_PORT)
        assert ask(end, half_close=case.client.half_closes) == EXPECTED


def together(case: Case) -> None:
    """All wait at one gate, which opens when all are there."""
    gate = f"/tmp/gate-{next(_fresh)}"
    inside = f"{case.way.root}{gate}"
    os.mkfifo(inside)
    os.chmod(inside, 0o666)
    opener = os.open(inside, os.O_RDWR)
    try:
        crowd: list[int] = []
        thread = threading.Thread(target=lambda: crowd.append(_open(case, gate, opener)))
        thread.start()
        commands = [f"read line < {gate}; echo {number}" for number in range(CHANNELS)]
        results = case.client.together(commands)
        thread.join()
        assert crowd == [CHANNELS]
        assert results == [Done(0, f"{number}\n".encode()) for number in range(CHANNELS)]
    finally:
        os.close(opener)


def _open(case: Case, gate: str, opener: int) -> int:
    """Let everybody through when all are there; how many that were."""
    box = case.way.door.box
    try:
        there = f"read line < {gate}"
        wait_for(lambda: len(box.processes(there)) >= CHANNELS, "all channels", _CROWD_S)
    finally:
        found = len(box.processes(f"read line < {gate}"))
        os.write(opener, b"\n" * CHANNELS)
    return found


TABLE: tuple[tuple[str, Callable[[Case], None]], ...] = (
    ("execute", execute),
    ("execute", execute_bulk),
    ("terminal", terminal),
    ("upload", upload),
    ("download", download),
    ("local", local),
    ("local_unix", local_unix),
    ("remote", remote),
    ("remote_unix", remote_unix),
    ("dynamic", dynamic),
    ("together", together),
)
CASES = [
    pytest.param(client, operation, id=f"{client.name}-{operation.__name__}")
    for client in CLIENTS
    for needs, operation in TABLE
    if client.can(needs)
]


@pytest.mark.parametrize(("kind", "operation"), CASES)
def test_the_table(
    kind: type[Client],
    operation: Callable[[Case], None],
    made: Make,
    way: Way,
    echo_here: int,
    tmp_path: Path,
) -> None:
    operation(Case(made(kind), way, tmp_path, echo_here))
