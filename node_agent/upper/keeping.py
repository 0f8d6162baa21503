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

from devbox.edge.durable import sync_directory, write_file
from devbox.edge.layout import Layout
from devbox.model.errors import Conflict, Unavailable
from devbox.model.projects import Image
from devbox.model.saves import UpperState
from node_agent.faults import Fault, no_fault
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

    def __init__(self, layout: Layout, journal: Journal, fault: Fault = no_fault) -> None:
        self._root = layout.uppers
        self._journal = journal
        self._fault = fault

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
        if project_uid in self._journal.going():
            self._put_aside(project_uid)
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
            state=UpperState.DIRTY,
        )
        self._journal.put_upper(row)
        return row

    def _make(self, project_uid: str, image: Image, chain_id: str, lower: Path) -> Upper:
        meta = _Meta(project_uid=project_uid, image=image, chain_id=chain_id)
        undone = Path(tempfile.mkdtemp(prefix=f"{UNDONE}{project_uid}-", dir=self._root))
        try:
            (undone / "fs").mkdir()
            copy_attributes(lower, undone / "fs")
            write_file(undone / "upper.json", [msgspec.json.encode(meta)])
            sync_directory(undone)
            undone.rename(self._root / project_uid)
            sync_directory(self._root)
        except OSError:
            shutil.rmtree(undone, ignore_errors=True)
            raise
        return self._record(meta)

    def put_away(self, project_uid: str, state: UpperState) -> Path | None:
        """Give the upper up, and its name back at once. Returns what is to be deleted.

        Raises Unavailable while a container uses it, or could start with it, and for COLLECTED when
        it holds what no recorded save holds.
        """
        with self.hold(project_uid):
            overlay.check_free(self.path(project_uid))
            if project_uid not in self._journal.going():
                self._journal.give_up(project_uid, state)
            self._fault("given up")
            return self._put_aside(project_uid)

    def _put_aside(self, project_uid: str) -> Path | None:
        """What follows once the journal has it that the upper goes; also after a crash."""
        trash = None
        if (self._root / project_uid).exists():
            trash = Path(tempfile.mkdtemp(prefix=TRASH, dir=self._root))
            (self._root / project_uid).rename(trash / project_uid)
            sync_directory(self._root)
            self._fault("put aside")
        self._journal.forget_upper(project_uid)
        return trash

    def leftovers(self, now: float) -> list[Path]:
        """What an earlier process did not get to delete. `now` in Unix seconds.

        A young undone upper may still be in the making in another process.
        """
        for project_uid in self._journal.going():
            with contextlib.suppress(Unavailable), self.hold(project_uid):
                self._put_aside(project_uid)
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
