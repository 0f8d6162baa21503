"""The Orchestrator: how projects are read and changed.

Embedded and Kubernetes implement it. Every call takes one request struct and gives one answer
struct, so that a unix socket, a fake and a cluster can carry it alike. Errors are `DevboxError`s.
"""

from typing import Protocol

import msgspec

from devbox.model.disk import Disk
from devbox.model.grants import Scope
from devbox.model.projects import Phase, Project, ProjectSpec, TokenInfo, User
from devbox.model.runtimes import Runtime
from devbox.model.saves import Release, Save, SaveDiff, SaveReason


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An empty request or answer."""


class ProjectKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names one project."""

    namespace: str
    name: str


class AskNews(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Wait until a project is not any more what the caller saw of it: phase, message, generation.

    Answers after `wait_s` (at most 20) in any case.
    """

    namespace: str
    name: str
    phase: Phase
    message: str
    generation: int
    wait_s: float = 10.0


class CreateProject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make a project; Conflict if the name is taken, NotFound for an unknown runtime."""

    namespace: str
    name: str
    spec: ProjectSpec
    start: bool = True


class CreatedProject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The project and its first token: the only time that a token is told."""

    project: Project
    token: str


class ListProjects(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Projects of these namespaces; of all when None."""

    namespaces: tuple[str, ...] | None = None


class Projects(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In order of namespace and name."""

    projects: tuple[Project, ...]


class EditProject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replace the spec, all but the runtime. Takes effect at the next start."""

    namespace: str
    name: str
    spec: ProjectSpec


class AskSave(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask for a save. Conflict when there is no upper to save."""

    namespace: str
    name: str
    reason: SaveReason = SaveReason.ASKED


class AskedSave(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The order; `saves` shows the save that carries its `order_id`."""

    order_id: str


class AskRestore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make an earlier save the project's newest state. The present one is saved first.

    Answers once the present state is recorded. Conflict when another restore is under way,
    Unavailable when the present state cannot be saved: then nothing is changed.
    """

    namespace: str
    name: str
    seq: int


class Saves(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Newest first."""

    saves: tuple[Save, ...]


class DiffSaves(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which paths two recorded saves differ in. `newer` 0 is the newest save.

    A page has `limit` paths at most, and begins after the path `after`.
    """

    namespace: str
    name: str
    older: int
    newer: int = 0
    after: str = ""
    limit: int = 1000


class MakeRelease(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Release the project's present state: saves first when something changed.

    Answers when the release stands. Conflict if the version exists.
    """

    namespace: str
    name: str
    version: str
    notes: str = ""


class Releases(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Newest first."""

    releases: tuple[Release, ...]


class RotateTokens(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replace every token of the project by one new one, or only the one of `token_id`."""

    namespace: str
    name: str
    token_id: str = ""


class NewToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Add a token. `lifetime_s` 0 is for ever."""

    namespace: str
    name: str
    token_name: str
    scopes: tuple[Scope, ...] = (Scope.FULL,)
    lifetime_s: float = 0.0


class RevokeToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Take one token back."""

    namespace: str
    name: str
    token_id: str


class TokenSecret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new token, told once."""

    info: TokenInfo
    token: str


class Tokens(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project's tokens, without secrets."""

    tokens: tuple[TokenInfo, ...]


class CheckToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Does this hash belong to a live token of this project? Unauthorized for every no."""

    namespace: str
    name: str
    token_hash: str


class CheckedToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The project and what the token allows."""

    project: Project
    token_id: str
    scopes: tuple[Scope, ...]
    expires_at: float = 0.0
    """Unix seconds; 0 is never."""


class CheckUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose user token has this hash? Unauthorized if nobody's."""

    token_hash: str


class MakeUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Add a user; the answer's token is told once."""

    name: str
    admin: bool = False
    namespaces: tuple[str, ...] = ()


class UserSecret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new user and the token, told once."""

    user: User
    token: str


class UserKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names one user."""

    name: str


class Users(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All users, without secrets."""

    users: tuple[User, ...]


class AskLogs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last lines that the box's main process wrote."""

    namespace: str
    name: str
    lines: int = 200


class Logs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Oldest first."""

    lines: tuple[str, ...]


class Watch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Wait until something changed after `revision`, `wait_s` at most."""

    revision: int
    wait_s: float = 20.0


class Changes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What changed. `complete` false: the revision is too old, read everything again."""

    revision: int
    complete: bool
    projects: tuple[Project, ...] = ()
    """Changed projects."""
    deleted_uids: tuple[str, ...] = ()
    revoked_token_ids: tuple[str, ...] = ()


class Runtimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In order of name."""

    runtimes: tuple[Runtime, ...]


class RuntimeKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names one runtime."""

    name: str


class AddRuntime(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make a runtime of an image reference."""

    name: str
    reference: str


class AskDisk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who uses what of the disk: projects of these namespaces; of all when None."""

    namespaces: tuple[str, ...] | None = None


class Orchestrator(Protocol):
    """Embedded and Kubernetes implement it; `tests/controller/contract.py` is its contract."""

    async def create_project(self, request: CreateProject) -> CreatedProject:
        """Make a project and, if asked, start it. Does not wait for its box."""

    async def get_project(self, request: ProjectKey) -> Project:
        """One project."""

    async def await_news(self, request: AskNews) -> Project:
        """One project, once it is not what the caller saw; or as it is, after a while."""

    async def list_projects(self, request: ListProjects) -> Projects:
        """All, or those of some namespaces."""

    async def edit_project(self, request: EditProject) -> Project:
        """Change what is desired of it."""

    async def start_project(self, request: ProjectKey) -> Project:
        """Desire it running. Does not wait."""

    async def stop_project(self, request: ProjectKey) -> Project:
        """Desire it stopped. Does not wait."""

    async def delete_project(self, request: ProjectKey) -> Nothing:
        """Desire it gone, with all it owns. Does not wait; get_project raises when it is."""

    async def ask_save(self, request: AskSave) -> AskedSave:
        """Ask for a save. Does not wait."""

    async def ask_restore(self, request: AskRestore) -> AskedSave:
        """Go back to a save. The restored save carries the order's id once files are there."""

    async def list_saves(self, request: ProjectKey) -> Saves:
        """In progress and recorded."""

    async def diff_saves(self, request: DiffSaves) -> SaveDiff:
        """What changed between two saves. A node reads their layers for it."""

    async def make_release(self, request: MakeRelease) -> Release:
        """Save and give the save a version."""

    async def list_releases(self, request: ProjectKey) -> Releases:
        """A project's releases."""

    async def list_tokens(self, request: ProjectKey) -> Tokens:
        """A project's tokens."""

    async def new_token(self, request: NewToken) -> TokenSecret:
        """Add a token."""

    async def rotate_tokens(self, request: RotateTokens) -> TokenSecret:
        """Replace tokens; the old ones end at once."""

    async def revoke_token(self, request: RevokeToken) -> Nothing:
        """Take a token back."""

    async def check_token(self, request: CheckToken) -> CheckedToken:
        """Validate a project token."""

    async def check_user(self, request: CheckUser) -> User:
        """Validate a user token."""

    async def make_user(self, request: MakeUser) -> UserSecret:
        """Add a user."""

    async def list_users(self, request: Nothing) -> Users:
        """All users."""

    async def delete_user(self, request: UserKey) -> Nothing:
        """Remove a user; the token ends at once."""

    async def get_logs(self, request: AskLogs) -> Logs:
        """What the box's main process wrote."""

    async def watch(self, request: Watch) -> Changes:
        """Changes since a revision."""

    async def get_disk(self, request: AskDisk) -> Disk:
        """Who uses what of the node's disk. The node measures it."""

    async def list_runtimes(self, request: Nothing) -> Runtimes:
        """Built-in and added runtimes."""

    async def build_runtime(self, request: RuntimeKey) -> Runtime:
        """Build or pull it again. Does not wait."""

    async def add_runtime(self, request: AddRuntime) -> Runtime:
        """Add an image as a runtime. Does not wait."""

    async def remove_runtime(self, request: RuntimeKey) -> Nothing:
        """Conflict while a project was made from it."""
