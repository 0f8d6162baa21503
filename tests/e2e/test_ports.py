"""Ports and sockets across the whole stack: `devbox forward` and `devbox reverse`."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devbox.model.errors import Conflict
from tests.support.echo import EXPECTED, SERVER, answer, ask, connected, listening
from tests.support.person import DEVBOX, Person
from tests.support.server import Server

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]
SOCKET = "/tmp/echo.sock"
ASK = """
import contextlib, socket, sys, time
where = sys.argv[1]
unix = where.startswith('/')
end = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
end.connect(where if unix else ('127.0.0.1', int(where)))
end.sendall(b'hello' * 10000)
end.shutdown(socket.SHUT_WR)
print(end.makefile('rb').read() == b'HELLO' * 10000)
"""


@pytest.fixture(scope="module")
def me(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """Somebody whose project's box runs."""
    person = Person(tmp_path_factory.mktemp("ports") / "home", server.root)
    person.ok("create", "ports", "--runtime", "python", timeout=580)
    yield person
    person.devbox("delete", "ports", "--yes")


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose paths are short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@contextlib.contextmanager
def echo(me: Person, *places: str) -> Iterator[None]:
    """Servers in the box."""
    with contextlib.ExitStack() as stack:
        for place in places:
            command = ["exec", "ports", "--", "python3", "-c", SERVER, place]
            one = stack.enter_context(going(me, *command))
            assert one.stdout is not None
            assert one.stdout.readline() == b"ready\n"
        yield


@contextlib.contextmanager
def going(me: Person, *words: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A command of `devbox` until the block's end."""
    process = me.start(str(DEVBOX), *words)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: "subprocess.Popen[bytes]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().rstrip("\n")


def interrupted(process: "subprocess.Popen[bytes]") -> str:
    """What it says to Ctrl-C."""
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    return err.decode()


def test_several_forwards_at_once_and_unix_sockets_on_either_side(me: Person, short: Path) -> None:
    places = [f"{short}/a:8000", f"{short}/b:{SOCKET}", f"0:{SOCKET}", "0:8000"]
    with echo(me, "8000", SOCKET), going(me, "forward", "ports", *places) as process:
        said = [line(process) for _ in places]
        assert said[:2] == [f"{short}/a -> 8000", f"{short}/b -> {SOCKET}"]
        for one, far in zip(said[2:], (SOCKET, "8000"), strict=True):
            found = re.fullmatch(rf"127\.0\.0\.1:(\d+) -> {far}", one)
            assert found, said
            assert ask(connected(int(found[1]))) == EXPECTED
        for path in (f"{short}/a", f"{short}/b"):
            assert ask(connected(path)) == EXPECTED
        assert os.stat(f"{short}/a").st_mode & 0o777 == 0o600
        assert "The forwards are closed; the box goes on." in interrupted(process)
        assert list(short.iterdir()) == []


def test_all_ports_come_and_go_with_their_programs(me: Person) -> None:
    with going(me, "forward", "ports", "--all", "-o", "json") as process:
        with echo(me, "8123"):
            opened = json.loads(line(process))
            assert (opened["event"], opened["port"]) == ("open", 8123)
            assert ask(connected(opened["local"])) == EXPECTED
        closed = json.loads(line(process))
        assert closed == {**opened, "event": "closed"}
        with echo(me, "8124"):
            assert json.loads(line(process))["port"] == 8124


def test_without_a_terminal_all_ports_are_lines(me: Person) -> None:
    with echo(me, "8200"), going(me, "forward", "ports", "0:8200", "--all") as process:
        first = line(process)
        assert first.endswith(" -> 8200")
        with listening(answer) as taken, echo(me, str(taken)):
            local = re.fullmatch(rf"127\.0\.0\.1:(\d+) -> {taken}", line(process))
            assert local
            assert int(local[1]) != taken, "its own number is taken here"
        assert line(process) == f"127.0.0.1:{local[1]} is closed"
        assert "the box goes on" in interrupted(process)


def test_on_a_terminal_all_ports_are_a_list_that_changes(me: Person) -> None:
    ours, theirs = pty.openpty()
    command = [str(DEVBOX), "forward", "ports", "--all"]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**me.env, "TERM": "xterm"}
    )
    os.close(theirs)
    try:
        with echo(me, "8301"):
            _read_until(ours, rb"127\.0\.0\.1:\d+ +8301")
            with echo(me, "8302"):
                _read_until(ours, rb"127\.0\.0\.1:\d+ +8301 .*127\.0\.0\.1:\d+ +8302")
            _read_until(ours, rb"127\.0\.0\.1:\d+ +8301")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read_until(terminal: int, pattern: bytes) -> None:
    said = b""
    while not re.search(pattern, said, re.DOTALL):
        said += os.read(terminal, 65536)


def test_a_port_and_a_socket_of_this_machine_in_the_box(me: Person, short: Path) -> None:
    with listening(answer) as port, listening(answer, f"{short}/here"):
        places = [f"0:{port}", f"/tmp/there.sock:{short}/here", f"/tmp/there2.sock:{port}"]
        with going(me, "reverse", "ports", *places) as process:
            said = [line(process) for _ in places]
            found = re.fullmatch(rf"127\.0\.0\.1:(\d+) in the box -> 127\.0\.0\.1:{port}", said[0])
            assert found, said
            for where in (found[1], "/tmp/there.sock", "/tmp/there2.sock"):
                assert me.ok("exec", "ports", "--", "python3", "-c", ASK, where) == "True\n"
            assert me.sh("ports", "stat -c %a /tmp/there.sock") == "600\n"
            with going(me, "forward", "ports", "--all", "-o", "json") as watching, echo(me, "8400"):
                assert json.loads(line(watching))["port"] == 8400, "our own listener is no program"
            taken = me.devbox("reverse", "ports", f"{found[1]}:1")
            assert taken.status == Conflict.exit_code
            assert f"port {found[1]} cannot be listened on in the box" in taken.err
            assert "reaches this machine no more" in interrupted(process)
        gone = me.devbox("exec", "ports", "--", "python3", "-c", ASK, found[1])
        assert "ConnectionRefusedError" in gone.err
        assert me.sh("ports", "ls /tmp/there* 2>/dev/null || true") == ""


def test_nobody_answers_on_this_machine(me: Person) -> None:
    with going(me, "reverse", "ports", "0:1") as process:
        port = line(process).split()[0].split(":")[1]
        failed = me.devbox("exec", "ports", "--", "python3", "-c", ASK, port)
        assert "ConnectionResetError" in failed.err
        assert "127.0.0.1:1: nothing answers at localhost:1" in interrupted(process)


def test_a_socket_that_a_killed_devbox_left_is_taken_over(me: Person, short: Path) -> None:
    with echo(me, "8500"):
        for _ in range(2):
            with going(me, "forward", "ports", f"{short}/kept:8500") as process:
                assert line(process) == f"{short}/kept -> 8500"
                assert ask(connected(f"{short}/kept")) == EXPECTED
        (short / "file").touch()
        refused = me.devbox("forward", "ports", f"{short}/file:8500")
        assert refused.status == Conflict.exit_code
        assert (short / "file").exists()
