"""What a validated address allows, signed by the gateway for the agent to check.

Form on the wire: base64url(JSON payload) + "." + base64url(Ed25519 signature, RFC 8032).
"""

import base64
import enum
from typing import TYPE_CHECKING

import msgspec

from devbox.model.errors import Unauthorized

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

GRANT_HEADER = "X-Devbox-Grant"
GRANT_SECONDS = 30


class Scope(enum.StrEnum):
    """What a token allows inside a box."""

    FULL = "full"
    SSH = "ssh"
    LSP = "lsp"
    PORTS = "ports"
    READ_ONLY = "read-only"
    REVOKE = "revoke"
    """The gateway's own: end the sessions of token ids named in the request."""


class Grant(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Project, scopes, expiry, token id. Single use: `nonce` is accepted once.

    Defaults are left out, so that boxes of an older version understand grants that need no more.
    """

    project_uid: str
    token_id: str
    scopes: tuple[Scope, ...]
    expires: float
    """Unix seconds."""
    nonce: str
    """At least 128 random bits in hex."""
    until: float = 0.0
    """When what it begins must end, because the token does; Unix seconds, 0 is never."""


def sign(grant: Grant, key: "Ed25519PrivateKey") -> str:
    """The header's value."""
    payload = msgspec.json.encode(grant)
    return f"{_b64(payload)}.{_b64(key.sign(payload))}"


def verify(text: str, key: "Ed25519PublicKey", *, project_uid: str, now: float) -> Grant:
    """Check signature, project and expiry; single use is the caller's to keep.

    Raises Unauthorized, with one message whatever is wrong.
    """
    from cryptography.exceptions import InvalidSignature

    try:
        head, _, tail = text.partition(".")
        payload = _unb64(head)
        key.verify(_unb64(tail), payload)
        grant = msgspec.json.decode(payload, type=Grant)
    except (InvalidSignature, ValueError, msgspec.MsgspecError) as error:
        raise Unauthorized("the grant is not valid") from error
    if grant.project_uid != project_uid or not now < grant.expires <= now + 2 * GRANT_SECONDS:
        raise Unauthorized("the grant is not valid")
    return grant


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
