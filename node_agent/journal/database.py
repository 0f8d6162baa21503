"""The journal's file: one connection, one transaction per change, errors as sentences."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from devbox.edge.durable import make_directory, sync_directory
from devbox.model.errors import DevboxError, Internal, NoSpace, Unavailable
from node_agent.journal.schema import migrate

_BUSY_MS = 5000


class Database:
    """One process's connection. Safe to call from several threads."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the file, mode 0600. Raises NoSpace, Unavailable, OSError."""
        make_directory(path.parent, mode=0o700)
        path.touch(mode=0o600)
        try:
            database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            database.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            migrate(database)
        except sqlite3.Error as error:
            raise _error_of(error) from error
        sync_directory(path.parent)
        return cls(database)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is on disk when the block was left. Raises NoSpace, Unavailable."""
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
                self._database.execute("COMMIT")
            except BaseException as error:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise _error_of(error) from error
                raise

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._database.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise _error_of(error) from error


def _error_of(error: sqlite3.Error) -> DevboxError:
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL":
        return NoSpace(
            "the node's disk is full, so its journal takes nothing new",
            "Every file is kept. Free some space; what waits goes on by itself.",
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_IOERR", "SQLITE_CANTOPEN")):
        return Unavailable(
            f"the node's journal cannot be used now: {error}",
            "Every file is kept. Look at the node's disk; what waits goes on by itself.",
        )
    return Internal(f"the node's journal failed: {error}", "Every file is kept.")
