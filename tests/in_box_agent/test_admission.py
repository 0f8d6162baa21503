"""Grants are taken once, from known gateways, for this project, and open only their services."""

import base64
import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devbox.model.errors import Unauthorized, Unavailable
from devbox.model.grants import GRANT_SECONDS, Grant, Scope, sign
from in_box_agent import admission
from in_box_agent.admission import ALLOWED, Admission, may_open

NOW = 1_800_000_000.0
KEYS = [Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()]


def public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def grant(now: float = NOW, key: Ed25519PrivateKey = KEYS[0], project: str = "p1") -> str:
    return sign(
        Grant(
            project_uid=project,
            token_id="t1",
            scopes=(Scope.FULL,),
            expires=now + GRANT_SECONDS,
            nonce=secrets.token_hex(16),
        ),
        key,
    )


def gate() -> Admission:
    return Admission("p1", [public(key) for key in KEYS])


@pytest.mark.parametrize("key", KEYS)
def test_every_known_gateway_may_sign(key: Ed25519PrivateKey) -> None:
    assert gate().admit(grant(key=key), NOW).token_id == "t1"


def test_a_grant_is_taken_once() -> None:
    box, text = gate(), grant()
    box.admit(text, NOW)
    with pytest.raises(Unauthorized, match="the grant is not valid"):
        box.admit(text, NOW + 1)


@pytest.mark.parametrize(
    ("text", "now"),
    [
        (grant(key=Ed25519PrivateKey.generate()), NOW),
        (grant(project="p2"), NOW),
        (grant(), NOW + GRANT_SECONDS),
        ("", NOW),
    ],
)
def test_refused(text: str, now: float) -> None:
    with pytest.raises(Unauthorized, match="the grant is not valid"):
        gate().admit(text, now)


def test_nonces_are_forgotten_when_they_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "NONCES", 2)
    box = gate()
    box.admit(grant(), NOW)
    box.admit(grant(), NOW)
    with pytest.raises(Unavailable):
        box.admit(grant(), NOW)
    later = NOW + GRANT_SECONDS
    assert box.admit(grant(later), later).project_uid == "p1"


@pytest.mark.parametrize(
    ("service", "scopes", "fine"),
    [
        ("ssh", {Scope.FULL}, True),
        ("ssh", {Scope.SSH}, True),
        ("ssh", {Scope.PORTS, Scope.LSP, Scope.READ_ONLY}, False),
        ("tcp", {Scope.PORTS}, True),
        ("tcp", {Scope.READ_ONLY}, False),
        ("lsp", {Scope.LSP}, True),
        ("lsp", {Scope.SSH}, False),
        ("files", {Scope.READ_ONLY}, True),
        ("events", {Scope.READ_ONLY}, True),
        ("bash", {Scope.FULL}, False),
        ("", {Scope.FULL}, False),
    ],
)
def test_services_by_scope(service: str, scopes: set[Scope], fine: bool) -> None:
    assert may_open(service, scopes) is fine


def test_the_gateways_own_scope_opens_no_service() -> None:
    assert all(Scope.REVOKE not in allowed for allowed in ALLOWED.values())
