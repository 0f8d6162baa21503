"""What the supervisor says of itself, in one file that everybody on the machine's side may read."""

import enum
import os
from pathlib import Path

import msgspec

from devbox.edge.layout import Layout


class Stage(enum.StrEnum):
    """How far the server is."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


class PartState(msgspec.Struct, frozen=True, kw_only=True):
    """One part."""

    pid: int
    """0 while it is down."""
    started_at: float
    """Unix seconds."""
    restarts: int = 0
    """How often it ended by itself and was started again."""
    ready: bool = False
    said: str = ""
    """How it last ended, if it ever did."""


class ServerState(msgspec.Struct, frozen=True, kw_only=True):
    """The whole server."""

    pid: int
    """Of the supervisor."""
    born: int
    """Its start time in clock ticks since boot (proc(5), stat, field 22): pids come again."""
    stage: Stage
    message: str = ""
    fraction: float | None = None
    """Of a long step, 0 to 1."""
    hint: str = ""
    code: str = ""
    """Of the error, when it failed."""
    url: str = ""
    parts: dict[str, PartState] = {}


def born(pid: int) -> int:
    """When a process started; 0 when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] == "Z" else int(fields[19])


def read(layout: Layout) -> ServerState | None:
    """The state of a server that lives; None when none does."""
    try:
        state = msgspec.json.decode(layout.server_state.read_bytes(), type=ServerState)
    except (OSError, msgspec.MsgspecError):
        return None
    return state if born(state.pid) == state.born else None


def write(layout: Layout, state: ServerState) -> None:
    """Replace the file at once."""
    draft = layout.server_state.with_suffix(".new")
    draft.write_bytes(msgspec.json.encode(state))
    os.replace(draft, layout.server_state)
