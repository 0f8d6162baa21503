"""Makes, takes up and removes uppers on disk.

Layout: `<uppers>/<project uid>/fs` is the upper, `upper.json` beside it says what it stands on,
`<uppers>/.locks/<project uid>` is held while an upper is linked, made or removed, and
`<uppers>/.trash-*` waits for its deletion. Knows no containerd and no gRPC.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from devbox.edge.layout import Layout
from devbox.model.errors import Conflict, Unavailable
from devbox.model.projects import Image
from node_agent.journal import Journal, Upper
from node_agent.upper import overlay

_SKIPPED_XATTRS = ("trusted.overlay.", "user.overlay.", "user.devbox.")
TRASH = ".trash-"
UNDONE = ".new-"
_UNDONE_S = 60.0


class _Meta(msgspec.Struct, frozen=True, kw_only=True):
    project_uid: str
    image: Image
    chain_id: str


class Uppers:
    """The uppers of one node."""

    def __init__(self, layout: Layout, journal: Journal) -> None:
        self._root = layout.uppers
        self._journal = journal

    def path(self, project_uid: str) -> Path:
        """Of the directory that overlayfs takes as upperdir."""
        return self._root / project_uid / "fs"

    @contextlib.contextmanager
    def hold(self, project_uid: str) -> Iterator[None]:
        """Keep other processes from linking or removing the upper. Unavailable when one does."""
        locks = self._root / ".locks"
        locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(locks / project_uid, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Unavailable(
                    "the project's files are being linked or removed", "Try again in a moment."
                ) from error
            yield
        finally:
            os.close(lock)

    def open(self, project_uid: str, image: Image, chain_id: str, lower: Path) -> Upper:
        """The project's upper, made if it has none, for a box on `chain_id`. Call inside `hold`.

        `lower` is the root of the image's topmost layer. Raises Conflict when the upper stands on
        another image or is damaged.
        """
        row = self._journal.upper(project_uid) or self._take_up(project_uid)
        if row is None:
            return self._make(project_uid, image, chain_id, lower)
        if not self.path(project_uid).is_dir():
            raise Conflict(
                f"the project's files are gone from this node: {self.path(project_uid)} is missing",
                "Its saves in the registry are safe. Put the directory back, or start from a save.",
            )
        if row.chain_id != chain_id:
            raise Conflict(
                "the project's files on this node stand on another image than the box has",
                "Nothing is lost. Save the project, and start from that save.",
            )
        return row

    def _take_up(self, project_uid: str) -> Upper | None:
        """An upper that lies on disk and not in the journal: a crash came between the two."""
        if not (self._root / project_uid).exists():
            return None
        try:
            text = (self._root / project_uid / "upper.json").read_bytes()
            meta = msgspec.json.decode(text, type=_Meta)
        except (OSError, msgspec.MsgspecError) as error:
            raise Conflict(
                f"nobody knows on which image {self.path(project_uid)} stands: {error}",
                "Nothing was touched. Move the directory away to start without these files.",
            ) from error
        return self._record(meta)

    def _record(self, meta: _Meta) -> Upper:
        row = Upper(
            project_uid=meta.project_uid,
            path=str(self.path(meta.project_uid)),
            image=meta.image,
            chain_id=meta.chain_id,
            generation=0,
            dirty=True,
        )
        self._journal.put_upper(row)
        return row

    def _make(self, project_uid: str, image: Image, chain_id: str, lower: Path) -> Upper:
        meta = _Meta(project_uid=project_uid, image=image, chain_id=chain_id)
        undone = Path(tempfile.mkdtemp(prefix=f"{UNDONE}{project_uid}-", dir=self._root))
        try:
            (undone / "fs").mkdir()
            copy_attributes(lower, undone / "fs")
            _write_durably(undone / "upper.json", msgspec.json.encode(meta))
            undone.rename(self._root / project_uid)
            _sync_directory(self._root)
        except OSError:
            shutil.rmtree(undone, ignore_errors=True)
            raise
        return self._record(meta)

    def put_away(self, project_uid: str, *, only_clean: bool = False) -> Path | None:
        """Forget the upper and give its name back at once. Returns what is to be deleted.

        Raises Unavailable while a container uses it, or could start with it, and with `only_clean`
        when it holds what no save holds.
        """
        with self.hold(project_uid):
            row = self._journal.upper(project_uid)
            if only_clean and (row is None or row.dirty):
                raise Unavailable("the project's files have changed since the newest save")
            upper = self.path(project_uid)
            overlay.check_free(upper)
            if any(box.may_write for box in self._journal.boxes_of_project(project_uid)):
                raise Unavailable("a box of the project may still write to its files")
            self._journal.forget_upper(project_uid)
            if not upper.parent.exists():
                return None
            trash = Path(tempfile.mkdtemp(prefix=TRASH, dir=self._root))
            upper.parent.rename(trash / project_uid)
            _sync_directory(self._root)
            return trash

    def leftovers(self, now: float) -> list[Path]:
        """What an earlier process did not get to delete. `now` in Unix seconds.

        A young undone upper may still be in the making in another process.
        """
        trash = sorted(self._root.glob(f"{TRASH}*"))
        undone = sorted(self._root.glob(f"{UNDONE}*"))
        return trash + [path for path in undone if path.stat().st_mtime < now - _UNDONE_S]


def copy_attributes(source: Path, target: Path) -> None:
    """Give a directory the owner, mode, times and extended attributes of another.

    Overlayfs shows those of the upper for `/`.
    """
    known = source.stat()
    os.chown(target, known.st_uid, known.st_gid)
    target.chmod(stat.S_IMODE(known.st_mode))
    for name in os.listxattr(source):
        if not name.startswith(_SKIPPED_XATTRS):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(known.st_atime_ns, known.st_mtime_ns))


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
