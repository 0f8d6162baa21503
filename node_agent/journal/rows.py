"""What the journal holds, as frozen values."""

import msgspec

from devbox.model.projects import Image
from devbox.model.saves import Save, SaveReason, UpperState


class Upper(msgspec.Struct, frozen=True, kw_only=True):
    """A project's changed files on this node, and what they stand on."""

    project_uid: str
    path: str
    """Of the directory that overlayfs takes as upperdir."""
    image: Image
    chain_id: str
    """Of the image's layers (OCI image spec, ChainID): an upper stands on no other."""
    generation: int
    """Of the last box that was linked to it."""
    state: UpperState
    bytes: int = 0
    """As the last save counted them."""

    @property
    def dirty(self) -> bool:
        """A box ran on it since its newest save was begun."""
        return self.state is UpperState.DIRTY


class Box(msgspec.Struct, frozen=True):
    """A container that the commit-shim linked to an upper."""

    container_id: str
    sandbox_id: str
    pod_uid: str
    project_uid: str
    generation: int
    may_write: bool = True
    """Its processes may still run."""


class PendingSave(msgspec.Struct, frozen=True, kw_only=True):
    """A save and what only the node needs to know of it."""

    save: Save
    tags: tuple[str, ...]
    attempts: int
    retry_at: float
    """Unix seconds before which it is not tried again."""
    image: Image | None
    """Of a pushed save, and of one that is to be restored."""
    reported: bool
    """The controller knows it as it stands here."""
    written: bool = False
    """It was WRITTEN once, so its image may be in the registry."""


WAITS_FOR_NOBODY = frozenset(
    {SaveReason.STOPPED, SaveReason.CRASHED, SaveReason.REMOVED, SaveReason.AUTOSAVE}
)
"""Reasons whose saves are joined with a newer one of the same upper: no person asked for them."""
