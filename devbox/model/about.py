"""What the gateway says about itself."""

import msgspec


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which cluster this is: the first two parts of every address here."""

    cluster: str
    region: str
    version: str
