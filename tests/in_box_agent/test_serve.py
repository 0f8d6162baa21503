"""The agent's door: grants, scopes, revoking; and the services beside SSH."""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devbox.model.grants import Scope
from devbox.model.nodes import StartRecord
from tests.support.box import Gateway, busybox_root, record, running, wait_for
from tests.support.ssh import Door, door

pytestmark = pytest.mark.root
GATEWAY = Gateway()


@pytest.fixture(scope="module")
def start() -> StartRecord:
    return record(grant_keys=(GATEWAY.public,))


@pytest.fixture(scope="module")
def box(
    bundle: Path, start: StartRecord, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Door]:
    root = tmp_path_factory.mktemp("root")
    busybox_root(root)
    with running(bundle, root, start) as running_box:
        running_box.wait_healthy()
        with door(running_box, GATEWAY, start) as way:
            yield way


def ask(
    box: Door, service: str, params: Any = None, scopes: str = "full", said: bytes = b""
) -> Any:
    words = box.join(service, json.dumps(params or {}, separators=(",", ":")), scopes)
    done = subprocess.run(words, input=said, capture_output=True, timeout=20)
    return done.stdout


def post(box: Door, grant: str, body: bytes) -> tuple[int, str]:
    header = ("-H", f"X-Devbox-Grant: {grant}")
    return box.box.get("/revoke", "-X", "POST", *header, "-d", body.decode())


@pytest.mark.parametrize(
    ("service", "scopes"),
    [
        ("ssh", "ports"),
        ("ssh", "read-only lsp"),
        ("tcp", "lsp"),
        ("reverse", "ports lsp read-only"),
        ("nonsense", "full"),
    ],
)
def test_a_scope_opens_only_its_services(box: Door, service: str, scopes: str) -> None:
    assert ask(box, service, scopes=scopes).startswith(b"forbidden: ")


def test_ssh_in_an_image_with_nothing_but_busybox(box: Door) -> None:
    assert box.out("echo $0 $HOME; pwd; id -u") == "sh /root\n/\n0\n"
    assert box.run(stdin=b"echo from the shell; exit 3").returncode == 3


@pytest.mark.parametrize("grant", ["", "nonsense"])
def test_no_grant_no_answer(box: Door, grant: str) -> None:
    status, body = post(box, grant, b'{"token_ids": []}')
    assert (status, json.loads(body)["message"]) == (401, "the grant is not valid")


def test_only_the_gateway_revokes(box: Door) -> None:
    assert post(box, GATEWAY.grant(Scope.FULL), b'{"token_ids": ["t1"]}')[0] == 403
    assert post(box, GATEWAY.grant(Scope.REVOKE), b"{}")[0] == 400


def test_a_grant_is_single_use(box: Door) -> None:
    grant = GATEWAY.grant(Scope.REVOKE)
    assert post(box, grant, b'{"token_ids": []}')[0] == 200
    assert post(box, grant, b'{"token_ids": []}')[0] == 401


def test_revoking_ends_sessions_and_their_processes(box: Door) -> None:
    *command, line = box.join("ssh", "{}", "full token=t9")
    proxy = f'ProxyCommand={" ".join(command)} "{line}"'
    client = subprocess.Popen(box.ssh("-o", proxy, "box", "sleep 974"), stdin=subprocess.PIPE)
    wait_for(lambda: box.box.processes("sleep 974"), "the process")
    status, body = post(box, GATEWAY.grant(Scope.REVOKE), b'{"token_ids": ["other"]}')
    assert (status, json.loads(body)) == (200, {"ended": 0})
    assert client.poll() is None
    status, body = post(box, GATEWAY.grant(Scope.REVOKE), b'{"token_ids": ["t9"]}')
    assert (status, json.loads(body)) == (200, {"ended": 1})
    assert client.wait(5) == 255
    client.communicate()
    wait_for(lambda: not box.box.processes("sleep 974"), "its end")


def test_revoking_ends_what_listens_in_the_box(box: Door) -> None:
    """A reverse forward would go on taking connections for somebody who may not come back."""
    *command, line = box.join("ssh", "{}", "full token=t8")
    proxy = f'ProxyCommand={" ".join(command)} "{line}"'
    words = box.ssh("-N", "-R", "127.0.0.1:4711:127.0.0.1:9", "-o", proxy, "box")
    client = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    port = f":{4711:04X} "

    def listens() -> bool:
        return port in Path(f"/proc/{box.box.pid}/net/tcp").read_text()

    try:
        wait_for(listens, "the forward")
        status, known = ask_tokens(box, GATEWAY.grant(Scope.REVOKE))
        assert status == 200
        assert "t8" in known["token_ids"]
        post(box, GATEWAY.grant(Scope.REVOKE), b'{"token_ids": ["t8"]}')
        wait_for(lambda: not listens(), "its end")
        assert client.wait(10) == 255
    finally:
        client.kill()
        client.wait()
    assert "t8" not in ask_tokens(box, GATEWAY.grant(Scope.REVOKE))[1]["token_ids"]


def ask_tokens(box: Door, grant: str) -> tuple[int, dict[str, Any]]:
    status, body = box.box.get("/tokens", "-H", f"X-Devbox-Grant: {grant}")
    return status, json.loads(body)


def test_only_the_gateway_learns_whose_sessions_there_are(box: Door) -> None:
    assert ask_tokens(box, GATEWAY.grant(Scope.FULL))[0] == 403
    assert ask_tokens(box, "nonsense")[0] == 401


@contextlib.contextmanager
def listening(box: Door) -> Iterator[int]:
    """A server in the box's network that answers in capitals."""
    space = os.open(f"/proc/{box.box.pid}/ns/net", os.O_RDONLY)
    made: list[socket.socket] = []

    def make() -> None:
        import ctypes

        ctypes.CDLL(None).setns(space, 0)  # of this thread alone
        made.append(socket.create_server(("127.0.0.1", 0)))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                end, _ = made[0].accept()
                with end:
                    while data := end.recv(1 << 16):
                        end.sendall(data.upper())

    maker = threading.Thread(target=make)
    maker.start()
    maker.join()
    server = threading.Thread(target=serve, daemon=True)
    server.start()
    try:
        yield made[0].getsockname()[1]
    finally:
        made[0].shutdown(socket.SHUT_RDWR)
        made[0].close()
        server.join(5)
        os.close(space)


def test_tcp(box: Door) -> None:
    with listening(box) as port:
        data = b"hello" * 100_000
        assert ask(box, "tcp", {"port": port}, "ports", data) == data.upper()


def test_tcp_to_where_nobody_listens(box: Door) -> None:
    assert ask(box, "tcp", {"port": 9}).startswith(b"unavailable: nothing answers at ::1:9")
    assert ask(box, "tcp", {"unix": "/no.sock"}).startswith(b"unavailable: nothing answers at")


@pytest.mark.parametrize("params", [{}, {"port": 70000}, {"port": "x"}, {"por": 1}])
def test_tcp_with_wrong_parameters(box: Door, params: dict[str, Any]) -> None:
    assert ask(box, "tcp", params).startswith(b"bad_input: ")


def test_events_tell_listening_ports(box: Door) -> None:
    words = box.join("events", "{}", "read-only")
    client = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdout is not None
    try:
        assert json.loads(client.stdout.readline()) == {"event": "ports", "ports": []}
        with listening(box) as port:
            told = json.loads(client.stdout.readline())
            assert told["ports"] == [{"port": port, "loopback": True}]
        assert json.loads(client.stdout.readline())["ports"] == []
    finally:
        client.communicate(timeout=5)


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack("!BI", kind, len(payload)) + payload


def frames(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """All output, and the last frame's word about the end."""
    said, last = b"", {}
    while data:
        kind, length = struct.unpack_from("!BI", data)
        payload, data = data[5 : 5 + length], data[5 + length :]
        if kind == 0:
            said += payload
        else:
            assert not data, "the end comes last"
            last = json.loads(payload)
    return said, last


def test_pty_runs_a_command_in_a_terminal(box: Door) -> None:
    params = {"command": ["stty", "size"], "rows": 10, "columns": 33}
    words = box.join("pty", json.dumps(params, separators=(",", ":")))
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        said, last = frames(client.stdout.read())
    assert said == b"10 33\r\n"
    assert last == {"status": 0}


def test_pty_takes_input_and_resizes(box: Door) -> None:
    words = box.join("pty", '{"rows":5}')
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(frame(1, b'{"rows":44,"columns":55}') + frame(0, b"stty size\n"))
        client.stdin.write(frame(0, b"kill -9 $$\n"))
        client.stdin.flush()
        said, last = frames(client.stdout.read())
    assert b"44 55\r\n" in said
    assert last == {"signal": "KILL"}


def test_the_person_does_not_lose_processes_when_the_agent_dies(box: Door) -> None:
    box.out("sleep 973 >/dev/null 2>&1 </dev/null &")
    mine = wait_for(lambda: box.box.processes("sleep 973"), "the process")
    first = box.box.agent()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: first not in box.box.processes("/.devbox/app"), "its end")
    box.box.wait_healthy()
    assert box.out("echo again") == "again\n"
    assert box.box.processes("sleep 973") == mine
    os.kill(mine[0], signal.SIGKILL)
