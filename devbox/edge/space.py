"""How full the file system is that holds uppers and saves, and what follows from it."""

import shutil
from pathlib import Path

import msgspec

from devbox.model.errors import NoSpace

LOW = 0.10
"""Below this part free, uppers that a save holds and images that nothing uses are given back ..."""
HIGH = 0.15
"""... until this part is free."""
FLOOR = 0.02
"""Below this part free, nothing new starts: what is left is for saves."""


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a file system."""

    free: int
    total: int

    @property
    def low(self) -> bool:
        """Uppers that a save holds should go."""
        return self.free < LOW * self.total

    @property
    def high(self) -> bool:
        """Enough was given back."""
        return self.free >= HIGH * self.total

    @property
    def at_floor(self) -> bool:
        """No box should start."""
        return self.free < FLOOR * self.total

    def __str__(self) -> str:
        part = 100 * self.free / self.total if self.total else 0.0
        return f"{self.free / (1 << 30):.1f} GiB are free ({part:.0f} %)"


def space_of(path: Path) -> Space:
    """Of the file system at a path that exists."""
    usage = shutil.disk_usage(path)
    return Space(free=usage.free, total=usage.total)


def check_space(path: Path) -> None:
    """Raises NoSpace when no box may start."""
    space = space_of(path)
    if space.at_floor:
        raise NoSpace(
            f"the server's disk is nearly full: {space}, so no box is started",
            "Every file is kept, and saves of running boxes go on. Free some space, or delete "
            "projects that nobody needs; then start it again.",
        )
