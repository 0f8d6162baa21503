"""Saves and releases: the upper as image layers, pushed."""

import enum
from collections.abc import Collection, Mapping
from typing import Any

import msgspec


class SaveReason(enum.StrEnum):
    """Why a save was made."""

    ASKED = "asked"
    STOPPED = "stopped"
    CRASHED = "crashed"
    REMOVED = "removed"
    AUTOSAVE = "autosave"
    RELEASE = "release"
    RECOVERY = "recovery"
    """Of an older generation, from a node that came back; never the head."""
    RESTORED = "restored"
    """An earlier save is the newest again: the same image under a new sequence."""


class Compression(enum.StrEnum):
    """How new layers are packed."""

    ZSTD = "zstd"
    GZIP = "gzip"
    """Larger and slower, and read by every container engine and registry."""


class SaveStep(enum.StrEnum):
    """How far a save came. The moves are `SAVE_MOVES`."""

    INTENT = "intent"
    """Somebody wants it; durable."""
    WRITTEN = "written"
    """Layers and config are in the registry; no manifest names them yet."""
    PUSHED = "pushed"
    """The manifest is in the registry."""
    RECORDED = "recorded"
    """The controller knows it. Only now may disk be given back."""
    FAILED = "failed"
    """It will be tried again; the upper is kept."""
    DROPPED = "dropped"
    """Joined with a newer save of the same upper, or its project was deleted."""


SAVE_MOVES: dict[SaveStep, frozenset[SaveStep]] = {
    SaveStep.INTENT: frozenset({SaveStep.WRITTEN, SaveStep.FAILED, SaveStep.DROPPED}),
    # Back to INTENT when its writer was killed: it is made again.
    SaveStep.WRITTEN: frozenset(
        {SaveStep.INTENT, SaveStep.PUSHED, SaveStep.FAILED, SaveStep.DROPPED}
    ),
    SaveStep.PUSHED: frozenset({SaveStep.RECORDED, SaveStep.FAILED, SaveStep.DROPPED}),
    SaveStep.FAILED: frozenset({SaveStep.INTENT, SaveStep.DROPPED}),
    SaveStep.RECORDED: frozenset(),
    SaveStep.DROPPED: frozenset(),
}


class UpperState(enum.StrEnum):
    """What an upper holds that no save does. The moves are `UPPER_MOVES`."""

    CLEAN = "clean"
    """Nothing, once the save that was begun last is recorded."""
    DIRTY = "dirty"
    """A box may have written to it since a save of it was begun."""
    COLLECTED = "collected"
    """A recorded save holds it all, and its directory is going."""
    DROPPED = "dropped"
    """Its project was deleted, and its directory is going."""


UPPER_MOVES: dict[UpperState, frozenset[UpperState]] = {
    UpperState.CLEAN: frozenset({UpperState.DIRTY, UpperState.COLLECTED, UpperState.DROPPED}),
    UpperState.DIRTY: frozenset({UpperState.CLEAN, UpperState.DROPPED}),
    UpperState.COLLECTED: frozenset(),
    UpperState.DROPPED: frozenset(),
}


def save_diagram() -> str:
    """`SAVE_MOVES` as a Mermaid state diagram."""
    return _diagram(SAVE_MOVES, SaveStep.INTENT)


def upper_diagram() -> str:
    """`UPPER_MOVES` as a Mermaid state diagram."""
    return _diagram(UPPER_MOVES, UpperState.DIRTY)


def _diagram(moves: Mapping[Any, Collection[enum.StrEnum]], first: enum.StrEnum) -> str:
    lines = ["stateDiagram-v2", f"    [*] --> {first}"]
    for before, afters in moves.items():
        lines += [f"    {before} --> {after}" for after in sorted(afters)]
        lines += [] if afters else [f"    {before} --> [*]"]
    return "\n".join([*lines, ""])


class Save(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One save, in progress or done. Ordered by (generation, seq), never by clock."""

    project_uid: str
    seq: int
    """Counted per project by the node's journal."""
    generation: int
    reason: SaveReason
    step: SaveStep
    order_id: str = ""
    """Of the order that asked for it; empty when the shim or the clock did."""
    digest: str = ""
    """Of the image's manifest, once pushed."""
    layers: int = 0
    """Above the runtime."""
    new_bytes: int = 0
    """Compressed bytes that this save added to the registry."""
    total_bytes: int = 0
    """Compressed bytes of all its layers above the runtime."""
    done_bytes: int = 0
    """Read from the upper so far, while in progress."""
    expected_bytes: int = 0
    """To be read from the upper, as far as known."""
    started_at: float = 0.0
    """Unix seconds."""
    duration_s: float = 0.0
    frozen_ms: float = 0.0
    """How long a running box stood still for it."""
    note: str = ""
    """What a person should know of it: an error, or that it is consistent per file only."""


class Change(enum.StrEnum):
    """What became of a path between two saves."""

    ADDED = "added"
    CHANGED = "changed"
    """In content, kind, mode, owner or attributes; times do not count."""
    DELETED = "deleted"


class PathChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One path that is not the same in two saves."""

    path: str
    """In the box, absolute; bytes that are no UTF-8 as \\xNN."""
    change: Change
    old_bytes: int = 0
    new_bytes: int = 0


class SaveDiff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is different in two saves of a project: one page, in order of path."""

    older: int
    newer: int
    changes: tuple[PathChange, ...] = ()
    added: int = 0
    """Paths in all, whatever the page shows."""
    changed: int = 0
    deleted: int = 0
    next_after: str = ""
    """Ask again after this path for more; empty: this is the end."""


class Release(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A save with a version and notes. Never changes."""

    project_uid: str
    version: str
    notes: str
    save_seq: int
    digest: str
    total_bytes: int
    created_at: float
