"""What must be true of this machine, each with how to mend it. `server up` asks the first ones."""

import os
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from devbox.cli.server import state
from devbox.cli.server.parts import parts
from devbox.edge.layout import Layout, ServerSettings

_LEAST_FREE_BYTES = 2 << 30
_LONGEST_SOCKET = 100
_PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "docker-registry": "docker-registry",
    "mmdebstrap": "mmdebstrap",
    "setpriv": "util-linux",
    "busybox": "busybox-static",
    "nft": "nftables",
    "ip": "iproute2",
}
_CNI_PLUGIN = Path("/usr/lib/cni/host-local")


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that must be so."""

    name: str
    good: bool
    said: str
    mend: str = ""


def before_start(layout: Layout, settings: ServerSettings) -> Iterator[Check]:
    """What must hold before the server can start."""
    yield _root()
    yield _packages()
    yield _overlay(layout)
    yield _space(layout)
    yield _sockets(layout)
    yield _bundle(layout)
    for name, host, port in _ports(settings):
        yield _port(name, host, port)


def _root() -> Check:
    good = os.geteuid() == 0
    said = "root" if good else "the server runs containers, which only root may"
    return Check(name="root", good=good, said=said, mend="Run it with sudo.")


def _packages() -> Check:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = {pkg for name, pkg in _PROGRAMS.items() if shutil.which(name, path=path) is None}
    if not _CNI_PLUGIN.exists():
        missing.add("containernetworking-plugins")
    listed = " ".join(sorted(missing))
    return Check(
        name="packages",
        good=not missing,
        said="all there" if not missing else f"missing: {listed}",
        mend=f"apt-get install {listed}",
    )


def _overlay(layout: Layout) -> Check:
    good = "overlay" in Path("/proc/filesystems").read_text()
    where = _existing(layout.data)
    said = "overlayfs is there" if good else "this kernel has no overlayfs"
    if good and _filesystem(where) == "overlay":
        return Check(
            name="overlay",
            good=False,
            said=f"{where} lies on an overlayfs itself, on which boxes cannot start",
            mend="Choose another directory: devbox server up --root DIR.",
        )
    return Check(name="overlay", good=good, said=said, mend="Use a kernel with overlayfs.")


def _filesystem(path: Path) -> str:
    best, kind = "", ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        point = fields[4]
        inside = str(path) == point or str(path).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[fields.index("-") + 1]
    return kind


def _space(layout: Layout) -> Check:
    where = _existing(layout.data)
    free = shutil.disk_usage(where).free
    return Check(
        name="disk",
        good=free >= _LEAST_FREE_BYTES,
        said=f"{free / (1 << 30):.1f} GiB free at {where}",
        mend="Free some space: 2 GiB are needed to start. Nothing is lost.",
    )


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _sockets(layout: Layout) -> Check:
    longest = max(len(str(p)) for p in (layout.orchestrator_socket, layout.containerd_socket))
    return Check(
        name="paths",
        good=longest <= _LONGEST_SOCKET,
        said=f"sockets lie below {layout.run}",
        mend="Choose a shorter directory: unix sockets allow 107 bytes.",
    )


def _bundle(layout: Layout) -> Check:
    good = (layout.bundle / "current" / "bin" / "devbox-init").exists()
    return Check(
        name="agent bundle",
        good=good,
        said="built" if good else "not built yet",
        mend=f"python -m in_box_agent.bundle --out {layout.bundle}",
    )


def _ports(settings: ServerSettings) -> tuple[tuple[str, str, int], ...]:
    return (
        ("gateway port", settings.gateway_host, settings.gateway_port),
        ("registry port", "127.0.0.1", settings.registry_port),
    )


def _port(name: str, host: str, port: int) -> Check:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            taken = f"{host}:{port} cannot be used: {error.strerror}{_owner(port)}"
            key = name.replace(" ", "_")
            mend = f"End that program, or choose another: devbox server up --set {key}=PORT"
            return Check(name=name, good=False, said=taken, mend=mend)
    return Check(name=name, good=True, said=f"{host}:{port} is free")


def _owner(port: int) -> str:
    """Who listens, as far as /proc tells."""
    inodes = {
        fields[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if (fields := line.split())
        and fields[3] == "0A"
        and int(fields[1].split(":")[1], 16) == port
    }
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(entry)[8:-1] in inodes:
                return f" (used by {(entry.parent.parent / 'comm').read_text().strip()})"
        except OSError:
            continue
    return ""


def of_running(layout: Layout, settings: ServerSettings) -> Iterator[Check]:
    """What must hold while the server runs."""
    now = state.read(layout)
    if now is None:
        yield Check(name="server", good=False, said="not running", mend="devbox server up")
        return
    yield Check(
        name="server",
        good=now.stage is state.Stage.READY,
        said=f"{now.stage} {now.message}".strip(),
        mend=now.hint or f"Look into {layout.logs}.",
    )
    for part in parts(layout, settings):
        yield _part(layout, now, part.name, part.ready)
    yield _database("journal", layout.journal)
    yield _database("controller's store", layout.controller)


def _part(layout: Layout, now: state.ServerState, name: str, ready: Callable[[], bool]) -> Check:
    known = now.parts.get(name)
    good = known is not None and ready()
    restarts = f", started again {known.restarts} times" if known and known.restarts else ""
    return Check(
        name=name,
        good=good,
        said=("answers" if good else "does not answer") + restarts,
        mend=f"It is started again by itself; its log is {layout.logs / name}.log.",
    )


def _database(name: str, path: Path) -> Check:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            (said,) = database.execute("PRAGMA quick_check").fetchone()
    except sqlite3.Error as error:
        said = str(error)
    return Check(
        name=name, good=said == "ok", said=said, mend=f"Stop the server, keep a copy of {path}."
    )
