"""A whole embedded server of the tests' own: real containerd, registry, network and boxes.

One for the run. Whoever ends the run, and however, a keeper takes everything away again.
"""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devbox.edge.layout import Layout, ServerSettings, layout_below, read_settings
from node_agent.runtimes.recipes import built_in
from node_agent.runtimes.trees import sources
from tests.support.person import DEVBOX
from tests.support.subnets import free_subnet

_UP_S = 240
_BUILD_S = 900
_CACHE = Path(os.environ.get("DEVBOX_TEST_CACHE", Path.home() / ".cache/devbox-tests"))

_KEEPER = """
trap '' INT TERM HUP
read -r _ || true
"$1" server down --root "$2" >/dev/null 2>&1
shims() { ps -eo pid=,args= | awk -v dir="$1/" '/containerd-shim/ && index($0, dir) {print $1}'; }
for pid in $(shims "$2"); do kill -KILL "$pid" 2>/dev/null; done
nft delete table inet "devbox_$3" 2>/dev/null
ip link delete "$3" 2>/dev/null
awk -v dir="$2/" 'index($5, dir) == 1 {print $5}' /proc/self/mountinfo |
  sort -r | xargs -r umount -l
[ -z "$KEEP_LOGS" ] || cp -r "$2/data/logs" "$KEEP_LOGS"
rm -rf --one-file-system "$2"
"""


@dataclass(frozen=True)
class Server:
    """A running server."""

    root: Path

    @property
    def layout(self) -> Layout:
        """Where it keeps things."""
        return layout_below(str(self.root))

    @property
    def settings(self) -> ServerSettings:
        """Its settings."""
        return read_settings(self.layout)

    @property
    def url(self) -> str:
        """Its gateway."""
        return f"http://127.0.0.1:{self.settings.gateway_port}"

    @property
    def admin_token(self) -> str:
        """The admin's."""
        return (self.layout.keys / "admin-token").read_text().strip()

    def run(self, *arguments: str) -> None:
        """Run `devbox server …`; it must end well."""
        done = subprocess.run(
            [DEVBOX, "server", *arguments, "--root", self.root],
            capture_output=True,
            text=True,
            timeout=_UP_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def free_port() -> int:
    """A port that nobody listened on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _bundle(layout: Layout) -> None:
    """The agent bundle of this source tree, whatever other trees put into the cache meanwhile."""
    done = subprocess.run(
        [sys.executable, "-m", "in_box_agent.bundle", "--out", _CACHE / "bundle"],
        check=True,
        capture_output=True,
        text=True,
        timeout=_UP_S,
    )
    layout.bundle.mkdir(parents=True)
    (layout.bundle / "current").symlink_to(done.stdout.strip())


def _cached_registry() -> Path:
    """A registry's storage with the runtime `python` and nothing else, named by what made it."""
    return _CACHE / f"registry-{built_in()['python'].tag(sources())}"


def _build_python(made: Server) -> None:
    """Have the runtime that most tests start from; built once for a machine, not for a run."""
    done = subprocess.run(
        [DEVBOX, "runtime", "build", "python", "--missing"],
        capture_output=True,
        text=True,
        timeout=_BUILD_S,
        check=False,
        env={**os.environ, "DEVBOX_ROOT": str(made.root)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cached = _cached_registry()
    if not cached.exists():
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=_CACHE))
        shutil.copytree(made.layout.registry, draft / "registry")
        with contextlib.suppress(OSError):
            # Another run of the tests may have put its own there.
            (draft / "registry").rename(cached)
        shutil.rmtree(draft)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of the run."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = Server(Path(tempfile.mkdtemp(prefix="dvs-", dir="/tmp")))
    bridge = f"dt{random.randrange(16**8):08x}"
    subnet = free_subnet()
    keeper = subprocess.Popen(
        ["bash", "-c", _KEEPER, "keeper", DEVBOX, made.root, bridge],
        stdin=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "KEEP_LOGS": os.environ.get("KEEP_LOGS", "")},
    )
    try:
        _bundle(made.layout)
        settings = {
            "gateway_port": free_port(),
            "registry_port": free_port(),
            "bridge": bridge,
            "subnet": subnet,
        }
        if (cached := _cached_registry()).exists():
            shutil.copytree(cached, made.layout.registry)
        made.run("up", *(f"--set={key}={value}" for key, value in settings.items()))
        _build_python(made)
        yield made
    finally:
        keeper.communicate(timeout=_UP_S)
        shutil.rmtree(made.root, ignore_errors=True)
