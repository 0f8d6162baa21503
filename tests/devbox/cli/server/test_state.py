"""The supervisor's state: of a process that lives, or none."""

import os
import subprocess
from pathlib import Path

import pytest

from devbox.cli.server import state
from devbox.cli.server.state import ServerState, Stage
from devbox.edge.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "run").mkdir()
    return Layout(data=tmp_path / "data", run=tmp_path / "run")


def test_round_trip(layout: Layout) -> None:
    assert state.read(layout) is None
    pid = os.getpid()
    told = ServerState(pid=pid, born=state.born(pid), stage=Stage.READY)
    state.write(layout, told)
    assert state.read(layout) == told


def test_a_pid_that_came_again_is_another_process(layout: Layout) -> None:
    pid = os.getpid()
    state.write(layout, ServerState(pid=pid, born=state.born(pid) - 1, stage=Stage.READY))
    assert state.read(layout) is None


def test_the_dead_have_no_state(layout: Layout) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        told = ServerState(pid=process.pid, born=state.born(process.pid), stage=Stage.READY)
        state.write(layout, told)
        assert state.read(layout) == told
        process.kill()
        process.wait()
        assert state.read(layout) is None


def test_a_torn_file_is_none(layout: Layout) -> None:
    layout.server_state.write_text("{")
    assert state.read(layout) is None
