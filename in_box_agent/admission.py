"""Who may come in, and to which services. Pure: the clock's reading is an argument.

A grant is accepted once. Its nonce is remembered until it would have expired anyway, so the
memory is bounded by how many grants can be valid at one time.
"""

import base64
import heapq
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from devbox.model.errors import Unauthorized, Unavailable
from devbox.model.grants import Grant, Scope, verify

NONCES = 100_000
"""Grants that can be in use within their time of life; more are refused until some expire."""

ALLOWED: dict[str, frozenset[Scope]] = {
    "ssh": frozenset({Scope.FULL, Scope.SSH}),
    "pty": frozenset({Scope.FULL, Scope.SSH}),
    "sync": frozenset({Scope.FULL, Scope.SSH}),
    "files": frozenset({Scope.FULL, Scope.SSH, Scope.READ_ONLY}),
    "lsp": frozenset({Scope.FULL, Scope.LSP}),
    "tcp": frozenset({Scope.FULL, Scope.SSH, Scope.PORTS}),
    "reverse": frozenset({Scope.FULL, Scope.SSH}),
    "events": frozenset(Scope) - {Scope.REVOKE},
}
"""Service -> any of these scopes opens it."""

WRITING = frozenset({Scope.FULL, Scope.SSH})
"""Any of these scopes lets the service `files` change something."""


class Admission:
    """Checks grants for one project."""

    def __init__(self, project_uid: str, grant_keys: Iterable[str]) -> None:
        self._project_uid = project_uid
        self._keys = [
            Ed25519PublicKey.from_public_bytes(base64.b64decode(key)) for key in grant_keys
        ]
        self._used: set[str] = set()
        self._expiries: list[tuple[float, str]] = []

    def admit(self, text: str, now: float) -> Grant:
        """The grant, which is used up by this.

        Raises Unauthorized, with one message whatever is wrong; Unavailable when more grants are
        in use than can be remembered.
        """
        grant = self._verify(text, now)
        self._forget(now)
        if grant.nonce in self._used:
            raise Unauthorized("the grant is not valid")
        if len(self._used) >= NONCES:
            raise Unavailable("this box is asked for too many connections", "Try again.")
        self._used.add(grant.nonce)
        heapq.heappush(self._expiries, (grant.expires, grant.nonce))
        return grant

    def _verify(self, text: str, now: float) -> Grant:
        for key in self._keys:
            try:
                return verify(text, key, project_uid=self._project_uid, now=now)
            except Unauthorized:
                continue
        raise Unauthorized("the grant is not valid")

    def _forget(self, now: float) -> None:
        while self._expiries and self._expiries[0][0] <= now:
            self._used.discard(heapq.heappop(self._expiries)[1])


def may_open(service: str, scopes: Iterable[Scope]) -> bool:
    """Whether one of the scopes opens the service."""
    return not ALLOWED.get(service, frozenset()).isdisjoint(scopes)
