"""An Orchestrator in memory, with a node that does at once whatever it is told.

It passes the contract in `tests/controller/contract.py`. With `node_works=False` nothing moves by
itself, and `set_status` plays the controller.
"""

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from devbox.model import orchestrator as o
from devbox.model.disk import Disk, ProjectDisk
from devbox.model.errors import BadInput, Conflict, NotFound, Unauthorized
from devbox.model.grants import Scope
from devbox.model.names import check_label, check_version
from devbox.model.projects import (
    Desired,
    Image,
    Phase,
    Project,
    ProjectSpec,
    ProjectStatus,
    TokenInfo,
    User,
)
from devbox.model.runtimes import Runtime, RuntimeState, no_save, save_named
from devbox.model.saves import Release, Save, SaveDiff, SaveReason, SaveStep
from devbox.model.tokens import token_hash

_HISTORY = 1000


@dataclass
class _Entry:
    project: Project
    tokens: dict[str, tuple[TokenInfo, str]] = field(default_factory=dict)
    saves: list[Save] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    logs: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Change:
    revision: int
    project_uid: str = ""
    deleted_uid: str = ""
    revoked: str = ""


class FakeOrchestrator(o.Orchestrator):
    """Everything in memory; `calls` remembers (method, request) in order."""

    def __init__(
        self,
        *,
        node_works: bool = True,
        box_ip: str = "127.0.0.1",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.node_works = node_works
        self.box_ip = box_ip
        self.calls: list[tuple[str, msgspec.Struct]] = []
        self._clock = clock
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._users: dict[str, tuple[User, str]] = {}
        self._runtimes = {name: _runtime(name) for name in ("debian", "postgres", "python")}
        self._revision = 1
        self._oldest = 1
        self._changes: deque[_Change] = deque()
        self._moved = asyncio.Event()
        self.admin_token = self._add_user("admin", admin=True, namespaces=()).token

    # What tests play.

    def set_status(self, key: o.ProjectKey, **changes: Any) -> Project:
        """Observe something of a project."""
        entry = self._entry(key)
        status = msgspec.structs.replace(entry.project.status, **changes)
        return self._put(entry, status=status)

    def set_logs(self, key: o.ProjectKey, *lines: str) -> None:
        """What the box's main process wrote."""
        self._entry(key).logs = lines

    def forget_history(self) -> None:
        """As after a restart: every older revision is too old."""
        self._changes.clear()
        self._revision += 1
        self._oldest = self._revision

    # Projects.

    async def create_project(self, request: o.CreateProject) -> o.CreatedProject:
        self.calls.append(("create_project", request))
        check_label(request.namespace, "namespace")
        check_label(request.name, "project")
        key = (request.namespace, request.name)
        image = self._image(request.namespace, request.spec.runtime)
        if key in self._entries:
            raise Conflict(f"there is a project {request.namespace}/{request.name} already")
        project = Project(
            uid=secrets.token_hex(8),
            namespace=request.namespace,
            name=request.name,
            spec=request.spec,
            image=image,
            desired=Desired.STOPPED,
            generation=0,
            host_key=f"ssh-ed25519 {secrets.token_urlsafe(32)}",
            created_at=self._clock(),
        )
        entry = self._entries[key] = _Entry(project)
        self._put(entry)
        secret = self._add_token(entry, "first", (Scope.FULL,), 0.0)
        if request.start:
            self._start(entry)
        return o.CreatedProject(project=entry.project, token=secret.token)

    async def get_project(self, request: o.ProjectKey) -> Project:
        self.calls.append(("get_project", request))
        return self._entry(request).project

    async def await_news(self, request: o.AskNews) -> Project:
        deadline = asyncio.get_running_loop().time() + request.wait_s
        while True:
            moved, project = self._moved, self._entry(request).project
            seen = (project.status.phase, project.status.message, project.generation)
            left = deadline - asyncio.get_running_loop().time()
            if seen != (request.phase, request.message, request.generation) or left <= 0:
                return project
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await moved.wait()

    async def list_projects(self, request: o.ListProjects) -> o.Projects:
        self.calls.append(("list_projects", request))
        wanted = request.namespaces
        return o.Projects(
            projects=tuple(
                entry.project
                for (namespace, _), entry in sorted(self._entries.items())
                if wanted is None or namespace in wanted
            )
        )

    async def edit_project(self, request: o.EditProject) -> Project:
        self.calls.append(("edit_project", request))
        entry = self._entry(request)
        if request.spec.runtime != entry.project.spec.runtime:
            raise BadInput("the runtime of a project cannot be changed", "Make a new project.")
        return self._put(entry, spec=request.spec)

    async def start_project(self, request: o.ProjectKey) -> Project:
        self.calls.append(("start_project", request))
        return self._start(self._entry(request))

    async def stop_project(self, request: o.ProjectKey) -> Project:
        self.calls.append(("stop_project", request))
        entry = self._entry(request)
        self._put(entry, desired=Desired.STOPPED)
        if self.node_works:
            self._observe(entry, phase=Phase.STOPPED, box_ip="", pod_uid="")
        return entry.project

    async def delete_project(self, request: o.ProjectKey) -> o.Nothing:
        self.calls.append(("delete_project", request))
        entry = self._entry(request)
        self._put(entry, desired=Desired.DELETED)
        for token_id in list(entry.tokens):
            self._revoke(entry, token_id)
        del self._entries[request.namespace, request.name]
        self._note(deleted_uid=entry.project.uid)
        return o.Nothing()

    async def get_logs(self, request: o.AskLogs) -> o.Logs:
        self.calls.append(("get_logs", request))
        return o.Logs(lines=self._entry(request).logs[-request.lines :])

    # Saves and releases.

    async def ask_save(self, request: o.AskSave) -> o.AskedSave:
        self.calls.append(("ask_save", request))
        return o.AskedSave(order_id=self._save(self._entry(request), request).order_id)

    async def ask_restore(self, request: o.AskRestore) -> o.AskedSave:
        self.calls.append(("ask_restore", request))
        entry = self._entry(request)
        known = (s for s in entry.saves if s.seq == request.seq and s.step is SaveStep.RECORDED)
        wanted = next(known, None)
        if wanted is None:
            raise no_save(f"{request.name}@save-{request.seq}")
        if entry.project.status.upper_node:
            self._save(entry, o.AskSave(namespace=request.namespace, name=request.name))
        seq = len(entry.saves) + 1
        restored = msgspec.structs.replace(
            wanted,
            seq=seq,
            generation=entry.project.generation + 1,
            reason=SaveReason.RESTORED,
            order_id=secrets.token_hex(8),
        )
        entry.saves.append(restored)
        self._observe(entry, head_seq=seq, upper_node="")
        if entry.project.desired is Desired.RUNNING:
            self._put(entry, desired=Desired.STOPPED)
            self._start(entry)
        return o.AskedSave(order_id=restored.order_id)

    async def list_saves(self, request: o.ProjectKey) -> o.Saves:
        self.calls.append(("list_saves", request))
        return o.Saves(saves=tuple(reversed(self._entry(request).saves)))

    async def diff_saves(self, request: o.DiffSaves) -> SaveDiff:
        self.calls.append(("diff_saves", request))
        if not 1 <= request.limit <= 10_000:
            raise BadInput(f"limit {request.limit} is out of range")
        entry = self._entry(request)
        known = {save.seq for save in entry.saves if save.step is SaveStep.RECORDED}
        newer = request.newer or entry.project.status.head_seq
        for seq in (request.older, newer):
            if seq not in known:
                raise no_save(f"{request.name}@save-{seq}")
        return SaveDiff(older=request.older, newer=newer)

    async def make_release(self, request: o.MakeRelease) -> Release:
        self.calls.append(("make_release", request))
        entry = self._entry(request)
        check_version(request.version)
        if any(known.version == request.version for known in entry.releases):
            raise Conflict(f"version {request.version} exists", "A release never changes.")
        save = self._save(entry, o.AskSave(namespace=request.namespace, name=request.name))
        release = Release(
            project_uid=entry.project.uid,
            version=request.version,
            notes=request.notes,
            save_seq=save.seq,
            digest=save.digest or _digest(),
            total_bytes=save.total_bytes,
            created_at=self._clock(),
        )
        entry.releases.append(release)
        return release

    async def list_releases(self, request: o.ProjectKey) -> o.Releases:
        self.calls.append(("list_releases", request))
        return o.Releases(releases=tuple(reversed(self._entry(request).releases)))

    # Tokens and users.

    async def list_tokens(self, request: o.ProjectKey) -> o.Tokens:
        self.calls.append(("list_tokens", request))
        return o.Tokens(tokens=tuple(info for info, _ in self._entry(request).tokens.values()))

    async def new_token(self, request: o.NewToken) -> o.TokenSecret:
        self.calls.append(("new_token", request))
        if request.lifetime_s < 0 or not request.scopes or Scope.REVOKE in request.scopes:
            raise BadInput("a token needs scopes, and a lifetime that is not negative")
        entry = self._entry(request)
        expires = self._clock() + request.lifetime_s if request.lifetime_s else 0.0
        return self._add_token(entry, request.token_name, request.scopes, expires)

    async def rotate_tokens(self, request: o.RotateTokens) -> o.TokenSecret:
        self.calls.append(("rotate_tokens", request))
        entry = self._entry(request)
        gone = [request.token_id] if request.token_id else list(entry.tokens)
        kept = self._token(entry, request.token_id) if request.token_id else None
        for token_id in gone:
            self._revoke(entry, token_id)
        if kept is not None:
            return self._add_token(entry, kept.name, kept.scopes, kept.expires_at)
        return self._add_token(entry, "first", (Scope.FULL,), 0.0)

    async def revoke_token(self, request: o.RevokeToken) -> o.Nothing:
        self.calls.append(("revoke_token", request))
        entry = self._entry(request)
        self._token(entry, request.token_id)
        self._revoke(entry, request.token_id)
        return o.Nothing()

    async def check_token(self, request: o.CheckToken) -> o.CheckedToken:
        self.calls.append(("check_token", request))
        entry = self._entries.get((request.namespace, request.name))
        for info, known in entry.tokens.values() if entry else ():
            alive = not info.expires_at or self._clock() < info.expires_at
            if entry and alive and secrets.compare_digest(known, request.token_hash):
                return o.CheckedToken(
                    project=entry.project,
                    token_id=info.id,
                    scopes=info.scopes,
                    expires_at=info.expires_at,
                )
        raise Unauthorized("the credential is not valid")

    async def check_user(self, request: o.CheckUser) -> User:
        self.calls.append(("check_user", request))
        for user, known in self._users.values():
            if secrets.compare_digest(known, request.token_hash):
                return user
        raise Unauthorized("the credential is not valid")

    async def make_user(self, request: o.MakeUser) -> o.UserSecret:
        self.calls.append(("make_user", request))
        check_label(request.name, "user")
        for namespace in request.namespaces:
            check_label(namespace, "namespace")
        if request.name in self._users:
            raise Conflict(f"there is a user {request.name} already")
        return self._add_user(request.name, admin=request.admin, namespaces=request.namespaces)

    async def list_users(self, request: o.Nothing) -> o.Users:
        self.calls.append(("list_users", request))
        return o.Users(users=tuple(user for user, _ in self._users.values()))

    async def delete_user(self, request: o.UserKey) -> o.Nothing:
        self.calls.append(("delete_user", request))
        if request.name not in self._users:
            raise NotFound(f"there is no user {request.name}")
        user, _ = self._users.pop(request.name)
        self._note(revoked=user.token_id)
        return o.Nothing()

    async def get_disk(self, request: o.AskDisk) -> Disk:
        self.calls.append(("get_disk", request))
        wanted = request.namespaces
        return Disk(
            node="node-1",
            total_bytes=100 << 30,
            free_bytes=40 << 30,
            low_bytes=10 << 30,
            high_bytes=15 << 30,
            floor_bytes=2 << 30,
            projects=tuple(
                ProjectDisk(
                    project_uid=entry.project.uid,
                    namespace=namespace,
                    name=name,
                    changed_bytes=entry.project.status.upper_bytes,
                    kept="in use" if entry.project.status.upper_node else "",
                )
                for (namespace, name), entry in sorted(self._entries.items())
                if wanted is None or namespace in wanted
            ),
        )

    # Changes.

    async def watch(self, request: o.Watch) -> o.Changes:
        deadline = asyncio.get_running_loop().time() + request.wait_s
        while request.revision == self._revision:
            left = deadline - asyncio.get_running_loop().time()
            moved = self._moved
            try:
                # Not wait_for: in Python 3.11 it can swallow a cancellation (gh-86296).
                async with asyncio.timeout(max(left, 0.0)):
                    await moved.wait()
            except TimeoutError:
                break
        if not self._oldest <= request.revision <= self._revision:
            return o.Changes(revision=self._revision, complete=False)
        news = [change for change in self._changes if change.revision > request.revision]
        uids = {change.project_uid for change in news}
        entries = self._entries.values()
        return o.Changes(
            revision=self._revision,
            complete=True,
            projects=tuple(e.project for e in entries if e.project.uid in uids),
            deleted_uids=tuple(change.deleted_uid for change in news if change.deleted_uid),
            revoked_token_ids=tuple(change.revoked for change in news if change.revoked),
        )

    # Runtimes.

    async def list_runtimes(self, request: o.Nothing) -> o.Runtimes:
        self.calls.append(("list_runtimes", request))
        return o.Runtimes(runtimes=tuple(self._runtimes[name] for name in sorted(self._runtimes)))

    async def build_runtime(self, request: o.RuntimeKey) -> Runtime:
        self.calls.append(("build_runtime", request))
        return self._runtime(request.name)

    async def add_runtime(self, request: o.AddRuntime) -> Runtime:
        self.calls.append(("add_runtime", request))
        check_label(request.name, "runtime")
        if not request.reference:
            raise BadInput("the image reference is empty")
        if request.name in self._runtimes:
            raise Conflict(f"there is a runtime {request.name} already")
        self._runtimes[request.name] = _runtime(request.name, source=request.reference)
        return self._runtimes[request.name]

    async def remove_runtime(self, request: o.RuntimeKey) -> o.Nothing:
        self.calls.append(("remove_runtime", request))
        self._runtime(request.name)
        if any(e.project.spec.runtime == request.name for e in self._entries.values()):
            raise Conflict(f"a project was made from runtime {request.name}")
        del self._runtimes[request.name]
        return o.Nothing()

    # The inside.

    def _entry(self, key: Any) -> _Entry:
        entry = self._entries.get((key.namespace, key.name))
        if entry is None:
            raise NotFound(f"there is no project {key.namespace}/{key.name}")
        return entry

    def _token(self, entry: _Entry, token_id: str) -> TokenInfo:
        if token_id not in entry.tokens:
            raise NotFound(f"there is no token {token_id}")
        return entry.tokens[token_id][0]

    def _runtime(self, name: str) -> Runtime:
        if name not in self._runtimes:
            raise NotFound(f"there is no runtime {name}")
        return self._runtimes[name]

    def _image(self, namespace: str, runtime: str) -> Image:
        if runtime.startswith("image:"):
            return Image(repository="runtimes/pulled", digest=_digest(), architecture="amd64")
        if name := save_named(runtime, namespace):
            source = self._entries.get((name.namespace, name.project))
            for save in source.saves if source else ():
                if save.seq == name.seq and save.step is SaveStep.RECORDED:
                    repository = f"projects/{save.project_uid}"
                    return Image(repository=repository, digest=save.digest, architecture="amd64")
            raise no_save(runtime)
        if ":" not in runtime:
            image = self._runtime(runtime).image
            assert image is not None
            return image
        place, _, version = runtime.partition(":")
        owner, _, project = place.rpartition("/")
        source = self._entries.get((owner or namespace, project))
        for release in source.releases if source else ():
            if release.version == version:
                repository = f"projects/{release.project_uid}"
                return Image(repository=repository, digest=release.digest, architecture="amd64")
        raise NotFound(f"there is no release {runtime}")

    def _start(self, entry: _Entry) -> Project:
        if entry.project.desired is Desired.RUNNING:
            return entry.project
        self._put(entry, desired=Desired.RUNNING)
        if self.node_works:
            self._put(entry, generation=entry.project.generation + 1)
            self._observe(
                entry,
                phase=Phase.RUNNING,
                box_ip=self.box_ip,
                pod_uid=secrets.token_hex(8),
                upper_node="node-1",
                started_at=self._clock(),
            )
        return entry.project

    def _save(self, entry: _Entry, request: o.AskSave) -> Save:
        if not entry.project.status.upper_node:
            raise Conflict("there is nothing to save yet", "Start the project first.")
        save = Save(
            project_uid=entry.project.uid,
            seq=len(entry.saves) + 1,
            generation=entry.project.generation,
            reason=request.reason,
            step=SaveStep.RECORDED if self.node_works else SaveStep.INTENT,
            order_id=secrets.token_hex(8),
            digest=_digest() if self.node_works else "",
            started_at=self._clock(),
        )
        entry.saves.append(save)
        if self.node_works:
            self._observe(entry, head_seq=save.seq)
        return save

    def _add_token(
        self, entry: _Entry, name: str, scopes: tuple[Scope, ...], expires: float
    ) -> o.TokenSecret:
        token = secrets.token_hex(16)
        info = TokenInfo(
            id=secrets.token_hex(4),
            name=name,
            scopes=scopes,
            created_at=self._clock(),
            expires_at=expires,
        )
        entry.tokens[info.id] = (info, token_hash(token))
        return o.TokenSecret(info=info, token=token)

    def _revoke(self, entry: _Entry, token_id: str) -> None:
        del entry.tokens[token_id]
        self._note(revoked=token_id)

    def _add_user(self, name: str, *, admin: bool, namespaces: tuple[str, ...]) -> o.UserSecret:
        token = secrets.token_hex(16)
        token_id = secrets.token_hex(4)
        user = User(name=name, admin=admin, namespaces=namespaces, token_id=token_id)
        self._users[name] = (user, token_hash(token))
        return o.UserSecret(user=user, token=token)

    def _observe(self, entry: _Entry, **changes: Any) -> Project:
        return self._put(entry, status=msgspec.structs.replace(entry.project.status, **changes))

    def _put(self, entry: _Entry, **changes: Any) -> Project:
        entry.project = msgspec.structs.replace(entry.project, **changes)
        self._note(project_uid=entry.project.uid)
        return entry.project

    def _note(self, **what: str) -> None:
        self._revision += 1
        self._changes.append(_Change(self._revision, **what))
        if len(self._changes) > _HISTORY:
            self._oldest = self._changes.popleft().revision
        self._moved.set()
        self._moved = asyncio.Event()


def project_spec(runtime: str = "python", **more: Any) -> ProjectSpec:
    """A plain spec."""
    return ProjectSpec(runtime=runtime, **more)


def running(ip: str) -> ProjectStatus:
    """The status of a box that can be dialled."""
    return ProjectStatus(phase=Phase.RUNNING, box_ip=ip)


def _digest() -> str:
    return f"sha256:{secrets.token_hex(32)}"


def _runtime(name: str, source: str = "built-in") -> Runtime:
    image = Image(repository=f"runtimes/{name}", digest=_digest(), architecture="amd64")
    return Runtime(name=name, source=source, state=RuntimeState.READY, image=image)
