"""What the loop asks of the other rooms. Each is implemented once and faked in the loop's tests."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from devbox.model.disk import Disk
from devbox.model.errors import Conflict
from devbox.model.nodes import BuildOrder, DiffOrder
from devbox.model.projects import Image, WhenBusy
from devbox.model.runtimes import Runtime
from devbox.model.saves import SaveDiff, SaveStep
from node_agent.journal import Upper

Progress = Callable[[int, int], None]
"""(bytes done, bytes expected)."""


class SaveWork(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to save one upper."""

    upper: Upper
    seq: int
    tags: tuple[str, ...]
    cgroup: Path | None
    """Of the running box; None when no process writes."""
    when_busy: WhenBusy
    only_changes: bool = False
    """Push nothing when nothing changed: nobody asked for this save."""
    known: str = ""
    """Digest of the project's newest save that was pushed; empty before the first."""


class SavedImage(msgspec.Struct, frozen=True, kw_only=True):
    """What a save made."""

    image: Image
    changed: bool
    """False: the upper is as the newest save left it, and `image` is that save's."""
    layers: int
    new_bytes: int
    total_bytes: int
    upper_bytes: int
    frozen_ms: float = 0.0
    note: str = ""
    partial: bool = False
    """It lacks files that the project's saves hold: the upper still has what no save does."""


class CannotRelease(Conflict):
    """The release would hold what the project wants left out; trying again does not help."""


class SaveWriter(Protocol):
    """Writes uppers into the registry."""

    async def save(
        self, work: SaveWork, on_step: Callable[[SaveStep], None], progress: Progress
    ) -> SavedImage:
        """Write and push. Tells WRITTEN once all blobs are in the registry, before the manifest."""

    async def tag(self, image: Image, tags: tuple[str, ...]) -> None:
        """Give an image in the registry further tags."""

    async def confirm(self, image: Image) -> None:
        """The registry has all of an image, durably. Raises NotFound, Internal when it has not."""

    async def copy(self, image: Image, repository: str, tag: str) -> Image:
        """Have the image in another repository too."""

    async def forget(self, project_uid: str, digest: str) -> None:
        """Remove one of a project's images. No save of the project may run meanwhile."""

    async def compare(self, order: DiffOrder) -> SaveDiff:
        """What changed between two saves."""

    async def drop(self, project_uid: str) -> None:
        """Remove all that a project has in the registry, and its index."""


class UpperKeeper(Protocol):
    """Removes uppers."""

    async def remove(self, project_uid: str) -> None:
        """Forget and remove the project's upper. Returns once its name is free.

        Raises Unavailable while a box may write to it.
        """

    async def collect(self, project_uid: str) -> None:
        """The same, and Unavailable too when a box ran on it since its newest save was begun."""

    async def idle(self) -> None:
        """Wait until the disk of all that was removed is given back."""


class Containers(Protocol):
    """What containerd runs."""

    async def live(self) -> Mapping[str, bool]:
        """Container id -> its processes run. Raises Unavailable when containerd is down."""

    async def cgroup(self, container_id: str) -> Path | None:
        """The directory that freezes the container; None when it does not run."""

    async def first_process(self, container_id: str) -> int | None:
        """Of a container; None when it does not run."""

    async def forget_images(self, repository: str) -> None:
        """Remove containerd's images of a repository."""

    async def unused_images(self, kept: Collection[str]) -> Sequence[str]:
        """Digests of images that no container uses, without `kept`, longest unused first."""

    async def remove_image(self, digest: str) -> None:
        """Remove an image from containerd. Returns once its disk is given back."""


class DiskMeter(Protocol):
    """Measures the node's disk."""

    async def disk(self) -> Disk:
        """Who uses what, projects by uid alone."""


class RuntimeBuilder(Protocol):
    """Makes runtimes."""

    async def known(self) -> list[Runtime]:
        """All that this node can build, READY where the registry has it."""

    async def build(self, order: BuildOrder, progress: Callable[[float, str], None]) -> Runtime:
        """Build or pull. Raises DevboxError with a sentence for people."""
