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
        ),
        Part(
            "containerd",
            ("containerd", "--config", str(layout.run / "containerd.toml")),
            lambda: answers_unix(layout.containerd_socket),
            {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
        ),
        ours("controller", "controller", lambda: answers_unix(layout.orchestrator_socket)),
        ours("shim", "node_agent.shim", lambda: answers_unix(layout.cri_socket)),
        ours("node_agent", "node_agent", layout.kick_socket.exists),
        ours(
            "gateway",
            "gateway",
            lambda: answers_tcp(settings.gateway_host, settings.gateway_port),
        ),
    )


def answers_unix(path: Path) -> bool:
    """Does somebody accept connections there?"""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0 if path.exists() else False


def answers_tcp(host: str, port: int) -> bool:
    """Does somebody accept connections there?"""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((reachable(host), port)) == 0


def reachable(host: str) -> str:
    """Where to reach what listens on `host`."""
    return "127.0.0.1" if host in {"", "0.0.0.0"} else host
