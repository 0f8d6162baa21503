"""What the saver is asked, and what it answers. Travels as JSON lines to the worker and back."""

import msgspec

from devbox.model.projects import Image, WhenBusy
from devbox.model.saves import Compression, SaveStep


class UpperSave(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Save this upper."""

    project_uid: str
    seq: int
    upper: str
    """The upper directory. Nothing above it is a symlink that the box can change."""
    base: Image
    """What the upper stands on."""
    index: str
    """File that holds the index of the last save of this upper; may be missing."""
    repository: str
    """Where the save goes, such as `projects/<uid>`."""
    tags: tuple[str, ...] = ()
    """Without any, the image is kept by its digest only."""
    cgroup: str = ""
    """Freezer directory of the running box; empty when the box is stopped."""
    freeze_limit_ms: int = 500
    when_busy: WhenBusy = WhenBusy.RETRY
    exclude: tuple[str, ...] = ()
    """Shell patterns of absolute paths in the box that stay out of the save."""
    compression: Compression = Compression.ZSTD
    expected_bytes: int = 0
    """To be read in a whole save, as far as known; for the progress only."""
    known: str = ""
    """Digest of the project's newest pushed save. An image of this upper's layers that is another
    one counts as changed even when the index says otherwise: a kill may have come between."""
    only_changes: bool = False
    """Push nothing, not even tags, when nothing changed."""
    full: bool = False
    """Write one whole layer whatever the index says, so that no earlier blob is referred to."""


class SavedImage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A save that is in the registry."""

    image: Image
    changed: bool
    """False: the newest save holds the same; at most tags were put."""
    layers: int
    """Above the runtime."""
    new_bytes: int
    """Compressed bytes that this save added to the registry."""
    total_bytes: int
    """Compressed bytes of all layers above the runtime."""
    upper_bytes: int = 0
    """Of all files that the upper holds."""
    read_bytes: int = 0
    """Bytes of files that were read."""
    frozen_ms: float = 0.0
    note: str = ""
    """What a person should know of it."""


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag="begin", forbid_unknown_fields=True):
    """To the worker: do this."""

    order: UpperSave
    registry_url: str


class Go(msgspec.Struct, frozen=True, kw_only=True, tag="go", forbid_unknown_fields=True):
    """To the worker: the step you told is recorded; go on."""


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """From the worker: bytes of files read so far, and how many there may be (0: unknown)."""

    done: int
    expected: int


class Stepped(msgspec.Struct, frozen=True, kw_only=True, tag="step"):
    """From the worker: this step is done. It waits for Go."""

    step: SaveStep


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """From the worker: the save."""

    saved: SavedImage


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """From the worker: it did not work; nothing that counts was changed."""

    code: str
    message: str
    hint: str = ""


ToWorker = Begin | Go
FromWorker = Progress | Stepped | Done | Failed
