"""What the benches of SSH share: a box of the running server, an sshd beside it, a slow line.

Knows nothing of what is measured. Every SSH here is the real OpenSSH client with one cipher.
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

DEVBOX = str(Path(sys.executable).with_name("devbox"))
BOX, SSHD = "devbox", "sshd"
_PACKET = 1500
_QUEUE = 64 << 10
_PATIENCE_S = 20.0


def devbox(*words: str) -> str:
    """Run a command; it must end well."""
    return subprocess.run(
        [DEVBOX, "-q", *words], check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ).stdout.decode()


@dataclass(frozen=True)
class Line:
    """What both ways go through; nothing for a rate of 0."""

    mbit: float = 0.0
    rtt_ms: float = 0.0


@dataclass(frozen=True)
class Hosts:
    """The hosts `devbox` and `sshd`, as `ssh -F` knows them."""

    folder: Path
    project: str
    scheme: str
    """Of the gateway."""

    @property
    def config(self) -> str:
        """For `ssh -F`."""
        return str(self.folder / "config")

    def ssh(self, host: str, *words: str, program: str = "ssh") -> list[str]:
        """A command line; options stand in front of the host."""
        return [program, "-F", self.config, *words, host]

    @contextlib.contextmanager
    def joined(self, host: str) -> Iterator[list[str]]:
        """Options that share one connection, which is open."""
        control = f"{self.folder}/m-{secrets.token_hex(3)}"
        options = ["-o", f"ControlPath={control}"]
        command = self.ssh(host, *options, "-M", "-N", "-o", "ControlMaster=yes")
        master = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            _until(lambda: os.path.exists(control), f"{host}'s connection")
            yield options
        finally:
            master.terminate()
            master.wait()


@contextlib.contextmanager
def hosts(line: Line = Line()) -> Iterator[Hosts]:
    """A new project on the server of this machine, and an sshd; all gone at the end."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bs", dir="/tmp")))
        project = f"bench-{secrets.token_hex(4)}"
        stack.callback(devbox, "delete", project, "--yes")
        devbox("create", project, "--runtime", "python")
        told = json.loads(devbox("-o", "json", "token", "new", project, "--name", "bench"))
        url = urlsplit(told["url"])
        port = stack.enter_context(_sshd(folder))
        gateway = url.port or 0
        if line.mbit:
            gateway = stack.enter_context(_slow(gateway, line))
            port = stack.enter_context(_slow(port, line))
        address = urlunsplit(url._replace(netloc=f"{url.hostname}:{gateway}"))
        (folder / "address").write_text(address)
        (folder / "address").chmod(0o600)
        _write_config(folder, port)
        yield Hosts(folder, project, url.scheme)


def _write_config(folder: Path, port: int) -> None:
    (folder / "config").write_text(
        f"""Host {BOX}
  ProxyCommand {DEVBOX} ssh --stdio --address-file {folder}/address
Host {SSHD}
  HostName 127.0.0.1
  Port {port}
  User root
Host *
  User devbox
  IdentityFile {folder}/key
  IdentitiesOnly yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
  Compression no
  Ciphers aes128-gcm@openssh.com
"""
    )


@contextlib.contextmanager
def _sshd(folder: Path) -> Iterator[int]:
    """OpenSSH's server on loopback; answers its port."""
    for name in ("host", "key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    shutil.copy(folder / "key.pub", folder / "authorized")
    Path("/run/sshd").mkdir(exist_ok=True)
    port = free_port()
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
        "PermitRootLogin": "yes",
        "MaxSessions": 100,
        "Subsystem": "sftp internal-sftp",
    }
    config = folder / "sshd_config"
    config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", config], stdout=quiet, stderr=quiet)
    try:
        _until(lambda: _answers(port), "sshd")
        yield port
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


def _until(check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not check():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.02)


# -- a slow line


@contextlib.contextmanager
def _slow(port: int, line: Line) -> Iterator[int]:
    """A port that leads to `port` over the line, in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve_slow, args=(port, line, theirs), daemon=True)
    process.start()
    try:
        yield int(ours.recv())
    finally:
        process.terminate()
        process.join()


def _serve_slow(port: int, line: Line, pipe: object) -> None:
    asyncio.run(_relay(port, line, pipe))


async def _relay(port: int, line: Line, pipe: object) -> None:
    up, down = (Way(line.mbit * 1e6 / 8, line.rtt_ms / 2e3) for _ in range(2))
    async with asyncio.TaskGroup() as tasks:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", port, limit=_QUEUE)
            with contextlib.suppress(OSError):
                await asyncio.gather(up.carry(reader, back), down.carry(there, writer))

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=_QUEUE)
        pipe.send(server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
        for way in (up, down):
            tasks.create_task(way.run())


@dataclass
class Flow:
    """One connection's packets that wait for the line."""

    writer: asyncio.StreamWriter
    packets: deque[bytes] = field(default_factory=deque)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    size: int = 0


class Way:
    """One direction of a line that serves its connections in turn, a packet each (fair queueing).

    Each connection has a queue of 64 KiB of its own, beyond which its sender has to wait.
    """

    def __init__(self, rate: float, delay_s: float) -> None:
        self._rate = rate
        self._delay_s = delay_s
        self._turns: deque[Flow] = deque()
        self._flying: deque[tuple[float, Flow, bytes]] = deque()
        self._free_at = 0.0
        self._work = asyncio.Event()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """All of one connection."""
        flow = Flow(writer)
        while data := await reader.read(_QUEUE >> 2):
            for at in range(0, len(data), _PACKET):
                flow.packets.append(data[at : at + _PACKET])
            self._enqueue(flow, len(data))
            while flow.size > _QUEUE:
                flow.room.clear()
                await flow.room.wait()
        flow.packets.append(b"")
        self._enqueue(flow, 0)

    def _enqueue(self, flow: Flow, size: int) -> None:
        if flow not in self._turns:
            self._turns.append(flow)
        flow.size += size
        self._work.set()

    async def run(self) -> None:
        """Send and deliver when it is time."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            while self._turns and self._free_at <= now:
                self._send(now)
            while self._flying and self._flying[0][0] <= now:
                _, flow, packet = self._flying.popleft()
                _deliver(flow, packet)
            due = [self._free_at] if self._turns else []
            due += [self._flying[0][0]] if self._flying else []
            self._work.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(due) if due else None):
                    await self._work.wait()

    def _send(self, now: float) -> None:
        flow = self._turns.popleft()
        packet = flow.packets.popleft()
        if flow.packets:
            self._turns.append(flow)
        flow.size -= len(packet)
        if flow.size <= _QUEUE:
            flow.room.set()
        # Timers are late by a part of a millisecond, which must not make the line slower.
        self._free_at = max(self._free_at, now - 0.002) + len(packet) / self._rate
        self._flying.append((self._free_at + self._delay_s, flow, packet))


def _deliver(flow: Flow, packet: bytes) -> None:
    if flow.writer.is_closing():
        return
    if packet:
        flow.writer.write(packet)
    else:
        flow.writer.close()
