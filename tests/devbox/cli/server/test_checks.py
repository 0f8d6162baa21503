"""What `server up` asks first and `doctor` tells."""

import os
import socket
from pathlib import Path

import pytest

from devbox.cli.server.checks import Check, before_start, of_running
from devbox.edge.layout import Layout, ServerSettings
from devbox.model.errors import BadInput, Conflict


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
    mine = Path("/proc/self/comm").read_text().strip()
    assert check.said == f"port {port} is taken by {mine} (process {os.getpid()})"
    assert check.code == Conflict.code
    assert "--set gateway_port" in check.mend


def test_a_missing_bundle_and_a_long_path(layout: Layout) -> None:
    assert not found(layout, ServerSettings())["agent bundle"].good
    long = Layout(data=layout.data, run=layout.run / ("x" * 100))
    paths = found(long, ServerSettings())["paths"]
    assert (paths.good, paths.code) == (False, BadInput.code)
    assert "bytes too long for unix sockets" in paths.said


def test_a_host_that_is_not_this_machines(layout: Layout) -> None:
    settings = ServerSettings(gateway_host="203.0.113.7", gateway_port=0)
    check = found(layout, settings)["gateway port"]
    assert (check.good, check.code) == (False, BadInput.code)


def test_a_server_that_does_not_run(layout: Layout) -> None:
    server, orphans = of_running(layout, ServerSettings())
    assert (server.good, server.mend) == (False, "devbox server up")
    assert (orphans.good, orphans.said) == (True, "none")


def test_a_network_that_the_machine_uses_already(layout: Layout) -> None:
    check = found(layout, ServerSettings(subnet="127.0.0.0/8"))["network"]
    assert (check.good, check.code) == (False, Conflict.code)
    assert "lo has 127.0.0.1" in check.said
    assert found(layout, ServerSettings(subnet="198.18.0.0/24"))["network"].good


def test_write_quotas_hold_whatever_the_file_system_can_do(layout: Layout) -> None:
    for where in (layout, Layout(data=Path("/proc/self"), run=layout.run)):
        check = found(where, ServerSettings())["write quotas"]
        assert check.good
        assert check.said.startswith("boxes are measured and stopped at their quota; ")
        assert "project quotas" in check.said
