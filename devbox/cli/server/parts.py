"""The processes of an embedded server, in the order in which they start."""

import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devbox.edge.layout import Layout, ServerSettings


@dataclass(frozen=True)
class Part:
    """One process. `ready` tells whether it answers."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)
    nice: int = 0
    """How far it stands behind the others for the processors."""


def parts(layout: Layout, settings: ServerSettings) -> tuple[Part, ...]:
    """All of them."""
    folders = ("--data", str(layout.data), "--run", str(layout.run))

    def ours(name: str, module: str, ready: Callable[[], bool]) -> Part:
        return Part(name, (sys.executable, "-m", module, *folders), ready)

    return (
        Part(
            "registry",
            ("docker-registry", "serve", str(layout.run / "registry.yml")),
            lambda: answers_tcp("127.0.0.1", settings.registry_port),
            # Nearly all it does is to take saves in, and nobody waits for those.
            nice=10,
        ),
        Part(
            "containerd",
            ("containerd", "--config", str(layout.run / "containerd.toml")),
            lambda: answers_unix(layout.containerd_socket),
            {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
        ),
        ours("shim", "node_agent.shim", lambda: answers_unix(layout.cri_socket)),
        ours("controller", "controller", lambda: answers_unix(layout.orchestrator_socket)),
        ours("node_agent", "node_agent", lambda: takes_datagrams(layout.kick_socket)),
        ours(
            "gateway",
            "gateway",
            lambda: answers_tcp(settings.gateway_reached_at, settings.gateway_port),
        ),
    )


def answers_unix(path: Path) -> bool:
    """Does somebody accept connections there?"""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0 if path.exists() else False


def takes_datagrams(path: Path) -> bool:
    """Does somebody read there? A killed process leaves a file at which nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(str(path)) == 0 if path.exists() else False


def answers_tcp(host: str, port: int) -> bool:
    """Does somebody accept connections there?"""
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True
