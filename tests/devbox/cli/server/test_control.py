"""Starting and ending a server from outside: settings, the ground, what a failed start says."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from devbox.cli.server import checks, control, state
from devbox.cli.server.checks import Check
from devbox.cli.server.state import ServerState, Stage
from devbox.edge.layout import Layout, ServerSettings, read_settings
from devbox.model.errors import BadInput, Conflict, Internal, NoSpace


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "run").mkdir()
    return Layout(data=tmp_path / "data", run=tmp_path / "run")


def quiet(text: str, fraction: float | None = None) -> None:
    del text, fraction


def test_settings_are_kept(layout: Layout) -> None:
    made = control.change_settings(layout, ["gateway_port=8123", 'cluster=an "odd" one'])
    assert (made.gateway_port, made.cluster) == (8123, 'an "odd" one')
    assert read_settings(layout) == made
    again = control.change_settings(layout, ["gateway_port=8124"])
    assert (again.gateway_port, again.cluster) == (8124, 'an "odd" one')


def test_no_change_writes_nothing(layout: Layout) -> None:
    assert control.change_settings(layout, ()) == ServerSettings()
    assert not layout.settings.exists()


@pytest.mark.parametrize("change", ["gateway_port", "gatewayport=1", "gateway_port=many", "=1"])
def test_what_is_no_setting(layout: Layout, change: str) -> None:
    with pytest.raises(BadInput):
        control.change_settings(layout, [change])
    assert not layout.settings.exists()


def test_the_first_bad_check_is_the_error(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    no_space = Check(name="disk", good=False, said="full", mend="empty it", code="no_space")
    fine = Check(name="root", good=True, said="root")
    monkeypatch.setattr(control, "before_start", lambda *_: iter([fine, no_space]))
    with pytest.raises(NoSpace, match="full"):
        control.check_ground(layout, ServerSettings())


def test_a_taken_port_is_a_conflict(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        real = checks.before_start
        monkeypatch.setattr(
            control,
            "before_start",
            lambda *what: (check for check in real(*what) if "port" in check.name),
        )
        with pytest.raises(Conflict, match=f"port {port} is taken by"):
            control.check_ground(layout, ServerSettings(registry_port=port, gateway_port=0))


def test_a_failed_start_says_what_the_server_said(layout: Layout) -> None:
    pid = os.getpid()
    failed = ServerState(
        pid=pid,
        born=state.born(pid),
        stage=Stage.FAILED,
        code="no_space",
        message="the disk is full",
        hint="empty it",
    )
    state.write(layout, failed)
    with pytest.raises(NoSpace) as raised:
        control.await_ready(layout, quiet, None)
    assert (raised.value.message, raised.value.hint) == ("the disk is full", "empty it")


def test_a_server_that_ends_without_a_word(layout: Layout) -> None:
    layout.logs.mkdir(parents=True)
    control.log_of(layout).write_text("it began\nand could not go on\n")
    launched = subprocess.Popen(["false"])
    with pytest.raises(Internal, match="ended at once: and could not go on"):
        control.await_ready(layout, quiet, launched)
