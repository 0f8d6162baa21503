"""Tokens of projects, and users. Only hashes of tokens are kept."""

import hmac
import sqlite3

from controller.store import changes
from controller.store.rows import pack, unpack
from devbox.model.errors import NotFound
from devbox.model.projects import TokenInfo, User

_NOBODY = "0" * 64


def add_token(db: sqlite3.Connection, project_uid: str, info: TokenInfo, hashed: str) -> None:
    """Add a token."""
    db.execute(
        "INSERT INTO tokens (id, project_uid, hash, info) VALUES (?, ?, ?, ?)",
        (info.id, project_uid, hashed, pack(info)),
    )


def tokens(db: sqlite3.Connection, project_uid: str) -> tuple[TokenInfo, ...]:
    """A project's tokens, oldest first."""
    rows = db.execute(
        "SELECT info FROM tokens WHERE project_uid = ? ORDER BY rowid", (project_uid,)
    )
    return tuple(unpack(info, TokenInfo) for (info,) in rows)


def token(db: sqlite3.Connection, project_uid: str, token_id: str) -> TokenInfo:
    """One token. Raises NotFound."""
    for info in tokens(db, project_uid):
        if info.id == token_id:
            return info
    raise NotFound(f"there is no token {token_id}", "`devbox token list` shows those there are.")


def revoke(db: sqlite3.Connection, token_id: str) -> None:
    """Take a token back."""
    db.execute("DELETE FROM tokens WHERE id = ?", (token_id,))
    changes.note(db, "revoked", token_id)


def token_of_hash(
    db: sqlite3.Connection, project_uid: str, hashed: str, now: float
) -> TokenInfo | None:
    """The live token with this hash. Compares in constant time, also where no token is."""
    found = None
    rows = db.execute("SELECT hash, info FROM tokens WHERE project_uid = ?", (project_uid,))
    for stored, info in [*rows.fetchall(), (_NOBODY, "")]:
        if hmac.compare_digest(stored, hashed) and info:
            found = unpack(info, TokenInfo)
    if found and found.expires_at and found.expires_at <= now:
        return None
    return found


def add_user(db: sqlite3.Connection, user: User, hashed: str) -> None:
    """Add a user."""
    db.execute(
        "INSERT INTO users (name, hash, body) VALUES (?, ?, ?)", (user.name, hashed, pack(user))
    )


def users(db: sqlite3.Connection) -> tuple[User, ...]:
    """All users by name."""
    rows = db.execute("SELECT body FROM users ORDER BY name")
    return tuple(unpack(body, User) for (body,) in rows)


def user_of_hash(db: sqlite3.Connection, hashed: str) -> User | None:
    """Whose token has this hash. Compares in constant time with every user's."""
    found = None
    for stored, body in db.execute("SELECT hash, body FROM users").fetchall():
        if hmac.compare_digest(stored, hashed):
            found = unpack(body, User)
    return found


def delete_user(db: sqlite3.Connection, user: User) -> None:
    """Remove a user and the token."""
    db.execute("DELETE FROM users WHERE name = ?", (user.name,))
    changes.note(db, "revoked", user.token_id)
