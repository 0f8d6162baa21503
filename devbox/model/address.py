"""The one address of a project: `/cluster/region/namespace/project/hash128`."""

from typing import Self

import msgspec

from devbox.model.errors import BadInput
from devbox.model.names import check_label
from devbox.model.tokens import check_token
from devbox.model.urls import split_url

_PARTS = ("cluster", "region", "namespace", "project")


class Address(msgspec.Struct, frozen=True):
    """Parses and prints exactly one form; `repr` hides the token."""

    cluster: str
    region: str
    namespace: str
    project: str
    token: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the path form. Raises BadInput that names the part that is wrong."""
        if not text.startswith("/"):
            raise BadInput("the address does not begin with '/'", _FORM)
        parts = text[1:].split("/")
        if len(parts) != len(_PARTS) + 1:
            raise BadInput(f"the address has {len(parts)} parts, not 5", _FORM)
        for what, part in zip(_PARTS, parts, strict=False):
            check_label(part, what)
        check_token(parts[-1])
        return cls(*parts)

    @property
    def place(self) -> str:
        """The address without its secret."""
        return f"/{self.cluster}/{self.region}/{self.namespace}/{self.project}"

    def __str__(self) -> str:
        return f"{self.place}/{self.token}"

    def __repr__(self) -> str:
        return f"Address({self.place}/…)"


_FORM = "An address looks like /cluster/region/namespace/project/ and 32 hex digits."


def parse_url(text: str) -> tuple[str, Address]:
    """Split `wss://host[:port]/cluster/…/hash128` into the gateway's URL and the address.

    Raises BadInput for another scheme, a missing host, a query or a fragment.
    """
    url = split_url(text)
    if url.scheme not in {"ws", "wss", "http", "https"}:
        raise BadInput("the address URL has no scheme we know", "Use wss://host/cluster/region/…")
    if not url.hostname or url.username or url.password:
        raise BadInput("the address URL must name a host and nobody's user", _FORM)
    if url.query or url.fragment:
        raise BadInput("the address URL has something behind the token", _FORM)
    secure = url.scheme in {"wss", "https"}
    return f"{'https' if secure else 'http'}://{url.netloc}", Address.parse(url.path)
