"""Projects: what people desire of them, and what was observed."""

import enum

import msgspec

from devbox.model.grants import Scope


class Desired(enum.StrEnum):
    """What people want a project to be."""

    RUNNING = "running"
    STOPPED = "stopped"
    DELETED = "deleted"


class Phase(enum.StrEnum):
    """What a project is seen to be."""

    PREPARING = "preparing"
    """Its runtime or its save is being built or fetched."""
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    BACKING_OFF = "backing-off"
    """Its box keeps ending; the message says why and when it is tried again."""
    FAILED = "failed"
    DELETING = "deleting"


class WhenBusy(enum.StrEnum):
    """What a live save does when files change faster than they can be copied."""

    RETRY = "retry"
    PER_FILE = "per-file"


class Port(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A port that a program in the box listens on."""

    port: int
    name: str = ""


class Resources(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of a box. Zero means no bound of its own."""

    cpus: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0
    """Of changed files on the node; zero is the server's default. Holds at once."""


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What of an image's config matters to a box (OCI image spec, config)."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""


class Image(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image in the cluster's registry, by digest: a moved tag never changes what a box runs."""

    repository: str
    """Without the registry's host, such as `runtimes/python` or `projects/<uid>`."""
    digest: str
    """Of the manifest."""
    architecture: str
    config: ImageConfig = ImageConfig()
    layers: int = 0


class ProjectSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person asked for."""

    runtime: str
    """`python`, a release as `hello:v1` or `namespace/hello:v1`, a save as `hello@save-12`, or
    `image:REFERENCE`."""
    resources: Resources = Resources()
    ports: tuple[Port, ...] = ()
    env: dict[str, str] = {}
    run_image_command: bool = False
    """Run the image's own entrypoint and command under init (a database)."""
    autosave_minutes: int = 10
    """0 is off."""
    when_busy: WhenBusy = WhenBusy.RETRY


class ProjectStatus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the controller observed; nobody else writes it."""

    phase: Phase = Phase.STOPPED
    message: str = ""
    """A sentence for people: why, what is safe, what happens next."""
    box_ip: str = ""
    """Empty while the agent cannot be dialled."""
    pod_uid: str = ""
    started_at: float = 0.0
    """Unix seconds."""
    restarts: int = 0
    head_seq: int = 0
    """Sequence of the newest recorded save; 0 is none."""
    upper_node: str = ""
    """The node that keeps the upper; empty when none does."""
    upper_bytes: int = 0


class Project(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One project as everybody sees it. Holds no secret."""

    uid: str
    namespace: str
    name: str
    spec: ProjectSpec
    image: Image
    """What its runtime was resolved to when it was created; never changes."""
    desired: Desired
    generation: int
    """Of the newest box; each start adds one."""
    host_key: str
    """The project's public SSH host key, one line in OpenSSH's form."""
    created_at: float
    status: ProjectStatus = ProjectStatus()


class TokenInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project's token without its secret."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: float
    expires_at: float = 0.0
    """Unix seconds; 0 is never."""


class User(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person who uses the API. An admin sees every namespace."""

    name: str
    admin: bool
    namespaces: tuple[str, ...] = ()
    token_id: str
