"""Processes of a person, without SSH around them."""

import asyncio
import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from in_box_agent.services.process import STDERR, STDOUT, Command, Process, Window


class Listener:
    """Remembers what a process says; may be slow on purpose."""

    def __init__(self) -> None:
        self.said: dict[int, bytes] = {STDOUT: b"", STDERR: b""}
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.full: list[bool] = []
        self.heard = asyncio.Event()

    def output(self, data: bytes, source: int) -> None:
        assert not self.status.done(), "nothing comes after the end"
        self.said[source] += data
        self.heard.set()

    def ended(self, status: int) -> None:
        self.status.set_result(status)

    def input_full(self, full: bool) -> None:
        self.full.append(full)


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bin") / "devbox-exec"
    source = Path(__file__).parents[3] / "in_box_agent/init/exec.c"
    subprocess.run(["gcc", "-static", "-o", made, source], check=True)
    return made


def start(starter: Path, script: str, *, window: Window | None = None) -> tuple[Listener, Process]:
    owner = Listener()
    command = Command(
        program="/bin/sh",
        argv=["sh", "-c", script],
        env={"PATH": os.environ["PATH"]},
        directory="/nowhere",
        home="/tmp",
        terminal=window,
        starter=str(starter),
    )
    return owner, Process(owner, command)


async def test_streams_and_status(starter: Path) -> None:
    owner, _ = start(starter, "pwd; echo err >&2; exit 5")
    assert await owner.status == 5
    assert owner.said == {STDOUT: b"/tmp\n", STDERR: b"err\n"}


async def test_a_signal_is_a_negative_status(starter: Path) -> None:
    owner, process = start(starter, "echo up; sleep 60")
    await owner.heard.wait()
    process.signal(15)
    assert await owner.status == -15


async def test_input_waits_for_a_slow_reader(starter: Path) -> None:
    owner, process = start(starter, "read go; exec wc -c")
    process.write(b"go\n" + bytes(3 << 20))
    assert owner.full == [True]
    process.end_input()
    assert await owner.status == 0
    assert owner.said[STDOUT].strip() == str(3 << 20).encode()
    assert owner.full == [True, False]


@pytest.mark.parametrize(("window", "size"), [(None, 50_000), (Window(24, 80), 2000)])
async def test_a_paused_owner_loses_nothing(
    starter: Path, window: Window | None, size: int
) -> None:
    owner, process = start(starter, f"head -c {size} /dev/zero | tr '\\0' x", window=window)
    process.pause(True)
    await asyncio.get_running_loop().run_in_executor(None, await_end, process)
    await asyncio.sleep(0)
    assert not owner.status.done()
    process.pause(False)
    assert await owner.status == 0
    assert owner.said[STDOUT] == b"x" * size


def await_end(process: Process) -> None:
    """Look, without reaping. What was said must fit into a pipe or terminal."""
    with contextlib.suppress(ChildProcessError):  # the loop was faster and reaped it
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


async def test_the_end_of_a_terminal_is_told_once(starter: Path) -> None:
    for _ in range(20):
        owner, _process = start(starter, "echo bye", window=Window(24, 80))
        assert await owner.status == 0
        assert owner.said[STDOUT] == b"bye\r\n"


async def test_background_processes_keep_a_pipe_but_not_a_terminal(starter: Path) -> None:
    owner, _ = start(starter, "(sleep 0.2; echo late) & exit 0")
    assert await owner.status == 0
    assert owner.said[STDOUT] == b"late\n"
    owner, process = start(starter, "trap '' HUP; sleep 5 & echo $!; exit 0", window=Window(1, 1))
    assert await owner.status == 0
    os.kill(int(owner.said[STDOUT]), 9)
    process.hang_up()


async def test_no_descriptor_is_left(starter: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for window in (None, Window(24, 80)):
        owner, process = start(starter, "cat >/dev/null; sleep 0", window=window)
        process.write(b"x\n\x04")
        process.end_input()
        await owner.status
    assert set(os.listdir("/proc/self/fd")) <= before
