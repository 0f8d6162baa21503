"""From a target to an open session with the agent in its box.

Owns the choice of URL and credential for a session. Knows no command.
"""

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from devbox.cli.config import Context
from devbox.cli.reach import Target, open_api
from devbox.model.address import parse_url
from devbox.model.orchestrator import ProjectKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from devbox.model.projects import Project


class Stream(Protocol):
    """One flow to the box, as commands use it."""

    async def read(self, limit: int) -> bytes:
        """At most so many bytes; none at the end."""

    async def write(self, data: bytes) -> None:
        """Send; waits for credit."""

    async def end(self) -> None:
        """No more from here."""

    async def close(self) -> None:
        """No more either way."""


class Session(Protocol):
    """A conversation with the agent, as commands use it."""

    async def open(self, service: str, params: "Mapping[str, object]") -> Stream:
        """A new stream."""


_SILENT_S = 2.0
"""A break shorter than this is nobody's business."""


@dataclass(frozen=True)
class Dial:
    """Where and with what a session is opened."""

    url: str
    """`http(s)://gateway/cluster/region/namespace/project`: no secret in it."""
    bearer: str = field(repr=False)
    ca_file: str = ""


async def dial_of(wanted: Target) -> Dial:
    """How to reach a project's box. Asks the gateway only where the context does not know."""
    context = wanted.context
    cluster, region = context.cluster, context.region
    if not cluster:
        async with open_api(context, wanted.bearer) as gateway:
            cluster, region = await gateway.where()
    return Dial(f"{context.url}/{cluster}/{region}/{wanted.place}", wanted.bearer, context.ca_file)


def target_of_address(url: str, ca_file: str) -> Target:
    """A project by its address alone. Raises BadInput."""
    base, address = parse_url(url)
    context = Context("address", base, ca_file, address.namespace, address.cluster, address.region)
    key = ProjectKey(namespace=address.namespace, name=address.project)
    return Target(context, key, address.token)


async def fetch_project(wanted: Target) -> "Project":
    """The project, with its host key."""
    async with open_api(wanted.context, wanted.bearer) as gateway:
        return await gateway.api.get_project(wanted.key)


@asynccontextmanager
async def open_session(dial: Dial) -> "AsyncIterator[Session]":
    """A session that re-dials by itself; says so on stderr when that takes long."""
    connect = import_module("devbox.edge.links").connect
    async with connect(dial.url, bearer=dial.bearer) as session:
        yield session
