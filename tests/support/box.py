"""A box without containerd: the real bundle, init and agent in a root file system of a test."""

import base64
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devbox.model.grants import GRANT_SECONDS, Grant, Scope, sign
from devbox.model.nodes import UPPER_NONCE_XATTR, StartRecord
from devbox.model.projects import ImageConfig

_ENTER = Path(__file__).with_name("enter_root.py")
_HOST = ("/usr",)
_LINKS = ("bin", "sbin", "lib", "lib64")
_PASSWD = "root:x:0:0:root:/root:/bin/bash\ndevbox:x:1000:1000::/home/devbox:/bin/bash\n"
_WAIT_S = 8.0

T = TypeVar("T")


def record(**changes: Any) -> StartRecord:
    """A start record with keys of its own."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    plain = StartRecord(
        project_uid="p1",
        cluster="home",
        region="here",
        namespace="team",
        project="shop",
        generation=1,
        host_key=key.export_private_key().decode(),
        grant_keys=(),
        config=ImageConfig(),
        env={"FROM_PROJECT": "yes"},
        run_image_command=False,
        upper_nonce=secrets.token_hex(16),
    )
    return msgspec.structs.replace(plain, **changes)


@dataclass
class Gateway:
    """What signs grants."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> str:
        """As start records hold it."""
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def grant(self, *scopes: Scope, project: str = "p1", token: str = "t1") -> str:
        """A fresh one."""
        grant = Grant(
            project_uid=project,
            token_id=token,
            scopes=scopes or (Scope.FULL,),
            expires=time.time() + GRANT_SECONDS,
            nonce=secrets.token_hex(16),
        )
        return sign(grant, self.key)


def debian_root(root: Path) -> None:
    """This machine's programs, with users and homes of its own."""
    for name in _LINKS:
        (root / name).symlink_to(f"usr/{name}")
    for name in ("etc", "root", "home/devbox", "project", "tmp", "run", "usr"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text(_PASSWD)
    (root / "etc/group").write_text("root:x:0:\ndevbox:x:1000:\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    alternatives = Path("/etc/alternatives")
    if alternatives.exists():
        shutil.copytree(alternatives, root / "etc/alternatives", symlinks=True)
    for name in ("home/devbox", "project"):
        os.chown(root / name, 1000, 1000)


def busybox_root(root: Path) -> None:
    """Busybox as shell and tools, and no libc."""
    (root / "bin").mkdir()
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for name in ("sh", "cat", "echo", "sleep", "id", "env", "ls", "ps", "stty"):
        (root / "bin" / name).symlink_to("busybox")


def one_program_root(root: Path) -> None:
    """One static program and nothing else."""
    shutil.copy("/bin/busybox", root / "app")


class Box:
    """A running box. Commands enter its network with nsenter."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.pid = self._first_process()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line.decode(errors="replace").rstrip())

    def _first_process(self) -> int:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")

        def first() -> list[str]:
            return ["0"] if self._process.poll() is not None else _text(children).split()

        return int(wait_for(first, "init")[0])

    @property
    def log(self) -> str:
        """What init, the agent and the image's command wrote."""
        return "\n".join(self.lines)

    def inside(self, *command: str) -> list[str]:
        """A command line that runs a host program in the box's network."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *command]

    def get(self, path: str, *options: str) -> tuple[int, str]:
        """GET from the agent: (status, body); status 0 when nobody answers."""
        url = f"http://127.0.0.1:4242{path}"
        command = self.inside("curl", "-s", "-m", "5", "-w", "\n%{http_code}", *options, url)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        body, _, status = done.stdout.rpartition("\n")
        return int(status or 0), body

    def wait_healthy(self) -> None:
        """Until the agent serves."""
        wait_for(lambda: self.get("/healthz")[0] == 200, lambda: f"the agent; log: {self.log}")

    def processes(self, part: str) -> list[int]:
        """Host pids of the box's processes with `part` in their command line."""
        found = []
        space = os.readlink(f"/proc/{self.pid}/ns/pid")
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and part in _text(entry / "cmdline").replace("\0", " "):
                with contextlib.suppress(OSError):
                    if os.readlink(entry / "ns/pid") == space:
                        found.append(int(entry.name))
        return found

    def agent(self) -> int:
        """Host pid of the agent."""
        return int(wait_for(lambda: self.processes("/.devbox/app"), "the agent's process")[0])

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Signal init."""
        os.kill(self.pid, number)

    def wait(self, timeout: float = _WAIT_S) -> int:
        """The box's exit status."""
        status = self._process.wait(timeout)
        self._reader.join(timeout)
        return status

    def end(self) -> None:
        """Kill everything."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
            self._process.wait(_WAIT_S)
        self._reader.join(_WAIT_S)
        assert self._process.stderr is not None
        self._process.stderr.close()


@contextlib.contextmanager
def running(
    bundle: Path,
    root: Path,
    start: StartRecord | None,
    *,
    uid: int = 0,
    read_only: bool = False,
    kept: bool = True,
) -> Iterator[Box]:
    """Start a box in `root`. `start` None: no start record. `kept` False: a throw-away upper."""
    with tempfile.TemporaryDirectory(prefix="box", dir="/tmp") as place:
        os.chmod(place, 0o777)
        root.chmod(0o755)
        if start is not None:
            (Path(place) / "start.json").write_bytes(msgspec.json.encode(start))
            if kept:
                os.setxattr(root, UPPER_NONCE_XATTR, start.upper_nonce.encode())
        host = [path for path in _HOST if (root / path[1:]).is_dir()]
        process = subprocess.Popen(
            _command(root, bundle, place, uid, ["read-only"] if read_only else [], host),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        box = Box(process)
        try:
            yield box
        finally:
            box.end()


def _command(
    root: Path, bundle: Path, box: str, uid: int, options: Sequence[str], host: Sequence[str]
) -> list[str]:
    spaces = ["--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"]
    enter = ["/usr/bin/python3", "-I", str(_ENTER), str(root), str(bundle), box, str(uid)]
    return ["unshare", *spaces, *enter, *options, *(f"bind={path}" for path in host)]


def wait_for(
    check: Callable[[], T | None], what: str | Callable[[], str], limit_s: float = _WAIT_S
) -> T:
    """Poll until `check` gives something true, and return that."""
    deadline = time.monotonic() + limit_s
    while True:
        if found := check():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what() if callable(what) else what}")
        time.sleep(0.02)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
