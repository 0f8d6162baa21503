"""What is told to a box's shells reaches its terminals, and nothing else that lies there."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node_agent.quota.shells import tell_shells

pytestmark = pytest.mark.root

_TERMINALS = """
import os, sys
masters = [os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY) for _ in range(2)]
import fcntl, struct
for master in masters:
    fcntl.ioctl(master, 0x40045431, struct.pack("i", 0))  # TIOCSPTLCK: unlock
print("ready", flush=True)
for master in masters:
    print(os.read(master, 4096).decode().strip(), flush=True)
sys.stdin.read()
"""
_TRAP = """
mount -t tmpfs none /dev/pts
echo kept > /dev/pts/0
ln -s "$0" /dev/pts/1
mkfifo /dev/pts/2
mknod /dev/pts/3 c 1 7
echo ready
read -r _
cat /dev/pts/0
"""


@contextlib.contextmanager
def box(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A process with mounts of its own."""
    process = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_every_terminal_of_the_box_is_told() -> None:
    mount = "mount -t devpts -o newinstance,ptmxmode=0666 none /dev/pts && exec"
    with box("sh", "-c", f'{mount} "$0" -c "$1"', sys.executable, _TERMINALS) as process:
        assert line(process) == "ready"
        assert tell_shells(process.pid, "nearly full") == 2
        assert [line(process), line(process)] == ["\a*** devbox: nearly full"] * 2


def test_a_terminal_that_nobody_reads_holds_nobody_up() -> None:
    mount = "mount -t devpts -o newinstance,ptmxmode=0666 none /dev/pts && exec"
    with box("sh", "-c", f'{mount} "$0" -c "$1"', sys.executable, _TERMINALS) as process:
        assert line(process) == "ready"
        told = [tell_shells(process.pid, "x" * 1000) for _ in range(100)]
        assert told[0] == 2
        assert told[-1] == 0


def test_nothing_that_a_box_puts_there_instead_is_touched(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("untouched")
    with box("sh", "-c", _TRAP, str(secret)) as process:
        assert line(process) == "ready"
        assert tell_shells(process.pid, "nearly full") == 0
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert line(process) == "kept"
    assert secret.read_text() == "untouched"


def test_a_directory_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    trap = f"mount -t tmpfs none /dev && ln -s {tmp_path} /dev/pts; echo ready; read -r _"
    (tmp_path / "0").write_text("untouched")
    with box("sh", "-c", trap) as process:
        assert line(process) == "ready"
        assert tell_shells(process.pid, "nearly full") == 0


def test_a_box_that_is_gone_is_no_trouble() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert tell_shells(process.pid, "nobody hears it") == 0
    assert os.getpid() != process.pid
