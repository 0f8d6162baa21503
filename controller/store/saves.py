"""Saves, their images, the orders that asked for them, and releases."""

import sqlite3

import msgspec

from controller.store.rows import pack, unpack
from devbox.model.nodes import ForgetOrder, SaveOrder
from devbox.model.projects import Image
from devbox.model.saves import Release, Save


def of_project(db: sqlite3.Connection, project_uid: str) -> tuple[Save, ...]:
    """Newest first."""
    rows = db.execute(
        "SELECT body FROM saves WHERE project_uid = ? ORDER BY generation DESC, seq DESC",
        (project_uid,),
    )
    return tuple(unpack(body, Save) for (body,) in rows)


def find(db: sqlite3.Connection, project_uid: str, seq: int) -> Save | None:
    """One save."""
    row = db.execute(
        "SELECT body FROM saves WHERE project_uid = ? AND seq = ?", (project_uid, seq)
    ).fetchone()
    return unpack(row[0], Save) if row else None


def put(db: sqlite3.Connection, save: Save) -> None:
    """Add it or replace what was known of it."""
    db.execute(
        "INSERT INTO saves (project_uid, seq, generation, body) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET generation = excluded.generation, body = excluded.body",
        (save.project_uid, save.seq, save.generation, pack(save)),
    )


def forget(db: sqlite3.Connection, project_uid: str, seq: int) -> None:
    """It came to nothing and nobody waits for it."""
    db.execute("DELETE FROM saves WHERE project_uid = ? AND seq = ?", (project_uid, seq))


def set_image(db: sqlite3.Connection, project_uid: str, seq: int, image: Image) -> None:
    """Keep the image of a save that is stored."""
    db.execute(
        "UPDATE saves SET image = ? WHERE project_uid = ? AND seq = ?",
        (pack(image), project_uid, seq),
    )


def image(db: sqlite3.Connection, project_uid: str, seq: int) -> Image | None:
    """The image of a save."""
    row = db.execute(
        "SELECT image FROM saves WHERE project_uid = ? AND seq = ?", (project_uid, seq)
    ).fetchone()
    return unpack(row[0], Image) if row and row[0] else None


def order_away(db: sqlite3.Connection, order: ForgetOrder) -> None:
    """Have the image of a save that is gone removed from the registry."""
    db.execute(
        "INSERT INTO forgets (project_uid, digest, seq) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)",
        (order.project_uid, order.digest, order.seq),
    )


def ordered_away(db: sqlite3.Connection) -> tuple[ForgetOrder, ...]:
    """What nodes have not carried out yet, oldest first."""
    rows = db.execute("SELECT project_uid, digest, seq FROM forgets ORDER BY rowid")
    return tuple(ForgetOrder(project_uid=uid, digest=digest, seq=seq) for uid, digest, seq in rows)


def went_away(db: sqlite3.Connection, order: ForgetOrder) -> None:
    """A node carried it out."""
    db.execute(
        "DELETE FROM forgets WHERE project_uid = ? AND digest = ? AND seq = ?",
        (order.project_uid, order.digest, order.seq),
    )


class OrderRow(msgspec.Struct, frozen=True):
    """An order that is not carried out yet, or why it never will be."""

    order: SaveOrder
    refused: str


def add_order(db: sqlite3.Connection, order: SaveOrder) -> None:
    """Add an order."""
    db.execute(
        "INSERT INTO orders (id, project_uid, body) VALUES (?, ?, ?)",
        (order.order_id, order.project_uid, pack(order)),
    )


def orders(db: sqlite3.Connection, project_uid: str | None = None) -> list[OrderRow]:
    """The orders of a project, or all, oldest first."""
    rows = db.execute(
        "SELECT body, refused FROM orders WHERE ? IS NULL OR project_uid = ? ORDER BY rowid",
        (project_uid, project_uid),
    )
    return [OrderRow(unpack(body, SaveOrder), refused) for body, refused in rows]


def order(db: sqlite3.Connection, order_id: str) -> OrderRow | None:
    """One order, unless it was carried out."""
    row = db.execute("SELECT body, refused FROM orders WHERE id = ?", (order_id,)).fetchone()
    return OrderRow(unpack(row[0], SaveOrder), row[1]) if row else None


def refuse_order(db: sqlite3.Connection, order_id: str, sentence: str) -> None:
    """The node says that it can never be carried out."""
    db.execute("UPDATE orders SET refused = ? WHERE id = ?", (sentence, order_id))


def end_order(db: sqlite3.Connection, order_id: str) -> None:
    """It was carried out, or nobody waits for it."""
    db.execute("DELETE FROM orders WHERE id = ?", (order_id,))


def reserve(
    db: sqlite3.Connection, project_uid: str, version: str, order_id: str, notes: str
) -> bool:
    """Keep a version for a release that is being made; false when it is taken."""
    done = db.execute(
        "INSERT OR IGNORE INTO releases (project_uid, version, order_id, notes) VALUES (?,?,?,?)",
        (project_uid, version, order_id, notes),
    )
    return done.rowcount == 1


def unreserve(db: sqlite3.Connection, project_uid: str, version: str) -> None:
    """The release could not be made; its version is free again."""
    db.execute(
        "DELETE FROM releases WHERE project_uid = ? AND version = ? AND body IS NULL",
        (project_uid, version),
    )


def write_release(db: sqlite3.Connection, release: Release, stored: Image) -> None:
    """The release stands."""
    db.execute(
        "UPDATE releases SET body = ?, image = ?"
        " WHERE project_uid = ? AND version = ? AND body IS NULL",
        (pack(release), pack(stored), release.project_uid, release.version),
    )


def reserved(db: sqlite3.Connection, order_id: str) -> tuple[str, str] | None:
    """(version, notes) of the release that an order is for and that does not stand yet."""
    row: tuple[str, str] | None = db.execute(
        "SELECT version, notes FROM releases WHERE order_id = ? AND body IS NULL", (order_id,)
    ).fetchone()
    return row


def releases(db: sqlite3.Connection, project_uid: str) -> tuple[Release, ...]:
    """Those that stand, newest first."""
    rows = db.execute(
        "SELECT body FROM releases WHERE project_uid = ? AND body IS NOT NULL ORDER BY rowid DESC",
        (project_uid,),
    )
    return tuple(unpack(body, Release) for (body,) in rows)


def release_image(db: sqlite3.Connection, project_uid: str, version: str) -> Image | None:
    """The image of a release that stands."""
    row = db.execute(
        "SELECT image FROM releases WHERE project_uid = ? AND version = ?", (project_uid, version)
    ).fetchone()
    return unpack(row[0], Image) if row and row[0] else None
