"""What editors do over SSH, as far as is known of them: an installer, then a port it opened.

VS Code's Remote-SSH runs `ssh -T -D PORT HOST bash`, writes its installer to bash's input, waits
for the line with the server's port and talks to it through the SOCKS port; a window that comes back
finds the server running. JetBrains Gateway asks for the platform, copies a starter by sftp, runs it
and forwards a local port to the one it prints.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.client import Way
from tests.interop.conftest import Make
from tests.interop.libraries import Java, Jsch, Mina, Sshj
from tests.interop.programs import free_port
from tests.support.echo import EXPECTED, ask, connected, through_socks

pytestmark = pytest.mark.root

_SERVER = """
import os, socket, sys, threading
server = socket.create_server(('127.0.0.1', 0))
with open('port.new', 'w') as file:
    file.write(str(server.getsockname()[1]))
os.rename('port.new', 'port')
def serve(end):
    while data := end.recv(65536):
        end.sendall(data.upper())
    end.close()
while True:
    threading.Thread(target=serve, args=server.accept()[:1], daemon=True).start()
"""
_INSTALLER = f"""
set -e
mkdir -p "$HOME/NAME" && cd "$HOME/NAME"
if [ -e pid ] && kill -0 "$(cat pid)" 2>/dev/null; then echo "found running"; else
cat > server.py <<'END'
{_SERVER}
END
nohup python3 server.py NAME >log 2>&1 </dev/null &
echo $! > pid
while [ ! -e port ]; do sleep 0.02; done
fi
echo "listeningOn==$(cat port)=="
"""


@contextmanager
def window(way: Way, script: str) -> Iterator[tuple[int, int, list[str]]]:
    """One connection of Remote-SSH: its SOCKS port, the server's port and what was said before."""
    socks = free_port()
    words = ["-v", "-T", "-D", str(socks), "-o", "ConnectTimeout=15", "box", "bash"]
    client = subprocess.Popen(
        way.door.ssh(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=-3, text=True
    )
    try:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(script)
        client.stdin.flush()
        said: list[str] = []
        for line in client.stdout:
            if found := re.fullmatch(r"listeningOn==(\d+)==\n", line):
                yield socks, int(found[1]), said
                return
            said.append(line)
        raise AssertionError(said)
    finally:
        client.kill()
        client.communicate()


def test_remote_ssh_installs_connects_and_comes_back(way: Way) -> None:
    script = _INSTALLER.replace("NAME", ".vscode-server")
    try:
        with window(way, script) as (socks, port, said):
            assert said == []
            assert [ask(through_socks(socks, port)) for _ in range(3)] == [EXPECTED] * 3
        with window(way, script) as (socks, again, said):
            assert (again, said) == (port, ["found running\n"])
            assert ask(through_socks(socks, port)) == EXPECTED
    finally:
        _end(way, "server.py .vscode-server")


@pytest.mark.parametrize("kind", [Sshj, Mina, Jsch])
def test_gateway_starts_its_backend_and_forwards_to_it(
    kind: type[Java], made: Make, way: Way, tmp_path: Path
) -> None:
    client = made(kind)
    name = f".backend-{kind.name}"
    assert client.execute("uname -sm").out.startswith(b"Linux ")
    starter = tmp_path / "starter.sh"
    starter.write_text(_INSTALLER.replace("NAME", name))
    client.upload(starter, f"starter-{kind.name}.sh")
    try:
        done = client.execute(f"bash ~/starter-{kind.name}.sh")
        found = re.fullmatch(rb"listeningOn==(\d+)==\n", done.out)
        assert found, done
        with client.local(int(found[1])) as place:
            assert ask(connected(place), half_close=False) == EXPECTED
    finally:
        _end(way, f"server.py {name}")


def _end(way: Way, command: str) -> None:
    for pid in way.door.box.processes(command):
        os.kill(pid, signal.SIGKILL)
