"""What can happen to a project, and what the core orders in answer.

Owns the two vocabularies; `step` gives them meaning.
"""

import msgspec

from controller.core.state import Box, Restore, Upper
from devbox.model.projects import Desired, Image


class Wanted(msgspec.Struct, frozen=True):
    """Somebody said what they want; it was `before`."""

    before: Desired


class Restarted(msgspec.Struct, frozen=True):
    """The controller began anew and remembers only what it stored."""


class Tick(msgspec.Struct, frozen=True):
    """Time went on."""


class Preparing(msgspec.Struct, frozen=True):
    """News of the runtime that it waits for."""

    sentence: str


class Prepared(msgspec.Struct, frozen=True):
    """Its runtime's copy is in its own repository."""

    image: Image


class Refused(msgspec.Struct, frozen=True):
    """Its runtime can not be had."""

    sentence: str


class UpperSeen(msgspec.Struct, frozen=True):
    """What a node said of its upper."""

    upper: Upper | None


class SaveRecorded(msgspec.Struct, frozen=True):
    """A save that is no stray is in the registry and in the store."""

    generation: int
    seq: int
    image: Image


class RestoreWanted(msgspec.Struct, frozen=True):
    """Somebody wants an earlier save back; the state of that moment is recorded."""

    restore: Restore


class Restored(msgspec.Struct, frozen=True):
    """The node saved the upper, gave it up, and recorded the earlier save as the newest."""

    order_id: str


class RestoreRefused(msgspec.Struct, frozen=True):
    """The node cannot do it, and touched nothing."""

    order_id: str


class Dropped(msgspec.Struct, frozen=True):
    """The node has removed everything of it."""


class BoxUp(msgspec.Struct, frozen=True):
    """The box's first process runs."""

    generation: int
    ip: str


class BoxServing(msgspec.Struct, frozen=True):
    """The agent answers."""

    generation: int


class BoxSilent(msgspec.Struct, frozen=True):
    """The agent does not answer any more."""

    generation: int


class BoxRefusing(msgspec.Struct, frozen=True):
    """The agent refuses to serve, and says why."""

    generation: int
    sentence: str


class BoxFull(msgspec.Struct, frozen=True):
    """The box has written all that it may."""

    generation: int
    sentence: str


class BoxEnded(msgspec.Struct, frozen=True):
    """The box ended by itself, or could not be started."""

    generation: int
    sentence: str


class BoxGone(msgspec.Struct, frozen=True):
    """Nothing of the box is left at containerd."""

    generation: int


RuntimeEvent = Preparing | Prepared | Refused
RestoreEvent = RestoreWanted | Restored | RestoreRefused
BoxEvent = BoxUp | BoxServing | BoxSilent | BoxRefusing | BoxFull | BoxEnded | BoxGone
Event = (
    Wanted
    | Restarted
    | Tick
    | RuntimeEvent
    | UpperSeen
    | SaveRecorded
    | RestoreEvent
    | Dropped
    | BoxEvent
)


class StartBox(msgspec.Struct, frozen=True):
    """Make the box. Answers: BoxUp or BoxEnded, later the others."""

    box: Box


class StopBox(msgspec.Struct, frozen=True):
    """Stop and remove it, whatever is there of it. Answer: BoxGone."""

    box: Box


class AdoptBox(msgspec.Struct, frozen=True):
    """Look whether the box still runs and watch it. Answers as for StartBox, or BoxGone."""

    box: Box


class Wake(msgspec.Struct, frozen=True):
    """Send a Tick at this time (Unix seconds)."""

    at: float


class Forget(msgspec.Struct, frozen=True):
    """Delete every row of the project."""


Action = StartBox | StopBox | AdoptBox | Wake | Forget
