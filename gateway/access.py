"""Who asks, and what they may.

Owns the check of credentials and the rules of `Who`. Sends only a credential's hash anywhere, and
does the same work for every answer.
"""

import asyncio
from dataclasses import dataclass

import msgspec

from devbox.edge.registry.references import Reference
from devbox.edge.routes import Who
from devbox.model import orchestrator as o
from devbox.model.errors import DevboxError, Forbidden, NotFound, Unauthorized
from devbox.model.grants import Scope
from devbox.model.projects import User
from devbox.model.runtimes import (
    IMAGE_PREFIX,
    no_release,
    no_save,
    release_named,
    save_named,
)
from devbox.model.tokens import token_hash


@dataclass(frozen=True)
class Caller:
    """A user, or a token of one project."""

    user: User | None = None
    checked: o.CheckedToken | None = None

    def sees(self, namespace: str) -> bool:
        """Whether a user may know what is in a namespace."""
        return self.user is not None and (self.user.admin or namespace in self.user.namespaces)


def unauthorized() -> Unauthorized:
    """The one answer to every credential that is not good, whatever it was shown for."""
    return Unauthorized(
        "the credential is not valid here",
        "Check the address or the token; `devbox token rotate` makes a new one.",
    )


def no_project(namespace: str, name: str) -> NotFound:
    """The one answer for projects that are missing or somebody else's."""
    return NotFound(
        f"there is no project {namespace}/{name}", "`devbox list` shows the projects there are."
    )


def bearer(header: str) -> str:
    """The token in an Authorization header (RFC 6750). Raises Unauthorized."""
    kind, _, token = header.partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise unauthorized()
    return token.strip()


async def identify(
    orchestrator: o.Orchestrator, token: str, key: o.ProjectKey | None = None
) -> Caller:
    """Whose token this is: a user's, or one of the project `key`. Raises Unauthorized."""
    hashed = token_hash(token)
    place = key or o.ProjectKey(namespace="", name="")
    found = await asyncio.gather(
        orchestrator.check_user(o.CheckUser(token_hash=hashed)),
        orchestrator.check_token(
            o.CheckToken(namespace=place.namespace, name=place.name, token_hash=hashed)
        ),
        return_exceptions=True,
    )
    for answer in found:
        if isinstance(answer, User):
            return Caller(user=answer)
        if isinstance(answer, o.CheckedToken) and key is not None:
            return Caller(checked=answer)
    for answer in found:
        if isinstance(answer, BaseException) and not isinstance(answer, Unauthorized):
            raise answer
    raise unauthorized()


def permit(who: Who, caller: Caller, request: msgspec.Struct) -> None:
    """Raises NotFound where a caller must not even know, Forbidden where one must not do."""
    if caller.user is not None:
        _permit_user(who, caller, request)
    elif caller.checked is not None:
        full = Scope.FULL in caller.checked.scopes
        if who is not Who.PROJECT and not (who is Who.PROJECT_FULL and full):
            raise Forbidden("this token does not allow this", f"It needs {who.value}.")


def _permit_user(who: Who, caller: Caller, request: msgspec.Struct) -> None:
    assert caller.user is not None
    if who is Who.ADMIN and not caller.user.admin:
        raise Forbidden("this is for admins", "Ask one of them.")
    name = getattr(request, "name", "")
    for namespace in _namespaces(request):
        if not caller.sees(namespace):
            raise no_project(namespace, name) if name else no_namespace(namespace)
    if isinstance(request, o.CreateProject):
        release = release_named(request.spec.runtime, request.namespace)
        if release and not caller.sees(release.namespace):
            raise no_release(request.spec.runtime)
        save = save_named(request.spec.runtime, request.namespace)
        if save and not caller.sees(save.namespace):
            raise no_save(request.spec.runtime)
        if not caller.user.admin:
            _permit_image(request.spec.runtime)


def _permit_image(runtime: str) -> None:
    """The server fetches images by itself, so a reference must not open what only it reaches."""
    if not runtime.startswith(IMAGE_PREFIX):
        return
    if Reference.parse(runtime.removeprefix(IMAGE_PREFIX)).is_near:
        raise Forbidden(
            "images of the server's own machine are for admins",
            "An admin can add it for all: devbox runtime add NAME REFERENCE",
        )


def no_namespace(namespace: str) -> NotFound:
    """The one answer for namespaces that are missing or somebody else's."""
    return NotFound(f"there is no namespace {namespace} for you", "An admin can give it to you.")


def _namespaces(request: msgspec.Struct) -> tuple[str, ...]:
    if isinstance(request, o.ListProjects | o.AskDisk):
        return request.namespaces or ()
    namespace = getattr(request, "namespace", "")
    return (namespace,) if namespace else ()


def narrow(request: msgspec.Struct, caller: Caller) -> msgspec.Struct:
    """A list of everything means: of everything that this caller may see."""
    if not isinstance(request, o.ListProjects | o.AskDisk) or request.namespaces is not None:
        return request
    if caller.user is None or caller.user.admin:
        return request
    return msgspec.structs.replace(request, namespaces=caller.user.namespaces)


async def same_not_found(
    orchestrator: o.Orchestrator, request: msgspec.Struct, error: NotFound
) -> DevboxError:
    """Word a missing project as `permit` words somebody else's."""
    namespace, name = getattr(request, "namespace", ""), getattr(request, "name", "")
    if not namespace or not name:
        return error
    try:
        await orchestrator.get_project(o.ProjectKey(namespace=namespace, name=name))
    except NotFound:
        return no_project(namespace, name)
    except DevboxError:
        return error
    return error
