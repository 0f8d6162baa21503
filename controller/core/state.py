"""What the controller has observed of one project: the durable state of the core.

Owns the form in which it is stored. Holds nothing that cannot be derived again or stored.
"""

import enum
import uuid

import msgspec

from devbox.model.projects import Desired, Image, Phase, ProjectStatus
from devbox.model.saves import Save


class BoxStep(enum.StrEnum):
    """How far a box came."""

    STARTING = "starting"
    """The pod driver was told to make it."""
    UP = "up"
    """Its first process runs; the agent has not answered yet."""
    SERVING = "serving"
    SILENT = "silent"
    """The agent answered before and does not now."""
    REFUSING = "refusing"
    """The agent runs and refuses to serve."""
    ENDED = "ended"
    """It must be cleared away."""
    STOPPING = "stopping"
    """The pod driver was told to remove it."""


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """The one box of a project."""

    pod_uid: str
    generation: int
    image: Image
    needs_upper: bool = False
    """The node reported the upper that it is to start with."""
    step: BoxStep
    ip: str = ""
    up_at: float = 0.0
    """Unix seconds; 0 before its first process ran."""
    served_at: float = 0.0
    """When the agent answered first."""


class Upper(msgspec.Struct, frozen=True, kw_only=True):
    """The newest upper that a node keeps."""

    node: str
    generation: int
    image: Image
    bytes: int = 0
    seen: bool = False
    """The node reported it; else it is only known that a box was to begin it."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The newest recorded save."""

    generation: int
    seq: int
    image: Image

    @property
    def order(self) -> tuple[int, int]:
        """Saves are ordered by this, never by clock."""
        return (self.generation, self.seq)


class Restore(msgspec.Struct, frozen=True, kw_only=True):
    """A save that is to be the newest state again."""

    order_id: str
    seq: int


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything observed of one project."""

    phase: Phase = Phase.STOPPED
    message: str = ""
    generation: int = 0
    lineage: int = 0
    """The generation that began the upper boxes use now. Saves of older ones are strays."""
    base: Image | None = None
    """The runtime's copy in the project's own repository, once it is there."""
    preparing: str = ""
    """How the preparation goes."""
    refusal: str = ""
    """Why it can never be started as it is."""
    box: Box | None = None
    last_pod_uid: str = ""
    upper: Upper | None = None
    head: Head | None = None
    restore: Restore | None = None
    """Under way: no box starts until the node recorded it, or refused."""
    failures: int = 0
    """Ends of boxes in a row, for the back-off."""
    restarts: int = 0
    """Ends of boxes since somebody wanted it running."""
    retry_at: float = 0.0
    why: str = ""
    """Why the last box ended by itself."""
    full: str = ""
    """Why no box starts until somebody wants one: the last one had written all that it may."""
    started_at: float = 0.0
    stopped_at: float = 0.0
    dropped: bool = False
    """The node says that nothing of the project is left."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The project that the core decides about, and where."""

    uid: str
    desired: Desired
    node: str


def pod_uid(project_uid: str, generation: int) -> str:
    """The pod UID of a generation: the same one however often the step is taken again."""
    return str(uuid.uuid5(uuid.UUID(project_uid), f"box {generation}"))


def status(state: State) -> ProjectStatus:
    """What people see of it."""
    box, upper, head = state.box, state.upper, state.head
    serving = box is not None and box.step is BoxStep.SERVING
    return ProjectStatus(
        phase=state.phase,
        message=state.message,
        box_ip=box.ip if box and serving else "",
        pod_uid=box.pod_uid if box else "",
        started_at=state.started_at if box else 0.0,
        restarts=state.restarts,
        head_seq=head.seq if head else 0,
        upper_node=upper.node if upper else "",
        upper_bytes=upper.bytes if upper else 0,
    )


def is_stray(state: State, save: Save) -> bool:
    """Whether a save comes from a node that was left behind: it never becomes the head."""
    newest = state.head.generation if state.head else 0
    return save.generation < max(newest, state.lineage)
