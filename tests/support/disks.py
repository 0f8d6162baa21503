"""Small file systems in memory that can be filled and freed, for tests of full disks."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FILLER = ".filler"
_PIECE = 64 << 10


@dataclass(frozen=True)
class Disk:
    """A mounted file system."""

    path: Path

    def fill(self, *, leave: int = 0) -> None:
        """Use all of its space but `leave` bytes."""
        with contextlib.suppress(OSError), (self.path / _FILLER).open("ab", buffering=0) as file:
            while True:
                file.write(bytes(_PIECE))
        if leave:
            with (self.path / _FILLER).open("r+b") as file:
                file.truncate(max(0, file.seek(0, 2) - leave))

    def free(self) -> None:
        """Give the space back."""
        (self.path / _FILLER).unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(path: Path, *, mebibytes: int) -> Iterator[Disk]:
    """Mounted while the block runs."""
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={mebibytes}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "devbox-test", path], check=True)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", path], check=True)
