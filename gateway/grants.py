"""Signs grants. Owns the gateway's key."""

import secrets
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from devbox.model.errors import Unavailable
from devbox.model.grants import GRANT_SECONDS, Grant, Scope, sign


class Signer:
    """Makes fresh grants, each good once and for 30 seconds."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def grant(
        self, project_uid: str, token_id: str, scopes: tuple[Scope, ...], until: float = 0.0
    ) -> str:
        """The header's value. `until` is when the token itself ends; 0 is never."""
        return sign(
            Grant(
                project_uid=project_uid,
                token_id=token_id,
                scopes=scopes,
                expires=time.time() + GRANT_SECONDS,
                nonce=secrets.token_hex(16),
                until=until,
            ),
            self._key,
        )


def read_key(path: Path) -> Ed25519PrivateKey:
    """The key in a PEM file. Raises Unavailable when there is none that fits."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise Unavailable(
            f"the gateway's key {path} cannot be read: {type(error).__name__}",
            "`devbox server up` makes it; it must belong to the user that runs the gateway.",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Unavailable(f"the gateway's key {path} is no Ed25519 key", "Let the server make it.")
    return key
