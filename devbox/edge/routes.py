"""The HTTP API's one table: method, path, request, answer, who may.

The gateway makes its handlers and the OpenAPI document from it, the client its calls. A request
struct is told in three places by one rule: fields named in the path are there; of the others, GET
and DELETE tell them in the query, POST and PATCH in a JSON body. Knows neither server nor client.
"""

import enum
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

import msgspec

from devbox.model import orchestrator as o
from devbox.model.about import About
from devbox.model.disk import Disk
from devbox.model.projects import Project, User
from devbox.model.runtimes import Runtime
from devbox.model.saves import Release, SaveDiff

PREFIX = "/api/v1"
_PARAMETER = re.compile(r"\{(\w+)\}")


class Who(enum.Enum):
    """Who may call. Admins may always."""

    USER = "any user"
    MEMBER = "a user of the namespace"
    PROJECT = "a user of the namespace, or any token of the project"
    PROJECT_FULL = "a user of the namespace, or a token of the project with scope full"
    ADMIN = "an admin"


@dataclass(frozen=True)
class Route:
    """One call. `operation` is the Orchestrator's method, or the gateway's own."""

    operation: str
    method: str
    path: str
    request: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    who: Who
    summary: str
    status: int = 200

    @cached_property
    def in_path(self) -> tuple[str, ...]:
        """Fields of the request that the path names."""
        return tuple(_PARAMETER.findall(self.path))

    @cached_property
    def has_body(self) -> bool:
        """Whether the other fields come as JSON rather than in the query."""
        return self.method in {"POST", "PATCH"} and bool(msgspec.structs.fields(self.rest))

    @cached_property
    def rest(self) -> type[msgspec.Struct]:
        """A struct of the request's fields that the path does not name."""
        fields: list[Any] = []
        for known in msgspec.structs.fields(self.request):
            if known.name not in self.in_path:
                fields.append(_definition(known))
        return msgspec.defstruct(
            f"{self.request.__name__}Body",
            fields,
            kw_only=True,
            frozen=True,
            forbid_unknown_fields=True,
            module=__name__,
            namespace={"__doc__": self.request.__doc__},
        )

    def url(self, request: msgspec.Struct) -> str:
        """The path of one request, its parts quoted."""
        return _PARAMETER.sub(lambda found: _part(getattr(request, found[1])), self.path)

    def query(self, request: msgspec.Struct) -> list[tuple[str, str]]:
        """The query of one request: lists as repeated names, what is None left out."""
        pairs: list[tuple[str, str]] = []
        for name, value in self._others(request).items():
            for item in value if isinstance(value, tuple) else (value,):
                if item is not None:
                    pairs.append((name, str(item)))
        return pairs

    def body(self, request: msgspec.Struct) -> bytes:
        """The body of one request."""
        return msgspec.json.encode(self.rest(**self._others(request)))

    def from_body(self, path: Mapping[str, str], body: bytes) -> msgspec.Struct:
        """The request. Raises msgspec.MsgspecError that names the field that is wrong."""
        rest = msgspec.json.decode(body or b"{}", type=self.rest)
        return self._whole(path, rest)

    def from_query(self, path: Mapping[str, str], query: Mapping[str, list[str]]) -> msgspec.Struct:
        """The request. Raises msgspec.MsgspecError that names the field that is wrong."""
        lists = {known.name for known in msgspec.structs.fields(self.rest) if is_list(known.type)}
        plain = {name: all_ if name in lists else all_[-1] for name, all_ in query.items()}
        return self._whole(path, msgspec.convert(plain, self.rest, strict=False))

    def _others(self, request: msgspec.Struct) -> dict[str, Any]:
        return {known.name: getattr(request, known.name) for known in _fields(self.rest)}

    def _whole(self, path: Mapping[str, str], rest: msgspec.Struct) -> msgspec.Struct:
        named: dict[str, Any] = {}
        for known in msgspec.structs.fields(self.request):
            if known.name in path:
                value = path[known.name]
                named[known.name] = (value,) if is_list(known.type) else value
        return self.request(**named, **self._others(rest))


def is_list(kind: Any) -> bool:
    """Whether a field's type is a tuple of things, or None."""
    if typing.get_origin(kind) in {typing.Union, types.UnionType}:
        return any(is_list(part) for part in typing.get_args(kind))
    return typing.get_origin(kind) is tuple


def _fields(struct: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(struct)


def _definition(known: msgspec.structs.FieldInfo) -> tuple[Any, ...]:
    if known.required:
        return (known.name, known.type)
    if known.default is not msgspec.NODEFAULT:
        return (known.name, known.type, known.default)
    return (known.name, known.type, msgspec.field(default_factory=known.default_factory))


def _part(value: Any) -> str:
    return quote(value[0] if isinstance(value, tuple) else str(value), safe="")


_PROJECTS = "/namespaces/{namespace}/projects"
_PROJECT = f"{_PROJECTS}/{{name}}"


def _own() -> tuple[Route, ...]:
    nothing = o.Nothing
    return (
        Route("about", "GET", "/server", nothing, About, Who.USER, "Which cluster this is."),
        Route("me", "GET", "/me", nothing, User, Who.USER, "Whose credential this is."),
        Route(
            "get_disk", "GET", "/disk", o.AskDisk, Disk, Who.USER,
            "Who uses what of the disk: the projects one may see, and the totals.",
        ),
    )  # fmt: skip


def _projects() -> tuple[Route, ...]:
    key, member, token = o.ProjectKey, Who.MEMBER, Who.PROJECT
    return (
        Route(
            "list_projects", "GET", "/projects", o.ListProjects, o.Projects, Who.USER,
            "Projects of all namespaces one may see, or of those in the query.",
        ),
        Route(
            "list_namespace", "GET", "/namespaces/{namespaces}/projects", o.ListProjects,
            o.Projects, member, "Projects of one namespace.",
        ),
        Route(
            "create_project", "POST", _PROJECTS, o.CreateProject, o.CreatedProject, member,
            "Make a project; the answer tells its first token, once.", 201,
        ),
        Route("get_project", "GET", _PROJECT, key, Project, token, "One project."),
        Route(
            "await_news", "GET", f"{_PROJECT}/news", o.AskNews, Project, token,
            "One project, once it is not what the query says was seen; or as it is, after a while.",
        ),
        Route(
            "edit_project", "PATCH", _PROJECT, o.EditProject, Project, member,
            "Replace the spec, all but the runtime. Takes effect at the next start.",
        ),
        Route(
            "delete_project", "DELETE", _PROJECT, key, o.Nothing, member,
            "Delete it with box, upper, saves, releases and tokens. Does not wait.", 202,
        ),
        Route(
            "start_project", "POST", f"{_PROJECT}/start", key, Project, token,
            "Desire it running. Does not wait.",
        ),
        Route(
            "stop_project", "POST", f"{_PROJECT}/stop", key, Project, member,
            "Desire it stopped. Does not wait.",
        ),
        Route(
            "get_logs", "GET", f"{_PROJECT}/logs", o.AskLogs, o.Logs, member,
            "The last lines that the box's main process wrote.",
        ),
    )  # fmt: skip


def _saves() -> tuple[Route, ...]:
    key, token = o.ProjectKey, Who.PROJECT
    return (
        Route(
            "ask_save", "POST", f"{_PROJECT}/save", o.AskSave, o.AskedSave, Who.PROJECT_FULL,
            "Ask for a save. Does not wait; the saves show it under the order's id.", 202,
        ),
        Route(
            "ask_restore", "POST", f"{_PROJECT}/restore", o.AskRestore, o.AskedSave, Who.MEMBER,
            "Go back to a save, in place. Answers once the present state is saved; the saves show"
            " the restored one under the order's id.", 202,
        ),
        Route("list_saves", "GET", f"{_PROJECT}/saves", key, o.Saves, token, "Newest first."),
        Route(
            "diff_saves", "GET", f"{_PROJECT}/diff", o.DiffSaves, SaveDiff, Who.PROJECT_FULL,
            "Which paths differ in two saves, by page. `newer` 0 is the newest save.",
        ),
        Route(
            "list_releases", "GET", f"{_PROJECT}/releases", key, o.Releases, token,
            "Newest first.",
        ),
        Route(
            "make_release", "POST", f"{_PROJECT}/releases", o.MakeRelease, Release, Who.MEMBER,
            "Save and give the save a version. Answers when the release stands.", 201,
        ),
    )  # fmt: skip


def _tokens() -> tuple[Route, ...]:
    member, tokens = Who.MEMBER, f"{_PROJECT}/tokens"
    return (
        Route(
            "list_tokens", "GET", tokens, o.ProjectKey, o.Tokens, member,
            "The project's tokens, without secrets.",
        ),
        Route(
            "new_token", "POST", tokens, o.NewToken, o.TokenSecret, member,
            "Add a token, told once.", 201,
        ),
        Route(
            "rotate_tokens", "POST", f"{tokens}/rotate", o.RotateTokens, o.TokenSecret, member,
            "Replace all tokens by one new one, or only the one of `token_id`.", 201,
        ),
        Route(
            "revoke_token", "DELETE", f"{tokens}/{{token_id}}", o.RevokeToken, o.Nothing, member,
            "Take one token back; its links close within a second.",
        ),
    )  # fmt: skip


def _runtimes() -> tuple[Route, ...]:
    key, user, admin = o.RuntimeKey, Who.USER, Who.ADMIN
    return (
        Route(
            "list_runtimes", "GET", "/runtimes", o.Nothing, o.Runtimes, user,
            "Built-in and added runtimes.",
        ),
        Route(
            "add_runtime", "POST", "/runtimes", o.AddRuntime, Runtime, admin,
            "Add an image as a runtime. Does not wait.", 201,
        ),
        Route(
            "build_runtime", "POST", "/runtimes/{name}/build", key, Runtime, user,
            "Build or pull it again. Does not wait.",
        ),
        Route(
            "remove_runtime", "DELETE", "/runtimes/{name}", key, o.Nothing, admin,
            "Conflict while a project was made from it.",
        ),
    )  # fmt: skip


def _users() -> tuple[Route, ...]:
    admin = Who.ADMIN
    return (
        Route("list_users", "GET", "/users", o.Nothing, o.Users, admin, "All users."),
        Route(
            "make_user", "POST", "/users", o.MakeUser, o.UserSecret, admin,
            "Add a user; the answer tells the token, once.", 201,
        ),
        Route(
            "delete_user", "DELETE", "/users/{name}", o.UserKey, o.Nothing, admin,
            "Remove a user; the token ends at once.",
        ),
    )  # fmt: skip


TABLE: tuple[Route, ...] = (
    *_own(), *_projects(), *_saves(), *_tokens(), *_runtimes(), *_users()
)  # fmt: skip
ROUTES: dict[str, Route] = {route.operation: route for route in TABLE}
