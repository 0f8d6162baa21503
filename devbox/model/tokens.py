"""Tokens: 128 random bits as 32 lower-case hex digits; only their hash is ever stored."""

import hashlib
import hmac
import re

from devbox.model.errors import BadInput

TOKEN_BYTES = 16
_TOKEN = re.compile(r"[0-9a-f]{32}")


def check_token(text: str) -> str:
    """Return `text` if it has a token's form. Raises BadInput that does not repeat it."""
    if not _TOKEN.fullmatch(text):
        raise BadInput("the token is malformed", "A token is 32 lower-case hex digits (128 bits).")
    return text


def token_hash(token: str) -> str:
    """The form in which a token is stored: its SHA-256 in hex. 128 random bits need no salt."""
    return hashlib.sha256(token.encode("ascii", "replace")).hexdigest()


def matches(token: str, stored_hash: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(token_hash(token), stored_hash)
