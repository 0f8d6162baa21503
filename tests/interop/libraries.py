"""Client libraries: paramiko here, the Java ones in a process each."""

import base64
import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paramiko

from tests.interop.client import PATIENCE_S, Client, Done, Way
from tests.support.bundle import cache
from tests.support.echo import Place, join, listening

_JAVA = Path(__file__).with_name("java")
_DIRECT = "direct-tcpip"


class Paramiko(Client):
    """paramiko, over the local port."""

    name = "paramiko"

    def __init__(self, way: Way, place: Path) -> None:
        super().__init__(way, place)
        self._client = paramiko.SSHClient()
        kind, _, key = way.host_key.partition(" ")
        known = paramiko.Ed25519Key(data=base64.b64decode(key.split()[0]))
        self._client.get_host_keys().add(f"[127.0.0.1]:{way.port}", kind, known)
        self._client.connect(
            "127.0.0.1", way.port, "any", "any", allow_agent=False, look_for_keys=False
        )

    def close(self) -> None:
        self._client.close()

    @property
    def _transport(self) -> paramiko.Transport:
        found = self._client.get_transport()
        assert found is not None
        return found

    def execute(self, command: str, stdin: bytes = b"") -> Done:
        with self._transport.open_session() as channel:
            channel.settimeout(PATIENCE_S)
            channel.exec_command(command)
            feeder = threading.Thread(target=self._feed, args=(channel, stdin))
            feeder.start()
            out, err = channel.makefile("rb").read(), channel.makefile_stderr("rb").read()
            feeder.join()
            return Done(channel.recv_exit_status(), out, err)

    @staticmethod
    def _feed(channel: paramiko.Channel, stdin: bytes) -> None:
        channel.sendall(stdin)
        channel.shutdown_write()

    def terminal(self, command: str) -> bytes:
        with self._transport.open_session() as channel:
            channel.get_pty()
            channel.exec_command(command)
            return channel.makefile("rb").read()

    def together(self, commands: list[str]) -> list[Done]:
        with ThreadPoolExecutor(len(commands)) as threads:
            return list(threads.map(self.execute, commands))

    def upload(self, here: Path, there: str) -> None:
        with self._client.open_sftp() as files:
            files.put(str(here), there)

    def download(self, there: str, here: Path) -> None:
        with self._client.open_sftp() as files:
            files.get(there, str(here))

    @contextlib.contextmanager
    def local(self, there: int) -> Iterator[Place]:
        def serve(end: socket.socket) -> None:
            far = self._transport.open_channel(_DIRECT, ("127.0.0.1", there), ("127.0.0.1", 0))
            join(end, far)

        with listening(serve) as port:
            yield port

    @contextlib.contextmanager
    def remote(self, there: int, here: int) -> Iterator[None]:
        def serve(far: paramiko.Channel, *_: object) -> None:
            end = socket.create_connection(("127.0.0.1", here))
            threading.Thread(target=join, args=(end, far), daemon=True).start()

        self._transport.request_port_forward("127.0.0.1", there, serve)
        yield
        self._transport.cancel_port_forward("127.0.0.1", there)


class Java(Client):
    """One Java library in one process and one connection.

    MINA and JSch close a forwarded connection as soon as one direction has ended, sshj one that the
    box began. They do so with dropbear's server too.
    """

    half_closes = False

    def __init__(self, way: Way, place: Path) -> None:
        super().__init__(way, place)
        words = [self.name, str(way.port), way.fingerprint, way.host_key.split()[1]]
        self._process = subprocess.Popen(
            ["java", "-XX:TieredStopAtLevel=1", "-cp", _class_path(), "Main", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._result()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, operation: str, *arguments: str | bytes | int) -> list[bytes]:
        assert self._process.stdin is not None
        words = " ".join([operation, *map(_encoded, arguments)])
        self._process.stdin.write(f"{words}\n".encode())
        self._process.stdin.flush()
        return self._result()

    def _result(self) -> list[bytes]:
        assert self._process.stdout is not None
        state, *words = self._process.stdout.readline().decode().split()
        results = [base64.b64decode(word[1:]) for word in words]
        assert state == "ok", results
        return results

    def execute(self, command: str, stdin: bytes = b"") -> Done:
        status, out, err = self._ask("execute", command, stdin)
        return Done(int(status), out, err)

    def terminal(self, command: str) -> bytes:
        return self._ask("terminal", command)[1]

    def together(self, commands: list[str]) -> list[Done]:
        found = iter(self._ask("together", *commands))
        return [Done(int(status), out, err) for status, out, err in zip(*[found] * 3, strict=True)]

    def upload(self, here: Path, there: str) -> None:
        self._ask("upload", str(here), there)

    def download(self, there: str, here: Path) -> None:
        self._ask("download", there, str(here))

    @contextlib.contextmanager
    def local(self, there: int) -> Iterator[Place]:
        yield int(self._ask("local", there)[0])

    @contextlib.contextmanager
    def remote(self, there: int, here: int) -> Iterator[None]:
        self._ask("remote", there, here)
        yield


class Sshj(Java):
    """sshj."""

    name = "sshj"


class Mina(Java):
    """Apache MINA sshd-core and sshd-sftp."""

    name = "mina"

    @contextlib.contextmanager
    def dynamic(self) -> Iterator[int]:
        yield int(self._ask("dynamic")[0])


class Jsch(Java):
    """JSch as mwiede keeps it."""

    name = "jsch"

    @contextlib.contextmanager
    def local_unix(self, there: str) -> Iterator[Place]:
        yield int(self._ask("local_unix", there)[0])


def _encoded(argument: str | bytes | int) -> str:
    data = argument if isinstance(argument, bytes) else str(argument).encode()
    return "." + base64.b64encode(data).decode()


def _class_path() -> str:
    """The libraries and our own program, each made once and kept by what it is made from."""
    pom, *sources = _JAVA / "pom.xml", *sorted(_JAVA.glob("*.java"))
    jars = _kept("jars", [pom], _download)
    classes = _kept("classes", [pom, *sources], lambda made: _compile(jars, sources, made))
    return f"{jars}/*:{classes}"


def _download(made: Path) -> None:
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={made}"]
    subprocess.run(["mvn", "-q", "-B", "-f", str(_JAVA / "pom.xml"), *goal], check=True)


def _compile(jars: Path, sources: list[Path], made: Path) -> None:
    words = ["-Xlint:-options", "-nowarn", "-cp", f"{jars}/*", "-d", str(made)]
    subprocess.run(["javac", *words, *map(str, sources)], check=True)


def _kept(name: str, inputs: list[Path], make: Callable[[Path], None]) -> Path:
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()[:16]
    place = cache() / "interop" / f"{name}-{digest}"
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=place.parent))
    try:
        make(made)
        with contextlib.suppress(OSError):  # another run was faster
            os.rename(made, place)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return place
