"""The journal's rows of saves.

Invariants: a save's step moves only as `SAVE_MOVES` allows, and a sequence number is given once per
project.
"""

import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from devbox.model.errors import Conflict, Internal, Unavailable
from devbox.model.nodes import RestoreOrder, SaveOrder
from devbox.model.projects import Image
from devbox.model.saves import SAVE_MOVES, Save, SaveReason, SaveStep, UpperState
from node_agent.journal.rows import WAITS_FOR_NOBODY, PendingSave
from node_agent.journal.uppers import Uppers, move_upper

_OPEN_STEPS = (SaveStep.INTENT, SaveStep.WRITTEN, SaveStep.PUSHED, SaveStep.FAILED)
_UNWRITTEN = (SaveStep.INTENT, SaveStep.FAILED)


class Saves(Uppers):
    """Reads and writes them."""

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
            known = _ordered(database, order.order_id)
            if known is not None:
                return known
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
            known = _ordered(database, order.order_id)
            if known is not None:
                return known
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
            "SELECT save, tags, attempts, retry_at, image, reported, written"
            f" FROM saves {where} ORDER BY project_uid, seq",
            *values,
        )
        return [_pending(row) for row in rows]

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

        with self._change() as database:
            moved = self._edit(
                database,
                project_uid,
                seq,
                lambda row: msgspec.structs.replace(
                    _moved(row, step, **facts), image=image or row.image
                ),
            )
            return moved.save

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
        """A try failed: the save waits until `retry_at`, and its upper is dirty again."""

        def failed(row: PendingSave) -> PendingSave:
            moved = _moved(row, SaveStep.FAILED, note=note)
            return msgspec.structs.replace(moved, attempts=row.attempts + 1, retry_at=retry_at)

        with self._change() as database:
            row = self._edit(database, project_uid, seq, failed)
            self._holds_more(database, row)

    def recover(self, project_uid: str | None = None) -> None:
        """What was being written when a node agent ended, or its journal failed, is wanted again.

        Of one project, or of all; none of it may be running.
        """
        with self._change() as database:
            for row in self.open_saves(project_uid):
                if row.save.step is SaveStep.WRITTEN:
                    _write(database, _moved(row, SaveStep.INTENT, done_bytes=0))
                if row.save.step is not SaveStep.PUSHED:
                    self._holds_more(database, row)

    def _holds_more(self, database: sqlite3.Connection, row: PendingSave) -> None:
        """The upper of a save that was not pushed holds what no save does.

        One that was to be restored had not begun to read it.
        """
        uid = row.save.project_uid
        if row.save.reason is not SaveReason.RESTORED and self.upper(uid) is not None:
            move_upper(database, uid, UpperState.DIRTY)

    def reported(self, saves: list[Save]) -> None:
        """The controller has these on disk. A pushed save is recorded by that."""
        with self._change() as database:
            for save in saves:
                row = self.save(save.project_uid, save.seq)
                if row is None or row.save != save:
                    continue
                if save.step is SaveStep.PUSHED:
                    _write(database, _moved(row, SaveStep.RECORDED))
                elif save.step is SaveStep.DROPPED and not save.order_id:
                    # Nobody asks for it again.
                    _forget(database, save)
                else:
                    _write(database, msgspec.structs.replace(row, reported=True))

    def newest_digest(self, project_uid: str) -> str:
        """Of the image of the newest save that was pushed; empty when there is none."""
        rows = self._saves(
            "WHERE project_uid = ? AND step IN (?, ?)",
            project_uid,
            SaveStep.PUSHED,
            SaveStep.RECORDED,
        )
        newest = max(rows, key=lambda row: (row.save.generation, row.save.seq), default=None)
        return newest.save.digest if newest else ""

    def last_recorded(self, project_uid: str) -> PendingSave | None:
        """The newest save that is recorded."""
        rows = self._saves("WHERE project_uid = ? AND step = ?", project_uid, SaveStep.RECORDED)
        return max(rows, key=lambda row: (row.save.generation, row.save.seq), default=None)

    def _check_saved(self, project_uid: str) -> None:
        """All that the upper holds is in saves that the controller has on disk."""
        super()._check_saved(project_uid)
        waiting = (row.save.reason for row in self.open_saves(project_uid))
        if any(reason is not SaveReason.RESTORED for reason in waiting):
            raise Unavailable("a save of the project's files is not recorded yet")

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


def _moved(row: PendingSave, step: SaveStep, **facts: object) -> PendingSave:
    before = row.save
    if step not in SAVE_MOVES[before.step]:
        raise Conflict(f"save {before.seq} cannot go from {before.step} to {step}")
    after = msgspec.structs.replace(before, step=step, **facts)
    written = row.written or step is SaveStep.WRITTEN
    return msgspec.structs.replace(row, save=after, reported=False, written=written)


def _forget(database: sqlite3.Connection, save: Save) -> None:
    database.execute(
        "DELETE FROM saves WHERE project_uid = ? AND seq = ?", (save.project_uid, save.seq)
    )


def _ordered(database: sqlite3.Connection, order_id: str) -> int | None:
    """The save of an order that was heard before."""
    row = database.execute("SELECT seq FROM saves WHERE order_id = ?", (order_id,)).fetchone()
    return int(row[0]) if row else None


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
        "INSERT OR REPLACE INTO saves VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
            row.written,
        ),
    )


def _pending(row: tuple[Any, ...]) -> PendingSave:
    save, tags, attempts, retry_at, image, reported, written = row
    return PendingSave(
        save=msgspec.json.decode(save, type=Save),
        tags=msgspec.json.decode(tags, type=tuple[str, ...]),
        attempts=msgspec.convert(attempts, int),
        retry_at=msgspec.convert(retry_at, float),
        image=msgspec.json.decode(image, type=Image) if image else None,
        reported=bool(reported),
        written=bool(written),
    )
