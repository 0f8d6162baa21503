"""Image references as people write them: `host[:port]/name[:tag][@digest]`. Pure."""

import ipaddress
import re
from typing import Self

import msgspec

from devbox.model.errors import BadInput
from devbox.model.names import check_digest

_HOST = re.compile(
    r"(localhost|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:\d)|\[[0-9a-f:]+\])(:\d{1,5})?"
)
_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PORT = re.compile(r":\d+$")
_HINT = "Write it as HOST/NAME:TAG or HOST/NAME@sha256:…; the registry's host must be named."


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Where an image is and what it is called there."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference; without tag and digest it means `latest`. Raises BadInput."""
        host, slash, rest = text.partition("/")
        if not slash or not _HOST.fullmatch(host):
            raise BadInput(f"the image reference {text!r} names no registry", _HINT)
        rest, _, digest = rest.partition("@")
        name, _, tag = rest.partition(":")
        if not _NAME.fullmatch(name) or (":" in rest and not _TAG.fullmatch(tag)):
            raise BadInput(f"{text!r} is not an image reference", _HINT)
        if "@" in text:
            check_digest(digest)
        elif not tag:
            tag = "latest"
        return cls(host=host, repository=name, tag=tag, digest=digest)

    @property
    def name(self) -> str:
        """What to ask the registry for: the digest if there is one, else the tag."""
        return self.digest or self.tag

    @property
    def base_url(self) -> str:
        """The registry's URL: plain HTTP on loopback only."""
        address = self._address
        plain = self._name == "localhost" or (address is not None and address.is_loopback)
        return f"{'http' if plain else 'https'}://{self.host}"

    @property
    def is_near(self) -> bool:
        """Whether the registry is, or may be, this machine or a service of its cloud."""
        name, address = self._name, self._address
        if address is None:
            # What ends in a number is an address to a resolver, in a spelling of its own.
            last = name.rpartition(".")[2]
            return last == "localhost" or re.fullmatch(r"\d+|0x[0-9a-f]*", last) is not None
        return address.is_loopback or address.is_link_local or address.is_unspecified

    @property
    def _name(self) -> str:
        return _PORT.sub("", self.host).lower()

    @property
    def _address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        try:
            address = ipaddress.ip_address(self._name.strip("[]"))
        except ValueError:
            return None
        return getattr(address, "ipv4_mapped", None) or address

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.host}/{self.repository}{tag}{digest}"
