"""Calls about projects."""

import asyncio
import secrets
import uuid
from contextlib import suppress

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from controller.calls.context import Calls
from controller.calls.origins import Origin, check_architecture, find_origin, want
from controller.calls.spec import check_spec
from controller.core import events as e
from controller.store import people, projects, runtimes
from controller.store.projects import ProjectRow
from controller.turns import Turn
from devbox.edge.space import check_space
from devbox.model import orchestrator as o
from devbox.model.errors import BadInput, Conflict
from devbox.model.grants import Scope
from devbox.model.names import check_label
from devbox.model.projects import Desired, Image, Project, ProjectSpec, TokenInfo
from devbox.model.tokens import token_hash

_NEWS_S = 20.0
"""The longest wait for news; whoever wants more asks again."""


class ProjectCalls(Calls):
    """Create, read, change, start, stop, delete."""

    async def create_project(self, request: o.CreateProject) -> o.CreatedProject:
        """Make a project and, if asked, start it. Does not wait for its box."""
        check_label(request.namespace, "namespace")
        check_label(request.name, "project")
        check_spec(request.spec)
        if request.start:
            check_space(self._c.disk)
        token = secrets.token_hex(16)
        host_key = new_host_key()

        def work(turn: Turn) -> ProjectRow:
            origin = find_origin(turn.db, request.namespace, request.spec.runtime)
            self._check_free(turn, request)
            row = self._insert(turn, request, origin, host_key)
            info = first_token(turn.now)
            people.add_token(turn.db, row.uid, info, token_hash(token))
            if origin.waiting:
                row = turn.feed(row, e.Preparing(origin.waiting))
            desired = Desired.RUNNING if request.start else Desired.STOPPED
            return turn.feed(row, e.Wanted(row.desired), desired=desired)

        row = await self._c.turns.take(work)
        return o.CreatedProject(project=row.public, token=token)

    def _check_free(self, turn: Turn, request: o.CreateProject) -> None:
        taken = projects.find(turn.db, request.namespace, request.name)
        if taken and taken.desired is Desired.DELETED:
            raise Conflict(
                f"project {request.namespace}/{request.name} is still being deleted",
                "Try again in a moment, or choose another name.",
            )
        if taken:
            raise Conflict(
                f"there is a project {request.namespace}/{request.name} already",
                "Choose another name, or delete that project first.",
            )

    def _insert(
        self, turn: Turn, request: o.CreateProject, origin: Origin, host_key: str
    ) -> ProjectRow:
        machine = self._c.architecture
        if origin.image and (
            said := check_architecture(origin.image, machine, f"Runtime {request.spec.runtime}")
        ):
            raise BadInput(said)
        row = ProjectRow(
            uid=str(uuid.uuid4()),
            namespace=request.namespace,
            name=request.name,
            spec=_fill(request.spec, origin),
            image=origin.image or Image(repository="", digest="", architecture=machine),
            runtime=origin.runtime,
            desired=Desired.STOPPED,
            created_at=turn.now,
            host_key=host_key,
        )
        projects.insert(turn.db, row)
        return row

    async def get_project(self, request: o.ProjectKey) -> Project:
        """One project."""
        return projects.named(self._c.db.reader, request.namespace, request.name).public

    async def await_news(self, request: o.AskNews) -> Project:
        """One project, once it is not what the caller saw."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(request.wait_s, _NEWS_S)
        while True:
            changed = self._c.db.next_change
            row = projects.named(self._c.db.reader, request.namespace, request.name)
            over = self._c.db.ending or loop.time() >= deadline
            if over or not _as_seen(row, request):
                return row.public
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await changed.wait()

    async def list_projects(self, request: o.ListProjects) -> o.Projects:
        """All, or those of some namespaces."""
        wanted = request.namespaces
        rows = projects.everyone(self._c.db.reader)
        return o.Projects(
            projects=tuple(row.public for row in rows if wanted is None or row.namespace in wanted)
        )

    async def edit_project(self, request: o.EditProject) -> Project:
        """Change what is desired of it."""
        check_spec(request.spec)

        def work(turn: Turn) -> ProjectRow:
            row = _alive(turn, request)
            if request.spec.runtime != row.spec.runtime:
                raise BadInput(
                    "a project's runtime cannot be changed",
                    "Make a release, and a new project of another runtime beside it.",
                )
            return turn.feed(row, e.Tick(), spec=request.spec)

        return (await self._c.turns.take(work)).public

    async def start_project(self, request: o.ProjectKey) -> Project:
        """Desire it running. Does not wait."""

        def work(turn: Turn) -> ProjectRow:
            row = _alive(turn, request)
            if row.desired is not Desired.RUNNING:
                check_space(self._c.disk)
            waits = not row.image.repository
            if waits and (runtime := runtimes.find(turn.db, row.runtime)):
                want(turn.db, runtime)
            return turn.feed(row, e.Wanted(row.desired), desired=Desired.RUNNING)

        return (await self._c.turns.take(work)).public

    async def stop_project(self, request: o.ProjectKey) -> Project:
        """Desire it stopped. Does not wait."""

        def work(turn: Turn) -> ProjectRow:
            row = _alive(turn, request)
            return turn.feed(row, e.Wanted(row.desired), desired=Desired.STOPPED)

        return (await self._c.turns.take(work)).public

    async def delete_project(self, request: o.ProjectKey) -> o.Nothing:
        """Desire it gone, with all it owns. Does not wait; get_project raises when it is."""

        def work(turn: Turn) -> None:
            row = projects.named(turn.db, request.namespace, request.name)
            for info in people.tokens(turn.db, row.uid):
                people.revoke(turn.db, info.id)
            turn.feed(row, e.Wanted(row.desired), desired=Desired.DELETED)

        await self._c.turns.take(work)
        return o.Nothing()

    async def get_logs(self, request: o.AskLogs) -> o.Logs:
        """What the box's main process wrote."""
        row = projects.named(self._c.db.reader, request.namespace, request.name)
        return o.Logs(lines=self._c.logs(row, max(0, request.lines)))


def _as_seen(row: ProjectRow, seen: o.AskNews) -> bool:
    state = row.state
    now = (state.phase, state.message, state.generation)
    return now == (seen.phase, seen.message, seen.generation)


def _alive(turn: Turn, request: o.ProjectKey | o.EditProject) -> ProjectRow:
    return alive(projects.named(turn.db, request.namespace, request.name))


def alive(row: ProjectRow) -> ProjectRow:
    """The project, unless it is being deleted. Raises Conflict."""
    if row.desired is Desired.DELETED:
        raise Conflict(
            f"project {row.namespace}/{row.name} is being deleted",
            "A deletion cannot be taken back.",
        )
    return row


def _fill(spec: ProjectSpec, origin: Origin) -> ProjectSpec:
    return replace(
        spec,
        ports=spec.ports or origin.ports,
        run_image_command=spec.run_image_command or origin.run_image_command,
    )


def first_token(now: float) -> TokenInfo:
    """The token that a new project has."""
    return TokenInfo(id=secrets.token_hex(8), name="first", scopes=(Scope.FULL,), created_at=now)


def new_host_key() -> str:
    """A project's own SSH host key: Ed25519, OpenSSH's PEM."""
    return (
        Ed25519PrivateKey.generate()
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
        .decode()
    )
