"""Sweeps the embedded registry's directory while the registry serves from it.

Invariant: a blob that any repository links is never gone for good. The registry links a blob after
it looked whether the blob is there, so a link may appear at any moment. Therefore a blob without a
link is put aside first, by a rename; whatever is linked later is put back, and only what stayed
without a link for `grace_s` is deleted. A kill at any point leaves blobs aside, for the next sweep.

The registry keeps no cache of blobs, so it sees each rename at once. Knows the folders of
distribution 2.8 (`registry/storage/paths.go`), and nothing of projects or saves.
"""

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from devbox.model.errors import BadInput, Conflict

_HEX = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9]+(?:[._/-][a-z0-9]+)*")


class Ages(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that something must have lain untouched."""

    young_s: float = 60.0
    """Younger blobs stay: the registry writes the link after the blob."""
    grace_s: float = 30.0
    """Aside for less, a blob is not deleted. Above any time from look to link."""
    leftover_s: float = 3600.0
    """For uploads, and for links that no manifest needs. Above any silence of a live upload."""


class Swept(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep did."""

    aside: int = 0
    """Blobs that wait for their grace to end."""
    put_back: int = 0
    deleted: int = 0
    freed_bytes: int = 0
    uploads: int = 0
    """Uploads that nobody goes on with."""


class Storage:
    """The directory of one registry. Every call blocks; call it in a thread."""

    def __init__(self, directory: Path, ages: Ages | None = None) -> None:
        self._ages = ages or Ages()
        self._directory = directory
        root = directory / "docker" / "registry" / "v2"
        self._blobs = root / "blobs" / "sha256"
        self._repositories = root / "repositories"
        self._aside = directory / "aside"

    def sweep(self) -> Swept:
        """One round. Raises Conflict while another process sweeps."""
        with self._alone():
            uploads = sum(self._old_uploads(repository) for repository in self._all())
            deleted, freed, back = self._end_grace()
            back += self._put_aside()
            waiting = sum(1 for _ in _listed(self._aside))
            return Swept(
                aside=waiting, put_back=back, deleted=deleted, freed_bytes=freed, uploads=uploads
            )

    def forget(self, repository: str) -> None:
        """Remove all that the registry knows of a repository; blobs go with the next sweeps.

        Durable when it returns. Nobody may push to the repository any more.
        """
        path = self._path(repository)
        if path.is_dir():
            shutil.rmtree(path)
            _sync(path.parent)

    def trim(self, repository: str) -> int:
        """Remove links to layers that no manifest of the repository needs: killed saves' blobs.

        Returns how many. Nobody may push to the repository meanwhile.
        """
        path = self._path(repository)
        needed = self._needed(path)
        if needed is None:
            return 0
        links = {link.parent.name: link for link in path.glob("_layers/sha256/*/link")}
        stale = [links[name] for name in links.keys() - needed]
        old = [link for link in stale if self._old(link, self._ages.leftover_s)]
        for link in old:
            shutil.rmtree(link.parent)
        return len(old)

    def repositories(self) -> tuple[str, ...]:
        """Names of all repositories, in order."""
        return tuple(sorted(str(path.relative_to(self._repositories)) for path in self._all()))

    # -- inside ---------------------------------------------------------------------------------

    def _end_grace(self) -> tuple[int, int, int]:
        deleted = freed = back = 0
        linked = self._linked()
        for path in _listed(self._aside):
            if path.name in linked:
                back += self._restore(path)
            elif self._old(path, self._ages.grace_s):
                freed += sum(file.stat().st_size for file in path.iterdir())
                shutil.rmtree(path)
                deleted += 1
        return deleted, freed, back

    def _put_aside(self) -> int:
        """Blobs are listed before links: a blob whose link is being written is young."""
        blobs = [path for path in self._blobs.glob("??/*") if _HEX.fullmatch(path.name)]
        linked = self._linked()
        moved = []
        for path in blobs:
            data = path / "data"
            if path.name in linked or not self._old(data, self._ages.young_s):
                continue
            target = self._aside / path.name
            if target.exists():
                # An earlier copy waits there; this one's turn comes when that one is gone.
                continue
            os.utime(path)
            path.rename(target)
            moved.append(target)
        linked = self._linked() if moved else linked
        return sum(self._restore(path) for path in moved if path.name in linked)

    def _restore(self, path: Path) -> bool:
        target = self._blobs / path.name[:2] / path.name
        if _size(target / "data") == _size(path / "data"):
            shutil.rmtree(path)
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.rename(target)
        except OSError:
            # The registry is writing the same blob anew there.
            return False
        return True

    def _linked(self) -> set[str]:
        """Every blob that a repository refers to, as layer, config or manifest."""
        found: set[str] = set()
        for repository in self._all():
            for kind in ("_layers/sha256", "_manifests/revisions/sha256"):
                for path in _listed(repository / kind):
                    if (path / "link").exists():
                        found.add(path.name)
        return found

    def _needed(self, repository: Path) -> set[str] | None:
        """Blobs of the manifests of a repository; None when one cannot be read."""
        found: set[str] = set()
        for link in repository.glob("_manifests/revisions/sha256/*/link"):
            name = link.parent.name
            try:
                raw = (self._blobs / name[:2] / name / "data").read_bytes()
                told = msgspec.json.decode(raw, type=_Manifest)
            except (OSError, msgspec.MsgspecError):
                return None
            for blob in (told.config, *told.layers):
                found.add(blob.digest.removeprefix("sha256:"))
        return found

    def _old_uploads(self, repository: Path) -> int:
        count = 0
        for path in _listed(repository / "_uploads"):
            # A walk takes no offence at an upload that ends meanwhile.
            files = [Path(at) / name for at, _, names in os.walk(path) for name in ("", *names)]
            if files and all(self._old(file, self._ages.leftover_s) for file in files):
                shutil.rmtree(path, ignore_errors=True)
                count += 1
        return count

    def _old(self, path: Path, age_s: float) -> bool:
        try:
            facts = path.stat()
        except FileNotFoundError:
            return False
        return time.time() - max(facts.st_mtime, facts.st_ctime) >= age_s

    def _all(self) -> Iterator[Path]:
        """Every directory of a repository; repositories may lie in one another."""
        waiting = [self._repositories]
        while waiting:
            inner = {path.name: path for path in _listed(waiting.pop())}
            ours = [path for name, path in inner.items() if not name.startswith("_")]
            waiting += ours
            if parents := [path for name, path in inner.items() if name.startswith("_")]:
                yield parents[0].parent

    def _path(self, repository: str) -> Path:
        if not _NAME.fullmatch(repository):
            raise BadInput(f"{repository!r} is no name of a repository")
        return self._repositories / repository

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self._aside.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._directory / "sweep.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Conflict("the registry is being swept already") from error
            yield


class _Blob(msgspec.Struct, frozen=True):
    digest: str


class _Manifest(msgspec.Struct, frozen=True):
    config: _Blob
    layers: tuple[_Blob, ...]


def _listed(directory: Path) -> Iterator[Path]:
    """Directories in a directory, which may not be there."""
    try:
        yield from [Path(entry.path) for entry in os.scandir(directory) if entry.is_dir()]
    except FileNotFoundError:
        return


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
