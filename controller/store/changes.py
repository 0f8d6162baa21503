"""The log of changes, bounded, by which watchers catch up."""

import sqlite3
from dataclasses import dataclass

KEPT = 5000


def note(db: sqlite3.Connection, kind: str, subject: str) -> None:
    """Add a change: `project` or `deleted` with a project's uid, `revoked` with a token's id."""
    db.execute("INSERT INTO changes (kind, subject) VALUES (?, ?)", (kind, subject))
    db.execute("DELETE FROM changes WHERE revision <= ?", (_last(db) - KEPT,))


@dataclass(frozen=True)
class News:
    """What happened after a revision; `complete` false when the log does not reach back."""

    revision: int
    complete: bool
    entries: tuple[tuple[str, str], ...] = ()

    def of(self, kind: str) -> tuple[str, ...]:
        """The subjects of one kind, each once, in order."""
        return tuple(dict.fromkeys(subject for what, subject in self.entries if what == kind))


def since(db: sqlite3.Connection, revision: int) -> News:
    """The changes after `revision`."""
    first, last = db.execute("SELECT min(revision), max(revision) FROM changes").fetchone()
    if not first <= revision <= last:
        return News(last, complete=False)
    rows = db.execute(
        "SELECT kind, subject FROM changes WHERE revision > ? ORDER BY revision", (revision,)
    )
    return News(last, complete=True, entries=tuple(rows.fetchall()))


def _last(db: sqlite3.Connection) -> int:
    (last,) = db.execute("SELECT max(revision) FROM changes").fetchone()
    return int(last)
