"""The HTTP API's client: the Orchestrator's calls, through a gateway, with a credential.

Owns the connection and the sentences said when there is none. Paths and bodies come from
`devbox.edge.routes`.
"""

import asyncio
import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import SplitResult, urlencode, urlsplit

import msgspec

from devbox.edge.failures import Failure, error_of
from devbox.edge.http1 import Caller
from devbox.edge.routes import PREFIX, ROUTES, Route
from devbox.model import orchestrator as o
from devbox.model.about import About
from devbox.model.disk import Disk
from devbox.model.errors import BadInput, Internal, Unavailable
from devbox.model.projects import Project, User
from devbox.model.runtimes import Runtime
from devbox.model.saves import Release, SaveDiff
from devbox.wire.errors import LinkBroken

_CALL_S = 60.0
_RELEASE_S = 3600.0
_DIFF_S = 310.0
_DISK_S = 310.0


class Api:
    """One gateway, one credential (a user token, or a project's for its own project).

    Every method raises the DevboxError that the gateway told, or Unavailable when it cannot be
    reached.
    """

    def __init__(self, url: str, token: str, ca_file: Path | str | None = None) -> None:
        self._base = url.rstrip("/")
        self._ca_file = ca_file
        if not token.isprintable():
            raise BadInput("the token holds what no token holds", "Give it again, on one line.")
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        split = _split(self._base)
        self._path = split.path
        self._http = Caller(split, self._trust)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    # The gateway itself

    async def about(self) -> About:
        """Cluster, region, version."""
        answer: About = await self._call("about", o.Nothing())
        return answer

    async def me(self) -> User:
        """Whose credential this is."""
        answer: User = await self._call("me", o.Nothing())
        return answer

    async def get_disk(self, request: o.AskDisk) -> Disk:
        """Who uses what of the disk."""
        answer: Disk = await self._call("get_disk", request, timeout_s=_DISK_S)
        return answer

    # Projects

    async def create_project(self, request: o.CreateProject) -> o.CreatedProject:
        """Make a project and, if asked, start it. Does not wait for its box."""
        answer: o.CreatedProject = await self._call("create_project", request)
        return answer

    async def get_project(self, request: o.ProjectKey) -> Project:
        """One project."""
        answer: Project = await self._call("get_project", request)
        return answer

    async def await_news(self, request: o.AskNews) -> Project:
        """One project, once it is not what the caller saw; or as it is, after a while."""
        answer: Project = await self._call("await_news", request)
        return answer

    async def list_projects(self, request: o.ListProjects) -> o.Projects:
        """All that the credential may see, or those of some namespaces."""
        if request.namespaces == ():
            return o.Projects(projects=())
        one = request.namespaces is not None and len(request.namespaces) == 1
        operation = "list_namespace" if one else "list_projects"
        answer: o.Projects = await self._call(operation, request)
        return answer

    async def edit_project(self, request: o.EditProject) -> Project:
        """Change what is desired of it."""
        answer: Project = await self._call("edit_project", request)
        return answer

    async def start_project(self, request: o.ProjectKey) -> Project:
        """Desire it running. Does not wait."""
        answer: Project = await self._call("start_project", request)
        return answer

    async def stop_project(self, request: o.ProjectKey) -> Project:
        """Desire it stopped. Does not wait."""
        answer: Project = await self._call("stop_project", request)
        return answer

    async def delete_project(self, request: o.ProjectKey) -> o.Nothing:
        """Desire it gone, with all it owns. Does not wait; get_project raises when it is."""
        answer: o.Nothing = await self._call("delete_project", request)
        return answer

    async def get_logs(self, request: o.AskLogs) -> o.Logs:
        """What the box's main process wrote."""
        answer: o.Logs = await self._call("get_logs", request)
        return answer

    # Saves and releases

    async def ask_save(self, request: o.AskSave) -> o.AskedSave:
        """Ask for a save. Does not wait."""
        answer: o.AskedSave = await self._call("ask_save", request)
        return answer

    async def ask_restore(self, request: o.AskRestore) -> o.AskedSave:
        """Go back to a save. Answers once the present state is recorded."""
        answer: o.AskedSave = await self._call("ask_restore", request, timeout_s=_RELEASE_S)
        return answer

    async def list_saves(self, request: o.ProjectKey) -> o.Saves:
        """In progress and recorded."""
        answer: o.Saves = await self._call("list_saves", request)
        return answer

    async def diff_saves(self, request: o.DiffSaves) -> SaveDiff:
        """What changed between two saves."""
        answer: SaveDiff = await self._call("diff_saves", request, timeout_s=_DIFF_S)
        return answer

    async def make_release(self, request: o.MakeRelease) -> Release:
        """Save and give the save a version. Answers when the release stands."""
        answer: Release = await self._call("make_release", request, timeout_s=_RELEASE_S)
        return answer

    async def list_releases(self, request: o.ProjectKey) -> o.Releases:
        """A project's releases."""
        answer: o.Releases = await self._call("list_releases", request)
        return answer

    # Tokens

    async def list_tokens(self, request: o.ProjectKey) -> o.Tokens:
        """A project's tokens."""
        answer: o.Tokens = await self._call("list_tokens", request)
        return answer

    async def new_token(self, request: o.NewToken) -> o.TokenSecret:
        """Add a token."""
        answer: o.TokenSecret = await self._call("new_token", request)
        return answer

    async def rotate_tokens(self, request: o.RotateTokens) -> o.TokenSecret:
        """Replace tokens; the old ones end at once."""
        answer: o.TokenSecret = await self._call("rotate_tokens", request)
        return answer

    async def revoke_token(self, request: o.RevokeToken) -> o.Nothing:
        """Take a token back."""
        answer: o.Nothing = await self._call("revoke_token", request)
        return answer

    # Runtimes

    async def list_runtimes(self, request: o.Nothing) -> o.Runtimes:
        """Built-in and added runtimes."""
        answer: o.Runtimes = await self._call("list_runtimes", request)
        return answer

    async def build_runtime(self, request: o.RuntimeKey) -> Runtime:
        """Build or pull it again. Does not wait."""
        answer: Runtime = await self._call("build_runtime", request)
        return answer

    async def add_runtime(self, request: o.AddRuntime) -> Runtime:
        """Add an image as a runtime. Does not wait."""
        answer: Runtime = await self._call("add_runtime", request)
        return answer

    async def remove_runtime(self, request: o.RuntimeKey) -> o.Nothing:
        """Conflict while a project was made from it."""
        answer: o.Nothing = await self._call("remove_runtime", request)
        return answer

    # Users

    async def make_user(self, request: o.MakeUser) -> o.UserSecret:
        """Add a user."""
        answer: o.UserSecret = await self._call("make_user", request)
        return answer

    async def list_users(self, request: o.Nothing) -> o.Users:
        """All users."""
        answer: o.Users = await self._call("list_users", request)
        return answer

    async def delete_user(self, request: o.UserKey) -> o.Nothing:
        """Remove a user; the token ends at once."""
        answer: o.Nothing = await self._call("delete_user", request)
        return answer

    # The inside

    async def _call(
        self, operation: str, request: msgspec.Struct, *, timeout_s: float = _CALL_S
    ) -> Any:
        route = ROUTES[operation]
        body = route.body(request) if route.has_body else None
        kind = {"Content-Type": "application/json"} if route.has_body else {}
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._http.call(
                    route.method, self._target(route, request), self._headers | kind, body
                )
        except ssl.SSLError as error:
            raise self._not_trusted() from error
        except TimeoutError as error:
            raise self._silent(f"did not answer within {timeout_s:.0f} s") from error
        except LinkBroken as error:
            raise self._not_ours(str(error)) from error
        except (OSError, EOFError) as error:
            raise self._silent("cannot be reached") from error
        return self._read(route, answer.status, answer.body)

    def _target(self, route: Route, request: msgspec.Struct) -> str:
        """Path and query."""
        query = "" if route.has_body else urlencode(route.query(request))
        return f"{self._path}{PREFIX}{route.url(request)}{'?' if query else ''}{query}"

    def _trust(self) -> ssl.SSLContext:
        """Raises BadInput."""
        try:
            return ssl.create_default_context(cafile=self._ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise BadInput(f"{self._ca_file} holds no CA certificate: {error}") from error

    def _read(self, route: Route, status: int, body: bytes) -> Any:
        try:
            if status == route.status:
                return msgspec.json.decode(body, type=route.answer)
            failure = msgspec.json.decode(body, type=Failure)
        except msgspec.MsgspecError as error:
            raise self._not_ours(f"HTTP {status}") from error
        raise error_of(failure)

    def _not_ours(self, why: str) -> Internal:
        return Internal(
            f"what answers at {self._base} is not this version's gateway ({why})",
            "Check the URL, and that both sides run the same version of Devbox.",
        )

    def _silent(self, how: str) -> Unavailable:
        return Unavailable(
            f"the gateway at {self._base} {how}",
            "Nothing is lost. Check the URL and the network, and that the server is up.",
        )

    def _not_trusted(self) -> Unavailable:
        return Unavailable(
            f"the certificate of the gateway at {self._base} is not trusted",
            "Nothing was sent. Name the CA's certificate file if the server has its own.",
        )


def _split(base: str) -> SplitResult:
    """Raises BadInput."""
    try:
        url = urlsplit(base)
        if url.scheme in {"http", "https"} and url.hostname and url.port != 0:
            return url
    except ValueError:
        pass
    raise BadInput(f"{base!r} is not a gateway's URL", "It looks like https://devbox.example.com")
