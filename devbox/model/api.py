"""What the gateway says about itself and about who asks."""

import msgspec

from devbox.model.grants import Scope


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which cluster this is; the first two parts of every address here."""

    cluster: str
    region: str
    version: str


class Me(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose credential this is: a user's."""

    name: str
    admin: bool
    namespaces: tuple[str, ...] = ()
    scopes: tuple[Scope, ...] = (Scope.FULL,)
    """What it allows inside the boxes of those namespaces."""
