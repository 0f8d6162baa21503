"""Projects and their observed state."""

import sqlite3
from collections.abc import Iterable
from functools import lru_cache

import msgspec
from cryptography.hazmat.primitives import serialization

from controller.core.state import State, status
from controller.store import changes
from controller.store.rows import pack, unpack
from devbox.model.errors import NotFound
from devbox.model.projects import Desired, Image, Project, ProjectSpec


class ProjectRow(msgspec.Struct, frozen=True, kw_only=True):
    """One project as stored. `host_key` is a secret: OpenSSH's PEM."""

    uid: str
    namespace: str
    name: str
    spec: ProjectSpec
    image: Image
    """No repository yet: its runtime is not there."""
    runtime: str
    """The name of the runtime it waits for or was made from; empty for a release and a save."""
    desired: Desired
    created_at: float
    host_key: str
    state: State = State()

    @property
    def public(self) -> Project:
        """As everybody sees it."""
        return Project(
            uid=self.uid,
            namespace=self.namespace,
            name=self.name,
            spec=self.spec,
            image=self.image,
            desired=self.desired,
            generation=self.state.generation,
            host_key=_public_key(self.host_key),
            created_at=self.created_at,
            status=status(self.state),
        )


_COLUMNS = "uid, namespace, name, spec, image, runtime, desired, created_at, host_key, state"


def insert(db: sqlite3.Connection, row: ProjectRow) -> None:
    """Add a project; the caller has seen that the name is free."""
    db.execute(
        f"INSERT INTO projects ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            row.uid,
            row.namespace,
            row.name,
            pack(row.spec),
            pack(row.image),
            row.runtime,
            row.desired.value,
            row.created_at,
            row.host_key,
            pack(row.state),
        ),
    )
    changes.note(db, "project", row.uid)


def update(db: sqlite3.Connection, before: ProjectRow, after: ProjectRow) -> None:
    """Store what changed; watchers hear of it only when they can see it."""
    if before == after:
        return
    box = after.state.box
    db.execute(
        "UPDATE projects SET spec = ?, image = ?, desired = ?, state = ?, pod_uid = ?"
        " WHERE uid = ?",
        (
            pack(after.spec),
            pack(after.image),
            after.desired.value,
            pack(after.state),
            box.pod_uid if box else "",
            after.uid,
        ),
    )
    if before.public != after.public:
        changes.note(db, "project", after.uid)


def delete(db: sqlite3.Connection, uid: str) -> None:
    """Remove a project with everything that hangs on it."""
    db.execute("DELETE FROM projects WHERE uid = ?", (uid,))
    changes.note(db, "deleted", uid)


def find(db: sqlite3.Connection, namespace: str, name: str) -> ProjectRow | None:
    """The project of that name."""
    found = list(_select(db, "WHERE namespace = ? AND name = ?", (namespace, name)))
    return found[0] if found else None


def named(db: sqlite3.Connection, namespace: str, name: str) -> ProjectRow:
    """The project of that name. Raises NotFound."""
    row = find(db, namespace, name)
    if row is None:
        raise NotFound(
            f"there is no project {namespace}/{name}", "`devbox list` shows the projects there are."
        )
    return row


def uid_of(db: sqlite3.Connection, namespace: str, name: str) -> str:
    """The uid of the project of that name, or nothing, at the same cost."""
    row = db.execute(
        "SELECT uid FROM projects WHERE namespace = ? AND name = ? AND desired != ?",
        (namespace, name, Desired.DELETED.value),
    ).fetchone()
    return str(row[0]) if row else ""


def by_uid(db: sqlite3.Connection, uid: str) -> ProjectRow | None:
    """The project of that uid."""
    found = list(_select(db, "WHERE uid = ?", (uid,)))
    return found[0] if found else None


def by_pod(db: sqlite3.Connection, pod_uid: str) -> ProjectRow | None:
    """The project whose box a pod is."""
    found = list(_select(db, "WHERE pod_uid = ?", (pod_uid,))) if pod_uid else []
    return found[0] if found else None


def everyone(db: sqlite3.Connection) -> list[ProjectRow]:
    """All, in order of namespace and name."""
    return list(_select(db, "ORDER BY namespace, name", ()))


def of_runtime(db: sqlite3.Connection, runtime: str) -> list[ProjectRow]:
    """Those that were made from a runtime."""
    return list(_select(db, "WHERE runtime = ?", (runtime,)))


def _select(db: sqlite3.Connection, rest: str, values: tuple[str, ...]) -> Iterable[ProjectRow]:
    cursor = db.execute(f"SELECT {_COLUMNS} FROM projects {rest}", values)  # noqa: S608
    for uid, namespace, name, spec, image, runtime, desired, at, key, state in cursor:
        yield ProjectRow(
            uid=uid,
            namespace=namespace,
            name=name,
            spec=unpack(spec, ProjectSpec),
            image=unpack(image, Image),
            runtime=runtime,
            desired=Desired(desired),
            created_at=at,
            host_key=key,
            state=unpack(state, State),
        )


@lru_cache(maxsize=4096)
def _public_key(host_key: str) -> str:
    key = serialization.load_ssh_private_key(host_key.encode(), password=None)
    line = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return line.decode()
