"""One SQLite file, one writer thread, and a way to wait for the next change.

A write is a function that is given the writer's connection and runs in one transaction; when
`write` returns, it is on disk. Reads use a connection of their own on the caller's thread: they
are short, and in WAL mode they neither wait for the writer nor hold it up.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from controller.store.schema import migrate
from devbox.model.errors import DevboxError, Internal, NoSpace

T = TypeVar("T")


class Database:
    """Opens and migrates the file. Close it to end the writer thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._writer = self._thread.submit(_open, path).result()
        self._reader = sqlite3.connect(path, isolation_level=None)
        self._changed = asyncio.Event()
        self.ending = False
        """Whoever waits for a change should answer now: there will be none."""

    @property
    def reader(self) -> sqlite3.Connection:
        """For reads on the event loop's thread. Sees every finished write."""
        return self._reader

    @property
    def next_change(self) -> asyncio.Event:
        """Set after the next write. Take it before you read what you wait for."""
        return self._changed

    async def write(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> T:
        """Run `work` in a transaction. Not `durable`: a power cut may take it, a crash may not.

        A cancelled caller does not stop the transaction. Raises what `work` raises, and NoSpace.
        """
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._thread, self._transaction, work, durable)
        try:
            return await asyncio.shield(done)
        finally:
            done.add_done_callback(lambda _: self._wake())

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _transaction(self, work: Callable[[sqlite3.Connection], T], durable: bool) -> T:
        db = self._writer
        try:
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            db.execute("BEGIN IMMEDIATE")
            result = work(db)
            db.execute("COMMIT")
        except BaseException as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise _error_of(error) from error
            raise
        return result

    def wake(self) -> None:
        """Something changed that is not stored."""
        self._wake()

    def end_waiting(self) -> None:
        """Wake everybody who waits for a change, for the last time."""
        self.ending = True
        self._wake()

    def close(self) -> None:
        """Finish the writes that were begun, and close."""
        self._thread.shutdown()
        self._writer.close()
        self._reader.close()


def _open(path: Path) -> sqlite3.Connection:
    # Used by the writer thread alone, but closed by whoever closes the store.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    path.chmod(0o600)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA synchronous = FULL")
    migrate(db)
    return db


def _error_of(error: sqlite3.Error) -> DevboxError:
    if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
        return NoSpace(
            "the disk of the controller's store is full",
            "Nothing was changed and nothing is lost. Free some disk space and try again.",
        )
    return Internal(f"the controller's store failed: {error}", "Nothing was changed.")
