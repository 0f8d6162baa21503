"""A real OCI registry (docker-registry) for tests: on a free port, killable, and back again."""

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}", secret: tests}}
"""


class RegistryServer:
    """`start`, `kill` (as a crash would), `start` again on the same port and storage."""

    def __init__(self, directory: Path, root: Path | None = None) -> None:
        self.root = root or directory / "storage"
        self.port = free_port()
        self._config = directory / "registry.yml"
        self._config.write_text(_CONFIG.format(root=self.root, port=self.port))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["docker-registry", "serve", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 15
        while not _answers(self.url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the registry does not start")
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        """While it runs."""
        assert self._process is not None
        return self._process.pid

    def blobs(self) -> set[str]:
        """Digests of all blobs in the storage, whatever refers to them."""
        return {f"sha256:{path.parent.name}" for path in self.root.glob("**/blobs/sha256/*/*/data")}


@contextmanager
def running_registry(directory: Path, root: Path | None = None) -> Iterator[RegistryServer]:
    """Runs until the block ends."""
    server = RegistryServer(directory, root)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/v2/", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
