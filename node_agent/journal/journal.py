"""Reads and writes the journal. Two processes may have it open.

Invariants, whatever is killed when:
- a save's step moves only as `SAVE_MOVES` allows;
- a sequence number is given once per project;
- an upper is dirty from before a box could write to it until a save that was begun later is pushed.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from devbox.model.errors import Conflict, Internal
from devbox.model.nodes import RestoreOrder, SaveOrder
from devbox.model.projects import Image
from devbox.model.saves import SAVE_MOVES, Save, SaveReason, SaveStep
from node_agent.journal.rows import WAITS_FOR_NOBODY, Box, PendingSave, Upper
from node_agent.journal.schema import migrate

_BUSY_MS = 5000
_OPEN_STEPS = (SaveStep.INTENT, SaveStep.WRITTEN, SaveStep.PUSHED, SaveStep.FAILED)
_UNWRITTEN = (SaveStep.INTENT, SaveStep.FAILED)


class Journal:
    """One process's connection. Safe to call from several threads."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the file, mode 0600."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        database.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        migrate(database)
        return cls(database)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    # Uppers

    def upper(self, project_uid: str) -> Upper | None:
        """The project's upper on this node."""
        return next(iter(self._uppers("WHERE project_uid = ?", project_uid)), None)

    def uppers(self) -> list[Upper]:
        """All uppers of this node."""
        return self._uppers("ORDER BY project_uid")

    def _uppers(self, where: str, *values: object) -> list[Upper]:
        rows = self._rows(
            "SELECT project_uid, path, image, chain_id, generation, dirty, bytes FROM uppers "
            + where,
            *values,
        )
        return [_upper(row) for row in rows]

    def put_upper(self, upper: Upper) -> None:
        """Record a new upper, or what changed of one."""
        with self._change() as database:
            database.execute(
                "INSERT OR REPLACE INTO uppers VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    upper.project_uid,
                    upper.path,
                    msgspec.json.encode(upper.image),
                    upper.chain_id,
                    upper.generation,
                    upper.dirty,
                    upper.bytes,
                ),
            )

    def count_upper(self, project_uid: str, size: int) -> None:
        """The last save counted so many bytes in the upper."""
        with self._change() as database:
            database.execute(
                "UPDATE uppers SET bytes = ? WHERE project_uid = ?", (size, project_uid)
            )

    def forget_upper(self, project_uid: str) -> None:
        """The upper's directory is gone."""
        with self._change() as database:
            database.execute("DELETE FROM uppers WHERE project_uid = ?", (project_uid,))

    # Boxes

    def link_box(self, box: Box) -> None:
        """A container is about to use the project's upper: from now on the upper is dirty."""
        with self._change() as database:
            database.execute(
                "INSERT OR REPLACE INTO boxes VALUES (?, ?, ?, ?, ?, ?)",
                msgspec.structs.astuple(box),
            )
            database.execute(
                "UPDATE uppers SET dirty = 1, generation = ? WHERE project_uid = ?",
                (box.generation, box.project_uid),
            )

    def box_ended(self, container_id: str) -> None:
        """No process of the container runs any more: it writes nothing from now on."""
        with self._change() as database:
            database.execute(
                "UPDATE boxes SET may_write = 0 WHERE container_id = ?", (container_id,)
            )

    def box(self, container_id: str) -> Box | None:
        """The box that a container is."""
        return next(iter(self._boxes("WHERE container_id = ?", container_id)), None)

    def boxes_of_sandbox(self, sandbox_id: str) -> list[Box]:
        """The boxes in a sandbox."""
        return self._boxes("WHERE sandbox_id = ?", sandbox_id)

    def boxes_of_project(self, project_uid: str) -> list[Box]:
        """The containers that were linked to a project's upper and not forgotten."""
        return self._boxes("WHERE project_uid = ?", project_uid)

    def boxes(self) -> list[Box]:
        """All boxes that are not forgotten."""
        return self._boxes("ORDER BY container_id")

    def _boxes(self, where: str, *values: object) -> list[Box]:
        rows = self._rows(
            "SELECT container_id, sandbox_id, pod_uid, project_uid, generation, may_write"
            " FROM boxes " + where,
            *values,
        )
        return [_box(row) for row in rows]

    def forget_box(self, container_id: str) -> None:
        """Containerd has no such container any more."""
        with self._change() as database:
            database.execute("DELETE FROM boxes WHERE container_id = ?", (container_id,))

    # Saves

    def want_save(
        self, project_uid: str, *, generation: int, reason: SaveReason, now: float
    ) -> int | None:
        """The shim or the clock wants a save. Returns its sequence number.

        None when nothing can have changed, or when one that nobody asked for already waits.
        """
        with self._change() as database:
            upper = self.upper(project_uid)
            if upper is None or not upper.dirty or self._waiting(project_uid):
                return None
            save = Save(
                project_uid=project_uid,
                seq=_next_seq(database, project_uid),
                generation=generation,
                reason=reason,
                step=SaveStep.INTENT,
                started_at=now,
            )
            _insert(database, save, ())
            return save.seq

    def take_order(self, order: SaveOrder, now: float) -> int:
        """Somebody asked for a save. Returns its sequence number; hearing it twice is no harm."""
        with self._change() as database:
            known = database.execute(
                "SELECT seq FROM saves WHERE order_id = ?", (order.order_id,)
            ).fetchone()
            if known:
                return int(known[0])
            save = Save(
                project_uid=order.project_uid,
                seq=_next_seq(database, order.project_uid),
                generation=order.generation,
                reason=order.reason,
                step=SaveStep.INTENT,
                order_id=order.order_id,
                started_at=now,
            )
            _insert(database, save, order.tags)
            return save.seq

    def take_restore(self, order: RestoreOrder, now: float) -> int:
        """An earlier save is to be the newest. Returns the new one's sequence number."""
        with self._change() as database:
            known = database.execute(
                "SELECT seq FROM saves WHERE order_id = ?", (order.order_id,)
            ).fetchone()
            if known:
                return int(known[0])
            seq = _next_seq(database, order.project_uid)
            save = Save(
                project_uid=order.project_uid,
                seq=seq,
                generation=order.generation,
                reason=SaveReason.RESTORED,
                step=SaveStep.INTENT,
                order_id=order.order_id,
                digest=order.image.digest,
                layers=order.save.layers,
                total_bytes=order.save.total_bytes,
                started_at=now,
                note=f"the files of save {order.save.seq}",
            )
            _insert(database, save, (f"save-{seq}",), order.image)
            return seq

    def _waiting(self, project_uid: str) -> bool:
        """Is there a save that is not begun and that no person asked for?"""
        return any(
            row.save.reason in WAITS_FOR_NOBODY
            for row in self._saves(
                "WHERE project_uid = ? AND step IN (?, ?)", project_uid, *_UNWRITTEN
            )
        )

    def save(self, project_uid: str, seq: int) -> PendingSave | None:
        """One save."""
        return next(iter(self._saves("WHERE project_uid = ? AND seq = ?", project_uid, seq)), None)

    def open_saves(self, project_uid: str | None = None) -> list[PendingSave]:
        """Saves that are neither recorded nor dropped, oldest first."""
        marks = ", ".join("?" * len(_OPEN_STEPS))
        where = f"WHERE step IN ({marks})"
        if project_uid is None:
            return self._saves(where, *_OPEN_STEPS)
        return self._saves(where + " AND project_uid = ?", *_OPEN_STEPS, project_uid)

    def unreported_saves(self) -> list[PendingSave]:
        """Saves that the controller does not know as they stand here, oldest first."""
        return self._saves("WHERE reported = 0")

    def _saves(self, where: str, *values: object) -> list[PendingSave]:
        rows = self._rows(
            f"SELECT save, tags, attempts, retry_at, image, reported FROM saves {where}"
            " ORDER BY project_uid, seq",
            *values,
        )
        return [_pending(row) for row in rows]

    def begin(self, project_uid: str) -> None:
        """A save reads its upper from now on: what is written later is dirty again.

        A box that may write keeps its upper dirty.
        """
        with self._change() as database:
            running = database.execute(
                "SELECT 1 FROM boxes WHERE project_uid = ? AND may_write", (project_uid,)
            ).fetchone()
            if running is None:
                database.execute(
                    "UPDATE uppers SET dirty = 0 WHERE project_uid = ?", (project_uid,)
                )

    def keep_dirty(self, project_uid: str) -> None:
        """The upper holds what no save does, although nobody wrote to it."""
        with self._change() as database:
            database.execute("UPDATE uppers SET dirty = 1 WHERE project_uid = ?", (project_uid,))

    def move(
        self,
        project_uid: str,
        seq: int,
        step: SaveStep,
        *,
        image: Image | None = None,
        **facts: object,
    ) -> Save:
        """Move a save to `step`, with what is known of it now. Raises Conflict if it may not move.

        The news goes to the controller with the next report.
        """

        def moved(row: PendingSave) -> PendingSave:
            if step not in SAVE_MOVES[row.save.step]:
                raise Conflict(f"save {seq} cannot go from {row.save.step} to {step}")
            return msgspec.structs.replace(
                row,
                save=msgspec.structs.replace(row.save, step=step, **facts),
                image=image or row.image,
                reported=False,
            )

        with self._change() as database:
            return self._edit(database, project_uid, seq, moved).save

    def tell(self, project_uid: str, seq: int, **facts: object) -> None:
        """What is known of a save on its way (progress, a note). Goes out with the next report."""
        with self._change() as database:
            self._edit(
                database,
                project_uid,
                seq,
                lambda row: msgspec.structs.replace(
                    row, save=msgspec.structs.replace(row.save, **facts), reported=False
                ),
            )

    def fail(self, project_uid: str, seq: int, *, note: str, retry_at: float) -> None:
        """A try failed: the save waits until `retry_at`, and its upper is dirty again.

        One that was to be restored had not begun to read it.
        """

        def failed(row: PendingSave) -> PendingSave:
            return msgspec.structs.replace(
                row,
                save=msgspec.structs.replace(row.save, step=SaveStep.FAILED, note=note),
                attempts=row.attempts + 1,
                retry_at=retry_at,
                reported=False,
            )

        with self._change() as database:
            row = self._edit(database, project_uid, seq, failed)
            if row.save.reason is SaveReason.RESTORED:
                return
            database.execute("UPDATE uppers SET dirty = 1 WHERE project_uid = ?", (project_uid,))

    def recover(self) -> None:
        """At start: what was being written when the node agent ended is wanted again."""
        with self._change() as database:
            for row in self._saves("WHERE step = ?", SaveStep.WRITTEN):
                again = msgspec.structs.replace(
                    row,
                    save=msgspec.structs.replace(row.save, step=SaveStep.INTENT, done_bytes=0),
                    reported=False,
                )
                _write(database, again)
                database.execute(
                    "UPDATE uppers SET dirty = 1 WHERE project_uid = ?", (row.save.project_uid,)
                )
            database.execute(
                "UPDATE uppers SET dirty = 1 WHERE project_uid IN"
                " (SELECT project_uid FROM saves WHERE step IN (?, ?))",
                _UNWRITTEN,
            )

    def reported(self, saves: list[Save]) -> None:
        """The controller has these on disk. A pushed save is recorded by that."""
        with self._change() as database:
            for save in saves:
                row = self.save(save.project_uid, save.seq)
                if row is None or row.save != save:
                    continue
                if save.step is SaveStep.PUSHED:
                    done = msgspec.structs.replace(save, step=SaveStep.RECORDED)
                    _write(database, msgspec.structs.replace(row, save=done, reported=False))
                else:
                    _write(database, msgspec.structs.replace(row, reported=True))

    def last_recorded(self, project_uid: str) -> PendingSave | None:
        """The newest save that is recorded."""
        rows = self._saves("WHERE project_uid = ? AND step = ?", project_uid, SaveStep.RECORDED)
        return max(rows, key=lambda row: (row.save.generation, row.save.seq), default=None)

    def forget_project(self, project_uid: str) -> None:
        """All rows of a deleted project."""
        with self._change() as database:
            for table in ("uppers", "boxes", "sequences", "saves"):
                database.execute(f"DELETE FROM {table} WHERE project_uid = ?", (project_uid,))

    def _edit(
        self,
        database: sqlite3.Connection,
        project_uid: str,
        seq: int,
        change: Callable[[PendingSave], PendingSave],
    ) -> PendingSave:
        row = self.save(project_uid, seq)
        if row is None:
            raise Internal(f"the journal has no save {seq} of project {project_uid}")
        changed = change(row)
        if changed != row:
            _write(database, changed)
        return changed

    # News that wait for the controller

    def add_news(self, kind: str, key: str, value: bytes = b"") -> None:
        """Keep a fact until the controller heard it; a newer one of the same key replaces it."""
        with self._change() as database:
            database.execute("INSERT OR REPLACE INTO news VALUES (?, ?, ?)", (kind, key, value))

    def news(self, kind: str) -> list[tuple[str, bytes]]:
        """(key, value) of what the controller has not heard."""
        rows = self._rows("SELECT key, value FROM news WHERE kind = ? ORDER BY key", kind)
        return [(str(key), bytes(value)) for key, value in rows]

    def heard(self, kind: str, told: list[tuple[str, bytes]]) -> None:
        """The controller has heard these."""
        with self._change() as database:
            database.executemany(
                "DELETE FROM news WHERE kind = ? AND key = ? AND value = ?",
                [(kind, key, value) for key, value in told],
            )


def _next_seq(database: sqlite3.Connection, project_uid: str) -> int:
    row = database.execute(
        "INSERT INTO sequences VALUES (?, 1)"
        " ON CONFLICT (project_uid) DO UPDATE SET seq = seq + 1 RETURNING seq",
        (project_uid,),
    ).fetchone()
    return int(row[0])


def _insert(
    database: sqlite3.Connection, save: Save, tags: tuple[str, ...], image: Image | None = None
) -> None:
    row = PendingSave(save=save, tags=tags, attempts=0, retry_at=0.0, image=image, reported=False)
    _write(database, row)


def _write(database: sqlite3.Connection, row: PendingSave) -> None:
    database.execute(
        "INSERT OR REPLACE INTO saves VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.save.project_uid,
            row.save.seq,
            row.save.step,
            row.save.order_id,
            msgspec.json.encode(row.save),
            msgspec.json.encode(row.tags),
            row.attempts,
            row.retry_at,
            msgspec.json.encode(row.image) if row.image else None,
            row.reported,
        ),
    )


def _pending(row: tuple[Any, ...]) -> PendingSave:
    save, tags, attempts, retry_at, image, reported = row
    return PendingSave(
        save=msgspec.json.decode(save, type=Save),
        tags=msgspec.json.decode(tags, type=tuple[str, ...]),
        attempts=msgspec.convert(attempts, int),
        retry_at=msgspec.convert(retry_at, float),
        image=msgspec.json.decode(image, type=Image) if image else None,
        reported=bool(reported),
    )


def _box(row: tuple[Any, ...]) -> Box:
    container_id, sandbox_id, pod_uid, project_uid, generation, may_write = row
    return Box(container_id, sandbox_id, pod_uid, project_uid, generation, bool(may_write))


def _upper(row: tuple[Any, ...]) -> Upper:
    fields = dict(zip(Upper.__struct_fields__, row, strict=True))
    fields["image"] = msgspec.json.decode(fields["image"], type=Image)
    fields["dirty"] = bool(fields["dirty"])
    return msgspec.convert(fields, Upper)
