"""Programs with an SSH of their own: PuTTY's and dropbear's."""

import contextlib
import getpass
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.interop.client import Client, Done, Way
from tests.interop.programs import all_at_once, free_port, must, on_a_terminal, run, staying
from tests.support.box import wait_for
from tests.support.echo import Place


class Putty(Client):
    """What PuTTY's programs share."""

    def _command(self, *words: str, program: str = "plink") -> list[str]:
        # A name of its own, because plink shares connections machine-wide by user and host.
        keyed = ["-hostkey", self.way.fingerprint, "-l", self.place.name]
        return [program, "-batch", *keyed, "-proxycmd", self.way.proxy, *words]

    @property
    def _home(self) -> dict[str, str]:
        return {"HOME": str(self.place), "TMPDIR": str(self.place)}


class Plink(Putty):
    """PuTTY's plink; its files by pscp."""

    name = "plink"

    def execute(self, command: str, stdin: bytes = b"") -> Done:
        return run(self._command("-T", "box", command), stdin, self._home)

    def terminal(self, command: str) -> bytes:
        return on_a_terminal(self._command("-t", "box", command), self._home)

    def together(self, commands: list[str]) -> list[Done]:
        shared = ["-share", "-ssh"]
        with staying(self._command(*shared, "-N", "box"), self._home):
            exists = self._command("-shareexists", "-ssh", "box")
            wait_for(lambda: run(exists, environment=self._home).status == 0, "plink to share")
            words = [self._command(*shared, "-T", "box", one) for one in commands]
            results = all_at_once(words, self._home)
        _tidy()
        return results

    def upload(self, here: Path, there: str) -> None:
        must(self._command("-q", str(here), f"box:{there}", program="pscp"), environment=self._home)

    def download(self, there: str, here: Path) -> None:
        must(self._command("-q", f"box:{there}", str(here), program="pscp"), environment=self._home)

    @contextlib.contextmanager
    def local(self, there: int) -> Iterator[Place]:
        port = free_port()
        forward = ["-L", f"127.0.0.1:{port}:localhost:{there}"]
        with staying(self._command("-N", *forward, "box"), self._home):
            yield port

    @contextlib.contextmanager
    def remote(self, there: int, here: int) -> Iterator[None]:
        forward = ["-R", f"{there}:localhost:{here}"]
        with staying(self._command("-N", *forward, "box"), self._home):
            yield

    @contextlib.contextmanager
    def dynamic(self) -> Iterator[int]:
        port = free_port()
        with staying(self._command("-N", "-D", f"127.0.0.1:{port}", "box"), self._home):
            yield port


def _tidy() -> None:
    """Remove where a killed plink shared its connection."""
    for shared in Path(f"/tmp/putty-connshare.{getpass.getuser()}").glob("*/socket"):
        with socket.socket(socket.AF_UNIX) as end, contextlib.suppress(FileNotFoundError):
            try:
                end.connect(str(shared))
            except ConnectionRefusedError:
                shutil.rmtree(shared.parent, ignore_errors=True)


class Psftp(Putty):
    """PuTTY's psftp."""

    name = "psftp"

    def _batch(self, line: str) -> None:
        script = self.place / "script"
        script.write_text(f"{line}\n")
        must(self._command("-b", str(script), "box", program="psftp"), environment=self._home)

    def upload(self, here: Path, there: str) -> None:
        self._batch(f"put {here} {there}")

    def download(self, there: str, here: Path) -> None:
        self._batch(f"get {there} {here}")


class Dropbear(Client):
    """dropbear's dbclient; its files by scp."""

    name = "dbclient"

    def __init__(self, way: Way, place: Path) -> None:
        super().__init__(way, place)
        known = place / ".ssh/known_hosts"
        known.parent.mkdir()
        known.write_text(f"box {way.host_key}\n")
        self._scp = place / "dbclient-for-scp"
        self._scp.write_text(f'#!/bin/sh\nexec dbclient -J "{way.proxy}" "$@"\n')
        self._scp.chmod(0o755)
        self._home = {"HOME": str(place)}

    def _command(self, *words: str) -> list[str]:
        return ["dbclient", "-J", self.way.proxy, *words]

    def execute(self, command: str, stdin: bytes = b"") -> Done:
        return run(self._command("anybody@box", command), stdin, self._home)

    def terminal(self, command: str) -> bytes:
        return on_a_terminal(self._command("-t", "anybody@box", command), self._home)

    def upload(self, here: Path, there: str) -> None:
        words = [str(here), f"anybody@box:{there}"]
        must(["scp", "-q", "-O", "-S", str(self._scp), *words], environment=self._home)

    def download(self, there: str, here: Path) -> None:
        words = [f"anybody@box:{there}", str(here)]
        must(["scp", "-q", "-O", "-S", str(self._scp), *words], environment=self._home)

    @contextlib.contextmanager
    def local(self, there: int) -> Iterator[Place]:
        port = free_port()
        forward = ["-L", f"127.0.0.1:{port}:localhost:{there}"]
        with staying(self._command("-N", *forward, "anybody@box"), self._home):
            yield port

    @contextlib.contextmanager
    def remote(self, there: int, here: int) -> Iterator[None]:
        forward = ["-R", f"127.0.0.1:{there}:127.0.0.1:{here}"]
        with staying(self._command("-N", *forward, "anybody@box"), self._home):
            yield
