"""Grants are signed, expire, and belong to one project."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devbox.model.errors import Unauthorized
from devbox.model.grants import Grant, Scope, sign, verify

KEY = Ed25519PrivateKey.generate()
NOW = 1_800_000_000.0
GRANT = Grant(
    project_uid="p1", token_id="t1", scopes=(Scope.FULL,), expires=NOW + 30, nonce="a" * 32
)


@pytest.mark.smoke
def test_round_trip() -> None:
    assert verify(sign(GRANT, KEY), KEY.public_key(), project_uid="p1", now=NOW) == GRANT


@pytest.mark.parametrize(
    ("text", "project", "now"),
    [
        (sign(GRANT, KEY), "p2", NOW),
        (sign(GRANT, KEY), "p1", NOW + 30),
        (sign(msgspec.structs.replace(GRANT, expires=NOW + 4000), KEY), "p1", NOW),
        (sign(GRANT, Ed25519PrivateKey.generate()), "p1", NOW),
        (sign(GRANT, KEY)[:-4] + "AAAA", "p1", NOW),
        ("", "p1", NOW),
        ("é.é", "p1", NOW),
        (".", "p1", NOW),
    ],
)
def test_refused(text: str, project: str, now: float) -> None:
    with pytest.raises(Unauthorized, match="the grant is not valid"):
        verify(text, KEY.public_key(), project_uid=project, now=now)
