"""From a name that a person typed to a gateway and a credential.

Owns the choice of credential: the user token of the context, else the project's own token. Knows
no command and shows nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devbox.cli.config import DEFAULT_NAMESPACE, LOCAL, Context, Credentials, choose, local_server
from devbox.cli.lazy import Call
from devbox.model.errors import BadInput, Unauthorized
from devbox.model.names import check_label
from devbox.model.orchestrator import ProjectKey

if TYPE_CHECKING:
    from devbox.edge.api import Api


@dataclass(frozen=True)
class Gateway:
    """An open API client, and the context it belongs to."""

    context: Context
    api: "Api"

    async def where(self) -> tuple[str, str]:
        """Cluster and region: the head of every address here."""
        if self.context.cluster:
            return self.context.cluster, self.context.region
        about = await self.api.about()
        return about.cluster, about.region


@dataclass(frozen=True)
class Target:
    """A project and how to reach it. `repr` hides the credential."""

    context: Context
    key: ProjectKey
    bearer: str

    def __repr__(self) -> str:
        return f"Target({self.context.name}, {self.key.namespace}/{self.key.name})"

    @property
    def place(self) -> str:
        """`namespace/project`."""
        return f"{self.key.namespace}/{self.key.name}"


def key_of(name: str, namespace: str, context: Context) -> ProjectKey:
    """The project that a person means by NAME or NAMESPACE/NAME. Raises BadInput."""
    head, slash, tail = name.partition("/")
    if slash and namespace and head != namespace:
        raise BadInput(f"{name!r} and --namespace {namespace} contradict each other", "Give one.")
    where = head if slash else namespace or context.namespace or DEFAULT_NAMESPACE
    return ProjectKey(
        namespace=check_label(where, "namespace"),
        name=check_label(tail if slash else head, "project"),
    )


def target(call: Call, name: str, namespace: str = "") -> Target:
    """A project and the best credential there is for it. Raises Unauthorized without one."""
    context, user_token = choose(call.context)
    key = key_of(name, namespace, context)
    bearer = user_token or Credentials.read().project(context.name, f"{key.namespace}/{key.name}")
    if not bearer:
        raise no_credential(context)
    return Target(context, key, bearer)


def no_credential(context: Context) -> Unauthorized:
    """There is a gateway, but nothing to show it."""
    if context.name == LOCAL and local_server() is not None:
        return Unauthorized(
            "the admin token of this machine's server can be read by root alone",
            "Use sudo, or have an admin run `devbox user add YOU`; then "
            f"`devbox login {context.url}`.",
        )
    return Unauthorized(
        f"there is no token for context {context.name!r}",
        f"`devbox login {context.url} --name {context.name}` keeps one.",
    )


@asynccontextmanager
async def open_gateway(call: Call) -> AsyncIterator[Gateway]:
    """The API with the user token of the context."""
    context, token = choose(call.context)
    if not token:
        raise no_credential(context)
    async with open_api(context, token) as gateway:
        yield gateway


@asynccontextmanager
async def open_project(
    call: Call, name: str, namespace: str = ""
) -> AsyncIterator[tuple[Gateway, ProjectKey]]:
    """The API, with a credential that is good for this project."""
    wanted = target(call, name, namespace)
    async with open_api(wanted.context, wanted.bearer) as gateway:
        yield gateway, wanted.key


@asynccontextmanager
async def open_api(context: Context, bearer: str) -> AsyncIterator[Gateway]:
    """The API of a context with this credential."""
    from devbox.edge.api import Api

    async with Api(context.url, bearer, context.ca_file or None) as api:
        yield Gateway(context, api)
