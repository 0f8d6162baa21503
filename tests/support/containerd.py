"""A private, real containerd: own root, state, sockets, network and images.

`containerd_server` is one for the whole run; `running_containerd()` makes another, for tests that
kill it. Both leave no process, mount, network namespace or bridge behind.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from devbox.edge.layout import Layout
from tests.support import images
from tests.support.subnets import free_subnet

BUSYBOX_IMAGE = "localhost/busybox:1"
PAUSE_IMAGE = "localhost/pause:1"
_START_S = 20.0

_CONFIG = """\
version = 2
root = "{root}"
state = "{state}"
oom_score = 0
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  ignore_image_defined_volumes = true
  netns_mounts_under_state_dir = true
  stats_collect_period = 1
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{certs}"
"""

_NETWORK = """\
{{"cniVersion": "1.0.0", "name": "{bridge}", "plugins": [{{
  "type": "bridge", "bridge": "{bridge}", "isGateway": true, "ipMasq": false,
  "ipam": {{"type": "host-local", "dataDir": "{ipam}",
           "ranges": [[{{"subnet": "{subnet}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}}]}}
"""


@dataclass
class ContainerdServer:
    """A running containerd in a directory of its own."""

    directory: Path
    layout: Layout
    bridge: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """Containerd's own."""
        return self.layout.containerd_socket

    def start(self) -> None:
        """Start containerd and wait until it answers."""
        with (self.directory / "containerd.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["containerd", "--config", str(self.directory / "config.toml")],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while self.ctr("version", check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"containerd does not start:\n{self.log()[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL containerd; what runs in containers goes on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log(self) -> str:
        """What containerd wrote so far."""
        return (self.directory / "containerd.log").read_text(errors="replace")

    def ctr(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `ctr` in CRI's namespace: behind the back of whoever speaks CRI."""
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode:
            pytest.fail(f"ctr {' '.join(arguments)}: {done.stderr}")
        return done

    def import_image(self, image: images.ImageParts, reference: str) -> None:
        """Give containerd an image."""
        path = self.directory / "image.tar"
        images.archive(image, reference, path)
        self.ctr("images", "import", str(path))
        path.unlink()

    def processes(self) -> list[psutil.Process]:
        """All that runs because of this containerd: shims and what runs in containers."""
        shims = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                command = process.cmdline()
                if any("containerd-shim" in word for word in command[:1]) and any(
                    str(self.socket) in word for word in command
                ):
                    shims += [process, *process.children(recursive=True)]
        return shims


def _make(directory: Path) -> ContainerdServer:
    layout = Layout(data=directory / "data", run=directory / "run")
    for path in (layout.data, layout.run, directory / "cni", directory / "certs"):
        path.mkdir(mode=0o700)
    layout.data.chmod(0o711)
    bridge = f"dt{random.randrange(16**8):08x}"
    subnet = free_subnet()
    (directory / "config.toml").write_text(
        _CONFIG.format(
            root=layout.containerd_root,
            state=layout.containerd_state,
            socket=layout.containerd_socket,
            pause=PAUSE_IMAGE,
            cni=directory / "cni",
            certs=directory / "certs",
        )
    )
    (directory / "cni" / "10-test.conflist").write_text(
        _NETWORK.format(bridge=bridge, subnet=subnet, ipam=directory / "ipam")
    )
    return ContainerdServer(directory, layout, bridge)


@contextlib.contextmanager
def running_containerd(extra: Mapping[str, Any] | None = None) -> Iterator[ContainerdServer]:
    """Another containerd; `extra` goes into the busybox image's config."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    directory = Path(tempfile.mkdtemp(prefix="dvb-", dir="/tmp"))
    server = _make(directory)
    try:
        server.start()
        base = images.busybox_layer()
        pause = {"Entrypoint": ["/bin/sleep", "2000000000"]}
        server.import_image(images.build([base], pause), PAUSE_IMAGE)
        server.import_image(images.build([base], dict(extra or {})), BUSYBOX_IMAGE)
        yield server
    finally:
        _clean(server)


def _clean(server: ContainerdServer) -> None:
    server.kill()
    left = server.processes()
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(left, timeout=5)
    for mount in reversed(mounts_under(server.directory)):
        subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
    subprocess.run(["ip", "link", "delete", server.bridge], check=False, capture_output=True)
    _remove_cgroups(server)
    shutil.rmtree(server.directory, ignore_errors=True)


def _remove_cgroups(server: ContainerdServer) -> None:
    """Containers that were killed with their shims leave empty cgroups named by their ids."""
    bundles = server.layout.containerd_state / "io.containerd.runtime.v2.task" / "k8s.io"
    names = os.listdir(bundles) if bundles.is_dir() else []
    for name in names:
        for found in Path("/sys/fs/cgroup").glob(f"*/k8s.io/{name}"):
            with contextlib.suppress(OSError):
                found.rmdir()


def mounts_under(directory: Path) -> list[str]:
    """Mount points below a directory, in the order they were made."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    return [point for point in points if point.startswith(f"{directory}/")]


@pytest.fixture(scope="session")
def containerd_server() -> Iterator[ContainerdServer]:
    """One containerd for the whole run. Tests must remove the sandboxes they make."""
    with running_containerd() as server:
        yield server
