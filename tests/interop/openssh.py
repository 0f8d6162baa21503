"""OpenSSH's programs, and those that run its ssh."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tests.interop.client import Client, Done
from tests.interop.programs import all_at_once, free_port, must, on_a_terminal, run, staying
from tests.support.box import wait_for
from tests.support.echo import Place


class OpenSsh(Client):
    """ssh; its files by scp."""

    name = "ssh"

    def execute(self, command: str, stdin: bytes = b"") -> Done:
        return run(self.way.door.ssh("box", command), stdin)

    def terminal(self, command: str) -> bytes:
        return on_a_terminal(self.way.door.ssh("-t", "box", command))

    def together(self, commands: list[str]) -> list[Done]:
        control = ["-o", f"ControlPath={self.place}/master"]
        with staying(self.way.door.ssh(*control, "-M", "-N", "box")):
            wait_for(lambda: (self.place / "master").exists(), "the master")
            return all_at_once([self.way.door.ssh(*control, "box", one) for one in commands])

    @contextlib.contextmanager
    def _forwarding(self, *options: str) -> Iterator[None]:
        strict = ["-o", "ExitOnForwardFailure=yes"]
        with staying(self.way.door.ssh("-N", *strict, *options, "box")):
            yield

    @contextlib.contextmanager
    def local(self, there: int) -> Iterator[Place]:
        port = free_port()
        with self._forwarding("-L", f"{port}:localhost:{there}"):
            yield port

    @contextlib.contextmanager
    def local_unix(self, there: str) -> Iterator[Place]:
        here = f"{self.place}/local"
        with self._forwarding("-L", f"{here}:{there}"):
            yield here

    @contextlib.contextmanager
    def remote(self, there: int, here: int) -> Iterator[None]:
        with self._forwarding("-R", f"{there}:localhost:{here}"):
            yield

    @contextlib.contextmanager
    def remote_unix(self, there: str, here: int) -> Iterator[None]:
        with self._forwarding("-R", f"{there}:localhost:{here}"):
            yield

    @contextlib.contextmanager
    def dynamic(self) -> Iterator[int]:
        port = free_port()
        with self._forwarding("-D", str(port)):
            yield port


class Scp(Client):
    """scp over sftp."""

    name = "scp"
    options: ClassVar[tuple[str, ...]] = ("-q",)

    def _scp(self, source: str, target: str) -> None:
        must(["scp", "-F", str(self.way.door.config), *self.options, source, target])

    def upload(self, here: Path, there: str) -> None:
        self._scp(str(here), f"box:{there}")

    def download(self, there: str, here: Path) -> None:
        self._scp(f"box:{there}", str(here))


class OldScp(Scp):
    """scp's own protocol."""

    name = "scp -O"
    options = ("-q", "-O")


class Sftp(Client):
    """sftp."""

    name = "sftp"

    def _batch(self, line: str) -> None:
        must(["sftp", "-F", str(self.way.door.config), "-b", "-", "box"], f"{line}\n".encode())

    def upload(self, here: Path, there: str) -> None:
        self._batch(f"put {here} {there}")

    def download(self, there: str, here: Path) -> None:
        self._batch(f"get {there} {here}")


class Rsync(Client):
    """rsync."""

    name = "rsync"

    def _rsync(self, source: str, target: str) -> None:
        must(["rsync", "-a", "-e", f"ssh -F {self.way.door.config}", source, target])

    def upload(self, here: Path, there: str) -> None:
        self._rsync(str(here), f"box:/home/devbox/{there}")

    def download(self, there: str, here: Path) -> None:
        self._rsync(f"box:/home/devbox/{there}", str(here))


class Git(Client):
    """git: pushes and clones a repository with the file in it."""

    name = "git"
    _AS = "git -c user.name=a -c user.email=a@b -c init.defaultBranch=main"

    def _git(self, *words: str) -> None:
        ssh = f"ssh -F {self.way.door.config}"
        must([*self._AS.split(), *words], environment={"GIT_SSH_COMMAND": ssh})

    def upload(self, here: Path, there: str) -> None:
        tree = str(here.parent)
        self._git("init", "-q", tree)
        self._git("-C", tree, "add", here.name)
        self._git("-C", tree, "commit", "-q", "-m", "it")
        self.way.door.out(f"cd && {self._AS} init -q --bare pushed")
        self._git("-C", tree, "push", "-q", "box:/home/devbox/pushed", "HEAD:refs/heads/main")
        self.way.door.out(f"cd && git -C pushed show main:{here.name} > {there}")

    def download(self, there: str, here: Path) -> None:
        new = f"cd && {self._AS} init -q cloned && cp {there} cloned/it && cd cloned"
        self.way.door.out(f"{new} && git add it && {self._AS} commit -q -m it")
        self._git("clone", "-q", "box:/home/devbox/cloned", f"{self.place}/clone")
        (self.place / "clone/it").rename(here)


class Sshfs(Client):
    """sshfs: a mounted home."""

    name = "sshfs"

    @contextlib.contextmanager
    def _mounted(self) -> Iterator[Path]:
        place = self.place / "mount"
        place.mkdir(exist_ok=True)
        must(["sshfs", "-F", str(self.way.door.config), "box:", str(place)])
        try:
            yield place
        finally:
            must(["fusermount3", "-u", str(place)])

    def upload(self, here: Path, there: str) -> None:
        with self._mounted() as home:
            (home / there).write_bytes(here.read_bytes())

    def download(self, there: str, here: Path) -> None:
        with self._mounted() as home:
            here.write_bytes((home / there).read_bytes())


class Lftp(Client):
    """lftp's sftp, which runs ssh for its connection."""

    name = "lftp"

    def _lftp(self, line: str) -> None:
        connect = f"ssh -a -x -F {self.way.door.config}"
        lines = f'set sftp:connect-program "{connect}"; open sftp://anybody:any@box; {line}'
        must(["lftp", "--norc", "-c", lines], environment={"HOME": str(self.place)})

    def upload(self, here: Path, there: str) -> None:
        self._lftp(f"put {here} -o {there}")

    def download(self, there: str, here: Path) -> None:
        self._lftp(f"get {there} -o {here}")
