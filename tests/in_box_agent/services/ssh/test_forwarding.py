"""Forwarding with the real OpenSSH client: ports, sockets, the ssh-agent."""

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests.support.box import wait_for
from tests.support.echo import EXPECTED, answer, ask, connected, echo_in, listening
from tests.support.ssh import Door

pytestmark = pytest.mark.root


@contextlib.contextmanager
def forwarding(box: Door, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A client that only forwards."""
    command = box.ssh("-N", "-v", "-o", "ExitOnForwardFailure=yes", *options, "box")
    client = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert client.stderr is not None
    try:
        for line in client.stderr:
            if b"Entering interactive session" in line or b"forwarding_success" in line:
                break
        drain = threading.Thread(target=client.stderr.read, daemon=True)
        drain.start()
        yield client
    finally:
        client.kill()
        client.wait()
        drain.join()
        client.stderr.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_local_ports(box: Door) -> None:
    port = free_port()
    with echo_in(box, 8801), forwarding(box, "-L", f"127.0.0.1:{port}:localhost:8801"):
        assert ask(connected(port)) == EXPECTED


def test_local_unix_sockets(box: Door) -> None:
    path = f"{box.place}/local"
    with echo_in(box, "/tmp/e1.sock"), forwarding(box, "-L", f"{path}:/tmp/e1.sock"):
        assert ask(connected(path)) == EXPECTED


def test_dynamic_ports(box: Door) -> None:
    port = free_port()
    with echo_in(box, 8802), forwarding(box, "-D", f"127.0.0.1:{port}"):
        end = connected(port)
        end.sendall(b"\x05\x01\x00")
        assert end.recv(2) == b"\x05\x00"
        end.sendall(b"\x05\x01\x00\x03\x09localhost" + (8802).to_bytes(2, "big"))
        assert end.recv(10)[:2] == b"\x05\x00"
        assert ask(end) == EXPECTED


ASK = """
import socket, sys
where = sys.argv[1]
end = socket.socket(socket.AF_UNIX if where.startswith('/') else socket.AF_INET)
end.connect(where if where.startswith('/') else ('127.0.0.1', int(where)))
end.sendall(b'hello'); end.shutdown(socket.SHUT_WR)
print(end.makefile('rb').read().decode())
"""


def test_remote_ports(box: Door) -> None:
    with (
        listening(answer) as port,
        forwarding(box, "-R", f"8803:localhost:{port}"),
    ):
        assert box.out('python3 -c "$(cat)" 8803', stdin=ASK.encode()) == "HELLO\n"


def test_remote_unix_sockets(box: Door) -> None:
    path = f"{box.place}/here"
    with listening(answer, path), forwarding(box, "-R", f"/tmp/r1.sock:{path}"):
        assert box.out('python3 -c "$(cat)" /tmp/r1.sock', stdin=ASK.encode()) == "HELLO\n"


def test_a_remote_port_is_gone_with_its_client(box: Door) -> None:
    with listening(answer) as port, forwarding(box, "-R", f"8804:localhost:{port}"):
        pass
    wait_for(lambda: box.run('python3 -c "$(cat)" 8804', stdin=ASK.encode()).returncode, "it")


def test_the_ssh_agent_at_one_stable_place(box: Door) -> None:
    with contextlib.ExitStack() as stack:
        sock = f"{box.place}/agent"
        agent = stack.enter_context(subprocess.Popen(["ssh-agent", "-D", "-a", sock], stdout=-3))
        stack.callback(agent.kill)
        wait_for(lambda: os.path.exists(sock), "the ssh-agent")
        env = {**os.environ, "SSH_AUTH_SOCK": sock}
        key = f"{box.place}/key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        subprocess.run(["ssh-add", "-q", key], env=env, check=True)
        listing = ["-A", "box", "echo $SSH_AUTH_SOCK; ssh-add -l"]
        done = subprocess.run(box.ssh(*listing), env=env, capture_output=True, text=True)
        place, listed = done.stdout.splitlines()
        assert place == "/.devbox/box/ssh-agent.sock"
        assert "ED25519" in listed
        keeper = stack.enter_context(
            subprocess.Popen(box.ssh("-A", "box", "cat"), env=env, stdin=-1, stdout=-1)
        )
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        keeper.stdin.write(b"x")
        keeper.stdin.flush()
        keeper.stdout.read(1)
        assert "ED25519" in box.out("ssh-add -l"), "a shell without -A finds the newest one"
        keeper.communicate()
    assert box.run("ssh-add -l").returncode != 0
