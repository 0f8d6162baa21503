"""What a tunnel's request names: a project, and a credential in the path or the header. Pure."""

from dataclasses import dataclass, field

from devbox.model.address import Address
from devbox.model.errors import BadInput
from devbox.model.names import check_label
from devbox.model.orchestrator import ProjectKey
from gateway.access import bearer
from gateway.tunnel.head import Head

_PARTS = ("cluster", "region", "namespace", "project")


@dataclass(frozen=True)
class Target:
    """A project and how the client wants to be known."""

    cluster: str
    region: str
    key: ProjectKey
    token: str = field(repr=False)
    in_path: bool
    """Then it can only be a project's token."""


def target_of(head: Head) -> Target:
    """Read it. Raises BadInput naming the wrong part, Unauthorized without a credential."""
    path, question, _ = head.target.partition("?")
    if question:
        raise BadInput("a tunnel's address has no query", "Give the address alone.")
    if path.count("/") == len(_PARTS):
        parts = path[1:].split("/")
        for what, part in zip(_PARTS, parts, strict=True):
            check_label(part, what)
        token, in_path = bearer(head.headers.get("authorization", "")), False
    else:
        address = Address.parse(path)
        parts = [address.cluster, address.region, address.namespace, address.project]
        token, in_path = address.token, True
    key = ProjectKey(namespace=parts[2], name=parts[3])
    return Target(parts[0], parts[1], key, token, in_path)
