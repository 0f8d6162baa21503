"""The store: whole transactions, steps of the schema, waiting for changes."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.store import changes
from controller.store.database import Database
from controller.store.schema import MIGRATIONS
from devbox.model.errors import Internal


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    db = Database(tmp_path / "a" / "controller.db")
    yield db
    db.close()


def see(tx: sqlite3.Connection) -> None:
    tx.execute("INSERT INTO nodes (name, seen_at) VALUES ('n', 1)")


async def test_a_write_that_fails_leaves_nothing(db: Database) -> None:
    def work(tx: sqlite3.Connection) -> None:
        see(tx)
        raise LookupError

    with pytest.raises(LookupError):
        await db.write(work)
    assert db.reader.execute("SELECT count(*) FROM nodes").fetchone() == (0,)
    await db.write(see)
    assert db.reader.execute("SELECT count(*) FROM nodes").fetchone() == (1,)


async def test_a_broken_statement_is_our_fault(db: Database) -> None:
    with pytest.raises(Internal, match="store failed"):
        await db.write(lambda tx: tx.execute("INSERT INTO nobody VALUES (1)"))


async def test_a_caller_that_goes_away_does_not_stop_the_write(db: Database) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work(tx: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        see(tx)

    changed = db.next_change
    task = loop.create_task(db.write(work))
    await begun.wait()
    task.cancel()
    await changed.wait()
    assert db.reader.execute("SELECT count(*) FROM nodes").fetchone() == (1,)


async def test_every_write_is_durable_unless_said(db: Database) -> None:
    def level(tx: sqlite3.Connection) -> int:
        return int(tx.execute("PRAGMA synchronous").fetchone()[0])

    assert await db.write(level) == 2
    assert await db.write(level, durable=False) == 1
    assert await db.write(level) == 2


async def test_the_file_is_for_nobody_else(db: Database, tmp_path: Path) -> None:
    await db.write(see)
    for path in (tmp_path / "a").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0


async def test_a_file_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "controller.db"
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    raw.close()
    with pytest.raises(Internal, match="newer"):
        Database(path)


async def test_a_half_taken_step_is_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "controller.db"
    Database(path).close()
    again = Database(path)
    assert again.reader.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert again.reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    again.close()


async def test_the_log_of_changes_is_bounded(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "KEPT", 10)

    def work(tx: sqlite3.Connection) -> None:
        for number in range(25):
            changes.note(tx, "project", str(number % 3))

    await db.write(work)
    last = changes.since(db.reader, 0).revision
    assert not changes.since(db.reader, 0).complete
    assert not changes.since(db.reader, last + 1).complete
    assert changes.since(db.reader, last) == changes.News(last, complete=True)
    news = changes.since(db.reader, last - 9)
    assert news.complete
    assert news.of("project") == ("1", "2", "0")
    assert not changes.since(db.reader, last - 10).complete
