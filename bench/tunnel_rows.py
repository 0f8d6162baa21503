"""What the tunnel bench compares: the processes of each row, ours and the peers'.

Every row moves the same bytes between the same two processes: a source and a sink, which write
and read blocks of 1 MiB. `Row.kind` says what a row is:

    raw     source and sink joined by one connection
    ours    devbox as installed: `devbox forward`, the gateway, the agent's sessions
    part    of ours, measured alone
    peer    another program's forwarded port: its client and its server
    half    a peer's server alone, its client's half being inside the source
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

WSTUNNEL = "wstunnel@1.4.0"
_AGENT_PORT = 4242
_READY_S = 30
_DEBIANS_PYTHON = "/usr/bin/python3"


@dataclass
class Parts:
    """Processes of the bench, ended together."""

    running: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self, *arguments: object) -> dict[str, Any]:
        """Start one of the bench's own and wait for its line."""
        return self.run([sys.executable, "-m", "bench.tunnel_parts", *map(str, arguments)])

    def popen(self, module: str, *arguments: object) -> "subprocess.Popen[str]":
        """Start a module's process and do not wait."""
        command = [sys.executable, "-m", module, *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.running.append(process)
        return process

    def run(self, command: list[str], until: str = "{", **environment: str) -> dict[str, Any]:
        """Start a program; the JSON that it prints, once a line of it has `until`."""
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if "gateway" in command else subprocess.DEVNULL,
            text=True,
            env=os.environ | environment,
        )
        self.running.append(process)
        assert process.stdout is not None
        answer = _answer(process.stdout, command, until)
        # What it logs later is read by somebody, or it would stand still.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        return answer

    def foreign(self, command: list[str], port: int) -> None:
        """Start a peer and wait until it listens."""
        quiet = subprocess.DEVNULL
        self.running.append(subprocess.Popen(command, stdout=quiet, stderr=quiet, text=True))
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                return
            time.sleep(0.05)
        raise SystemExit(f"{command[0]} does not listen")

    def end(self) -> None:
        """End all."""
        for process in reversed(self.running):
            process.kill()
            process.wait()


def answer_of(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The next JSON that a process prints."""
    assert process.stdout is not None
    return _answer(process.stdout, list(map(str, process.args)), "{")  # type: ignore[arg-type]


def _answer(output: IO[str], command: list[str], until: str) -> dict[str, Any]:
    text = ""
    for line in output:
        if text or until in line:
            text += line
            with contextlib.suppress(json.JSONDecodeError):
                found = json.loads(text)
                answer: dict[str, Any] = found[0] if isinstance(found, list) else found
                return answer
    raise SystemExit(f"{' '.join(command[:4])} ended before it served")


Run = Callable[[str, int], float]
"""Direction, bytes -> seconds."""


@dataclass(frozen=True)
class Row:
    """One way to move bytes."""

    name: str
    kind: str
    run: Run


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def rows(parts: Parts, folder: Path, *, tls: bool) -> Iterator[Row]:
    """All there is to compare on this machine."""
    sink = parts.start("sink")["port"]
    yield Row("raw loopback", "raw", _through(parts, "source", sink))
    if not tls:
        spliced = parts.start("relay", sink)["port"]
        yield Row("the gateway's relay alone", "part", _through(parts, "source", spliced))
    yield from _devbox(parts, folder, sink, tls=tls)
    yield from _websockify(parts, folder, sink, tls=tls)
    yield from _wstunnel(parts, folder, sink, tls=tls)


def _through(parts: Parts, source: str, port: int, *more: object) -> Run:
    def run(direction: str, size: int) -> float:
        seconds: float = parts.start(source, port, direction, size, *more)["seconds"]
        return seconds

    return run


def certificate(folder: Path) -> str:
    """A certificate for 127.0.0.1 and its key, in one file."""
    path = folder / "both.pem"
    if not path.exists():
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        names = ["-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
        subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
        path.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return str(path)


def _devbox(parts: Parts, folder: Path, sink: int, *, tls: bool) -> Iterator[Row]:
    home = folder / ("home-tls" if tls else "home")
    pem = certificate(folder) if tls else ""
    made = parts.start("house", home, _AGENT_PORT, pem)
    data, run = str(home / "data"), str(home / "run")
    command = [sys.executable, "-m", "gateway", "--data", data, "--run", run]
    port = parts.run(command, until="gateway_listening")["port"]
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    env = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "DEVBOX_ROOT": str(home)}
    devbox = str(Path(sys.executable).parent / "devbox")
    login = [devbox, "login", url, "--name", "bench", "--token-file", str(home / "token")]
    trust = ["--ca-file", str(folder / "cert.pem")] if tls else []
    subprocess.run([*login, *trust], check=True, env=os.environ | env, stdout=subprocess.DEVNULL)
    forward = [devbox, "forward", "team/hello", f"0:{sink}", "--output", "json"]
    local = parts.run(forward, until="[", **env)["local"]
    yield Row("devbox forward, gateway, agent", "ours", _through(parts, "source", local))
    address = f"{url}{made['path']}"
    inside = ("inside", address, folder / "cert.pem" if tls else "", sink)
    yield Row("devbox, its client in the source", "part", _inside(parts, *inside))


def _inside(parts: Parts, *where: object) -> Run:
    def run(direction: str, size: int) -> float:
        seconds: float = parts.start(*where, direction, size)["seconds"]
        return seconds

    return run


def _websockify(parts: Parts, folder: Path, sink: int, *, tls: bool) -> Iterator[Row]:
    program = shutil.which("websockify")
    if program is None:
        return
    server, client = free_port(), free_port()
    secure = ["--ssl-only", "--cert", certificate(folder)] if tls else []
    parts.foreign([program, *secure, f"127.0.0.1:{server}", f"127.0.0.1:{sink}"], server)
    url = f"{'wss' if tls else 'ws'}://127.0.0.1:{server}/"
    script = str(Path(__file__).with_name("websockify_client.py"))
    parts.foreign([_DEBIANS_PYTHON, script, str(client), url], client)
    yield Row("websockify, client and server", "peer", _through(parts, "source", client))
    pem = [certificate(folder)] if tls else []
    yield Row("websockify, server alone", "half", _through(parts, "ws_source", server, *pem))


def install_wstunnel(folder: Path) -> None:
    """From npm; the row is left out where that fails."""
    npm = shutil.which("npm")
    if npm is not None:
        subprocess.run([npm, "i", "--silent", "--prefix", str(folder), WSTUNNEL], check=False)


def _wstunnel(parts: Parts, folder: Path, sink: int, *, tls: bool) -> Iterator[Row]:
    program = folder / "node_modules/.bin/wstunnel"
    stunnel = shutil.which("stunnel4")
    if not program.exists() or (tls and stunnel is None):
        return
    server, client, name = free_port(), free_port(), "wstunnel, client and server"
    parts.foreign([str(program), "-s", f"127.0.0.1:{server}"], server)
    url = f"ws://127.0.0.1:{server}"
    if tls:
        # Its server speaks no TLS: one stands before it, as its makers advise.
        url, name = f"wss://127.0.0.1:{_stunnel(parts, folder, server)}", f"{name}, stunnel"
    where = ["-c", "-t", f"{client}:127.0.0.1:{sink}", url]
    parts.foreign([str(program), *where], client)
    yield Row(name, "peer", _through(parts, "source", client))


def _stunnel(parts: Parts, folder: Path, server: int) -> int:
    port = free_port()
    settings = folder / "stunnel.conf"
    settings.write_text(
        f"foreground = yes\npid =\n[ws]\naccept = 127.0.0.1:{port}\n"
        f"connect = 127.0.0.1:{server}\ncert = {certificate(folder)}\n"
    )
    parts.foreign(["stunnel4", str(settings)], port)
    return port
