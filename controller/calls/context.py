"""What every call needs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from controller.calls.questions import Questions
from controller.store.database import Database
from controller.store.projects import ProjectRow
from controller.turns import Turns
from devbox.edge.layout import ServerSettings
from devbox.model.nodes import DiffAnswer, DiffOrder, DiskAnswer, DiskOrder


@dataclass(frozen=True)
class Context:
    """The parts that calls work on."""

    db: Database
    turns: Turns
    settings: ServerSettings
    clock: Callable[[], float]
    architecture: str
    """Of this machine, in OCI's words."""
    grant_key: str
    """The gateway's public key, base64 of the 32 raw bytes."""
    logs: Callable[[ProjectRow, int], tuple[str, ...]]
    """The last lines of a project's box."""
    disk: Path
    """Where uppers lie."""
    diffs: Questions[DiffOrder, DiffAnswer] = field(
        default_factory=lambda: Questions("compare the saves")
    )
    disks: Questions[DiskOrder, DiskAnswer] = field(
        default_factory=lambda: Questions("measure its disk")
    )


class Calls:
    """Base of the groups of calls."""

    def __init__(self, context: Context) -> None:
        self._c = context
