"""What `server up` asks first and `doctor` tells."""

import socket
from pathlib import Path

import pytest

from devbox.cli.server.checks import Check, before_start, of_running
from devbox.edge.layout import Layout, ServerSettings


def found(layout: Layout, settings: ServerSettings) -> dict[str, Check]:
    return {check.name: check for check in before_start(layout, settings)}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(data=tmp_path / "data", run=tmp_path / "run")


def test_a_taken_port_is_named_with_its_owner(layout: Layout) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        check = found(layout, ServerSettings(gateway_port=port))["gateway port"]
    assert not check.good
    assert f"127.0.0.1:{port} cannot be used" in check.said
    assert "used by" in check.said
    assert "--set gateway_port" in check.mend


def test_a_missing_bundle_and_a_long_path(layout: Layout) -> None:
    assert not found(layout, ServerSettings())["agent bundle"].good
    long = Layout(data=layout.data, run=layout.run / ("x" * 100))
    assert not found(long, ServerSettings())["paths"].good


def test_a_server_that_does_not_run(layout: Layout) -> None:
    (check,) = of_running(layout, ServerSettings())
    assert (check.good, check.mend) == (False, "devbox server up")
