"""The secrets of the first start."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from controller.keys import admin_token, grant_key
from controller.store import people
from controller.store.database import Database
from devbox.model.errors import Internal
from devbox.model.tokens import check_token, token_hash


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_gateways_key_is_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    public = grant_key(folder)
    assert grant_key(folder) == public
    assert len(base64.b64decode(public)) == 32
    assert (mode(folder), mode(folder / "grant.key")) == (0o700, 0o600)
    load_pem_private_key((folder / "grant.key").read_bytes(), None)


def test_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    (tmp_path / "grant.key").write_bytes(
        generate_private_key(SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with pytest.raises(Internal, match="Ed25519"):
        grant_key(tmp_path)


async def test_the_admins_token_is_told_once_in_a_file(tmp_path: Path) -> None:
    db = Database(tmp_path / "controller.db")
    path = tmp_path / "keys" / "admin-token"
    try:
        await admin_token(path.parent, db)
        token = path.read_text().strip()
        check_token(token)
        assert mode(path) == 0o600
        await admin_token(path.parent, db)
        assert path.read_text().strip() == token
        path.unlink()
        await admin_token(path.parent, db)
        fresh = path.read_text().strip()
        assert people.user_of_hash(db.reader, token_hash(token)) is None
        user = people.user_of_hash(db.reader, token_hash(fresh))
        assert user is not None
        assert (user.name, user.admin) == ("admin", True)
    finally:
        db.close()
