"""Runtimes, the uppers that nodes keep, and the nodes."""

import sqlite3

import msgspec

from controller.store.rows import pack, unpack
from devbox.model.errors import NotFound
from devbox.model.nodes import UpperReport
from devbox.model.runtimes import Runtime


class RuntimeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A runtime, and whether somebody waits for it to be built."""

    runtime: Runtime
    attempt: int = 1
    wanted: bool = False


def put(db: sqlite3.Connection, row: RuntimeRow) -> None:
    """Add it or replace what was known of it."""
    db.execute(
        "INSERT OR REPLACE INTO runtimes (name, body, attempt, wanted) VALUES (?, ?, ?, ?)",
        (row.runtime.name, pack(row.runtime), row.attempt, row.wanted),
    )


def find(db: sqlite3.Connection, name: str) -> RuntimeRow | None:
    """One runtime."""
    row = db.execute(
        "SELECT body, attempt, wanted FROM runtimes WHERE name = ?", (name,)
    ).fetchone()
    return _row(*row) if row else None


def named(db: sqlite3.Connection, name: str) -> RuntimeRow:
    """One runtime. Raises NotFound."""
    row = find(db, name)
    if row is None:
        known = ", ".join(known.runtime.name for known in everything(db))
        raise NotFound(
            f"there is no runtime {name}", f"Known: {known}." if known else "None is known yet."
        )
    return row


def everything(db: sqlite3.Connection) -> list[RuntimeRow]:
    """All by name."""
    rows = db.execute("SELECT body, attempt, wanted FROM runtimes ORDER BY name")
    return [_row(*row) for row in rows]


def delete(db: sqlite3.Connection, name: str) -> None:
    """Remove one."""
    db.execute("DELETE FROM runtimes WHERE name = ?", (name,))


def replace_uppers(db: sqlite3.Connection, node: str, uppers: tuple[UpperReport, ...]) -> None:
    """Store all uppers of a node; those of nobody's projects are left out."""
    db.execute("DELETE FROM uppers WHERE node = ?", (node,))
    for upper in uppers:
        db.execute(
            "INSERT INTO uppers (project_uid, node, body)"
            " SELECT uid, ?, ? FROM projects WHERE uid = ?",
            (node, pack(upper), upper.project_uid),
        )


def uppers(db: sqlite3.Connection, node: str) -> tuple[UpperReport, ...]:
    """The uppers of a node."""
    rows = db.execute("SELECT body FROM uppers WHERE node = ?", (node,))
    return tuple(unpack(body, UpperReport) for (body,) in rows)


def see_node(db: sqlite3.Connection, node: str, now: float) -> None:
    """A node reported."""
    db.execute("INSERT OR REPLACE INTO nodes (name, seen_at) VALUES (?, ?)", (node, now))


def any_node(db: sqlite3.Connection) -> bool:
    """Whether a node ever reported."""
    return db.execute("SELECT 1 FROM nodes LIMIT 1").fetchone() is not None


def _row(body: str, attempt: int, wanted: int) -> RuntimeRow:
    return RuntimeRow(runtime=unpack(body, Runtime), attempt=attempt, wanted=bool(wanted))
