"""Secrets that the controller makes at its first start: the gateway's key, the admin's token.

Files are 0600 in a 0700 directory and are written whole or not at all.
"""

import base64
import os
import secrets
import sqlite3
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.store import people
from controller.store.database import Database
from devbox.model.errors import Internal
from devbox.model.projects import User
from devbox.model.tokens import token_hash

ADMIN = "admin"


def grant_key(folder: Path) -> str:
    """The public part of `grant.key`, made if it is missing: base64 of the 32 raw bytes."""
    path = folder / "grant.key"
    if not path.exists():
        made = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        _write(path, made)
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise Internal(f"{path} is not an Ed25519 key", "Remove it; a new one is made.")
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


async def admin_token(folder: Path, db: Database) -> None:
    """Have a user `admin` whose token lies in `admin-token`; make both anew if they differ."""
    path = folder / "admin-token"
    known = token_hash(path.read_text().strip()) if path.exists() else ""
    user = people.user_of_hash(db.reader, known)
    if user and user.name == ADMIN:
        return
    token = secrets.token_hex(16)
    _write(path, f"{token}\n".encode())
    await db.write(lambda tx: _put_admin(tx, token))


def _put_admin(tx: sqlite3.Connection, token: str) -> None:
    for user in people.users(tx):
        if user.name == ADMIN:
            people.delete_user(tx, user)
    fresh = User(name=ADMIN, admin=True, token_id=secrets.token_hex(8))
    people.add_user(tx, fresh, token_hash(token))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
