"""The journal's rows of uppers and of the boxes that use them.

Invariant: an upper is dirty from before a box could write to it until a save that was begun later
is pushed; and once it is collected or dropped, nothing uses it again.
"""

import sqlite3
from typing import Any

import msgspec

from devbox.model.errors import Conflict, Unavailable
from devbox.model.projects import Image
from devbox.model.saves import UPPER_MOVES, UpperState
from node_agent.journal.database import Database
from node_agent.journal.rows import Box, Upper

_KEPT = (UpperState.CLEAN, UpperState.DIRTY)


class Uppers(Database):
    """Reads and writes them."""

    def upper(self, project_uid: str) -> Upper | None:
        """The project's upper on this node; None too when its directory is going."""
        found = self._uppers("WHERE project_uid = ? AND state IN (?, ?)", project_uid, *_KEPT)
        return next(iter(found), None)

    def uppers(self) -> list[Upper]:
        """All uppers that this node keeps."""
        return self._uppers("WHERE state IN (?, ?) ORDER BY project_uid", *_KEPT)

    def going(self) -> list[str]:
        """Projects whose upper was given up, and whose directory may still be there."""
        rows = self._rows("SELECT project_uid FROM uppers WHERE state NOT IN (?, ?)", *_KEPT)
        return sorted(str(uid) for (uid,) in rows)

    def _uppers(self, where: str, *values: object) -> list[Upper]:
        rows = self._rows(
            "SELECT project_uid, path, image, chain_id, generation, state, bytes FROM uppers "
            + where,
            *values,
        )
        return [_upper(row) for row in rows]

    def put_upper(self, upper: Upper) -> None:
        """Record a new upper."""
        with self._change() as database:
            database.execute(
                "INSERT OR REPLACE INTO uppers"
                " (project_uid, path, image, chain_id, generation, state, bytes)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    upper.project_uid,
                    upper.path,
                    msgspec.json.encode(upper.image),
                    upper.chain_id,
                    upper.generation,
                    upper.state,
                    upper.bytes,
                ),
            )

    def count_upper(self, project_uid: str, size: int) -> None:
        """The last save counted so many bytes in the upper."""
        with self._change() as database:
            database.execute(
                "UPDATE uppers SET bytes = ? WHERE project_uid = ?", (size, project_uid)
            )

    def give_up(self, project_uid: str, state: UpperState) -> None:
        """The upper's directory will go: COLLECTED or DROPPED. Nothing of it is gone yet.

        Raises Unavailable while a box may write to it, and when COLLECTED would lose something.
        """
        with self._change() as database:
            if any(box.may_write for box in self.boxes_of_project(project_uid)):
                raise Unavailable("a box of the project may still write to its files")
            if state is UpperState.COLLECTED:
                self._check_saved(project_uid)
            move_upper(database, project_uid, state)

    def _check_saved(self, project_uid: str) -> None:
        upper = self.upper(project_uid)
        if upper is None or upper.dirty:
            raise Unavailable("the project's files have changed since the newest save")

    def forget_upper(self, project_uid: str) -> None:
        """The upper's directory is gone."""
        with self._change() as database:
            database.execute("DELETE FROM uppers WHERE project_uid = ?", (project_uid,))

    def begin(self, project_uid: str) -> None:
        """A save reads its upper from now on: what is written later is dirty again.

        A box that may write keeps its upper dirty.
        """
        with self._change() as database:
            if not any(box.may_write for box in self.boxes_of_project(project_uid)):
                move_upper(database, project_uid, UpperState.CLEAN)

    def keep_dirty(self, project_uid: str) -> None:
        """The upper holds what no save does, although nobody wrote to it."""
        with self._change() as database:
            move_upper(database, project_uid, UpperState.DIRTY)

    # Boxes

    def link_box(self, box: Box) -> None:
        """A container is about to use the project's upper: from now on the upper is dirty."""
        with self._change() as database:
            database.execute(
                "INSERT OR REPLACE INTO boxes VALUES (?, ?, ?, ?, ?, ?)",
                msgspec.structs.astuple(box),
            )
            move_upper(database, box.project_uid, UpperState.DIRTY)
            database.execute(
                "UPDATE uppers SET generation = ? WHERE project_uid = ?",
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


def move_upper(database: sqlite3.Connection, project_uid: str, state: UpperState) -> None:
    """Inside a change; no upper is no harm. Raises Conflict if `UPPER_MOVES` has no such move."""
    row = database.execute(
        "SELECT state FROM uppers WHERE project_uid = ?", (project_uid,)
    ).fetchone()
    before = UpperState(row[0]) if row else state
    if before is state:
        return
    if state not in UPPER_MOVES[before]:
        raise Conflict(f"the project's files on this node cannot go from {before} to {state}")
    database.execute("UPDATE uppers SET state = ? WHERE project_uid = ?", (state, project_uid))


def _box(row: tuple[Any, ...]) -> Box:
    container_id, sandbox_id, pod_uid, project_uid, generation, may_write = row
    return Box(container_id, sandbox_id, pod_uid, project_uid, generation, bool(may_write))


def _upper(row: tuple[Any, ...]) -> Upper:
    fields = dict(zip(Upper.__struct_fields__, row, strict=True))
    fields["image"] = msgspec.json.decode(fields["image"], type=Image)
    return msgspec.convert(fields, Upper)
