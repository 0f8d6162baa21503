"""What must be true of this machine, each with how to mend it. `server up` asks the first ones."""

import ctypes
import errno
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import IPv4Address, ip_network
from pathlib import Path

import msgspec

from devbox.cli.server import leftovers, state
from devbox.cli.server.parts import parts
from devbox.edge.layout import Layout, ServerSettings
from devbox.edge.space import space_of
from devbox.model import errors

_LEAST_FREE_BYTES = 2 << 30
_LONGEST_SOCKET = 107
_LEAST_FILES = 4096
_QUOTACTL_FD = 443
_GET_FORMAT_OF_PROJECTS = (0x800004 << 8) | 2
_CGROUPS = Path("/sys/fs/cgroup")
_CONTROLLERS = {"cpu", "memory", "pids"}
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
    """What was found, as the beginning of a sentence."""
    mend: str = ""
    code: str = errors.Unavailable.code
    """Of the error when the server cannot start for this."""


def before_start(layout: Layout, settings: ServerSettings) -> Iterator[Check]:
    """What must hold before the server can start."""
    yield _root()
    yield _packages()
    yield _control_groups()
    yield _open_files()
    yield _overlay(layout)
    yield _space(layout)
    yield _quotas(layout)
    yield _sockets(layout)
    yield _bundle(layout)
    yield _network(settings)
    for name, host, port in _ports(settings):
        yield _port(name, host, port)


def _root() -> Check:
    good = os.geteuid() == 0
    said = "root" if good else "the server runs containers, which only root may"
    return Check(
        name="root",
        good=good,
        said=said,
        mend="Use sudo here, or `devbox login URL` for a server elsewhere.",
        code=errors.Forbidden.code,
    )


def _packages() -> Check:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = {pkg for name, pkg in _PROGRAMS.items() if shutil.which(name, path=path) is None}
    if not _CNI_PLUGIN.exists():
        missing.add("containernetworking-plugins")
    listed = " ".join(sorted(missing))
    return Check(
        name="packages",
        good=not missing,
        said="all there" if not missing else f"Debian packages are missing: {listed}",
        mend=f"apt-get install --no-install-recommends {listed}",
    )


def _control_groups() -> Check:
    unified = _CGROUPS / "cgroup.controllers"
    if unified.exists():
        have, version = set(unified.read_text().split()), 2
    else:
        have, version = {path.name for path in _CGROUPS.glob("*") if path.is_dir()}, 1
    missing = sorted(_CONTROLLERS - have)
    found = "no control groups for " + ", ".join(missing)
    return Check(
        name="control groups",
        good=not missing,
        said=found if missing else f"version {version}",
        mend="Mount them below /sys/fs/cgroup, as systemd does; inside a container, pass them on.",
    )


def _open_files() -> Check:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    good = most == resource.RLIM_INFINITY or most >= _LEAST_FILES
    return Check(
        name="open files",
        good=good,
        said="no limit" if most == resource.RLIM_INFINITY else f"at most {most} for a process",
        mend=f"Raise the hard limit to {_LEAST_FILES}: ulimit -Hn {_LEAST_FILES}",
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
            mend="Choose another directory: devbox server up --root DIR",
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
    space = space_of(where)
    said = f"{space} at {where}"
    if space.low:
        said += "; copies of saved files of stopped projects are given back"
    return Check(
        name="disk",
        good=space.free >= _LEAST_FREE_BYTES and not space.at_floor,
        said=said,
        mend="Nothing is lost. Free some space: no box starts below 2 GiB or 2 %.",
        code=errors.NoSpace.code,
    )


def _quotas(layout: Layout) -> Check:
    """Boxes are watched whatever the file system can do; this tells what could do it too."""
    said = "boxes are measured and stopped at their quota; " + _project_quotas(
        _existing(layout.data)
    )
    return Check(name="write quotas", good=True, said=said)


def _project_quotas(where: Path) -> str:
    """Whether the kernel could count by project on this file system (quotactl(2), Q_GETFMT)."""
    number = _QUOTACTL_FD
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        answer = ctypes.create_string_buffer(8)
        done = libc.syscall(number, handle, _GET_FORMAT_OF_PROJECTS, 0, answer)
        error = 0 if done == 0 else ctypes.get_errno()
    finally:
        os.close(handle)
    if error == 0:
        return "the file system has project quotas, which are not needed"
    if error == errno.ESRCH:
        return "the file system has no project quotas switched on"
    return "this kernel has no project quotas for the file system"


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _sockets(layout: Layout) -> Check:
    names = (layout.orchestrator_socket, Path(f"{layout.containerd_socket}.ttrpc"))
    longest = max(len(os.fsencode(path)) for path in names)
    return Check(
        name="paths",
        good=longest <= _LONGEST_SOCKET,
        said=f"sockets lie below {layout.run}"
        if longest <= _LONGEST_SOCKET
        else f"{layout.run} is {longest - _LONGEST_SOCKET} bytes too long for unix sockets",
        mend="Choose a shorter directory: devbox server up --root DIR",
        code=errors.BadInput.code,
    )


def _bundle(layout: Layout) -> Check:
    good = (layout.bundle / "current" / "bin" / "devbox-init").exists()
    return Check(
        name="agent bundle",
        good=good,
        said="built" if good else "not built yet",
        mend=f"python -m in_box_agent.bundle --out {layout.bundle}",
    )


def _network(settings: ServerSettings) -> Check:
    boxes = ip_network(settings.subnet)
    for name, address in _addresses():
        if name != settings.bridge and address in boxes:
            return Check(
                name="network",
                good=False,
                said=f"the boxes' network {boxes} is in use: {name} has {address}",
                mend="Choose another: devbox server up --set subnet=10.148.0.0/16",
                code=errors.Conflict.code,
            )
    return Check(name="network", good=True, said=f"{boxes} is free for boxes")


def _addresses() -> Iterator[tuple[str, IPv4Address]]:
    """(interface, address) of this machine; of boxes' links only the host's end, which is ours."""
    shown = subprocess.run(
        ["ip", "-4", "-o", "address", "show"], capture_output=True, text=True, check=False
    )
    for line in shown.stdout.splitlines():
        _, name, _, address, *_ = line.split()
        if not name.startswith("veth"):
            yield name, IPv4Address(address.partition("/")[0])


def _ports(settings: ServerSettings) -> tuple[tuple[str, str, int], ...]:
    return (
        ("gateway port", settings.gateway_host, settings.gateway_port),
        ("registry port", "127.0.0.1", settings.registry_port),
    )


def _port(name: str, host: str, port: int) -> Check:
    key = name.replace(" ", "_")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                said = f"port {port} is taken by {owner(port) or 'another program'}"
                mend = f"End that program, or choose another: devbox server up --set {key}=PORT"
                return Check(name=name, good=False, said=said, mend=mend, code=errors.Conflict.code)
            said = f"{host}:{port} cannot be used: {os.strerror(error.errno or 0)}"
            mend = "Mend gateway_host and the ports: devbox server up --set KEY=VALUE"
            return Check(name=name, good=False, said=said, mend=mend, code=errors.BadInput.code)
    return Check(name=name, good=True, said=f"{host}:{port} is free")


def owner(port: int) -> str:
    """Name and number of the process that listens on a TCP port; empty where /proc hides it."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(entry) in sockets:
                process = entry.parent.parent
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue
    return ""


def _listening(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def of_running(layout: Layout, settings: ServerSettings) -> Iterator[Check]:
    """What must hold while the server runs."""
    now = state.read(layout)
    if now is None:
        yield Check(name="server", good=False, said="not running", mend="devbox server up")
        yield _orphans(layout)
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


def _orphans(layout: Layout) -> Check:
    """Boxes go on when their server was killed; containerd takes them up again."""
    count = len(leftovers.orphans(layout))
    return Check(
        name="orphans",
        good=not count,
        said=f"{count} processes of boxes run without their server" if count else "none",
        mend="`devbox server up` takes them up again; `devbox server down` after it stops them.",
    )


def _part(layout: Layout, now: state.ServerState, name: str, ready: Callable[[], bool]) -> Check:
    known = now.parts.get(name)
    good = known is not None and ready()
    restarts = ""
    if known and known.restarts:
        restarts = f"; started again {known.restarts} times, it last {known.said}"
    return Check(
        name=name,
        good=good,
        said=("answers" if good else "does not answer") + restarts,
        mend=f"It is started again by itself; its log is {layout.logs / name}.log.",
    )


def _database(name: str, path: Path) -> Check:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            (said,) = database.execute("PRAGMA quick_check").fetchone()
    except sqlite3.Error as error:
        said = str(error)
    return Check(
        name=name, good=said == "ok", said=said, mend=f"Stop the server, keep a copy of {path}."
    )
