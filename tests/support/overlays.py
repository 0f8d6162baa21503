"""A real overlay mount for tests, as containerd makes it for a box."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Overlay:
    """`merged` is what a box sees; `upper` is what is saved."""

    def __init__(self, directory: Path) -> None:
        self.base = directory / "base"
        self.upper = directory / "upper"
        self.work = directory / "work"
        self.merged = directory / "merged"
        for path in (self.base, self.upper, self.work, self.merged):
            path.mkdir(parents=True)

    def mount(self) -> None:
        options = f"lowerdir={self.base},upperdir={self.upper},workdir={self.work},index=off"
        command = ["mount", "-t", "overlay", "overlay", "-o", options, str(self.merged)]
        subprocess.run(command, check=True)

    def unmount(self) -> None:
        if os.path.ismount(self.merged):
            subprocess.run(["umount", "-l", str(self.merged)], check=True)


@contextmanager
def overlay(directory: Path) -> Iterator[Overlay]:
    """Not mounted yet: fill `base` first."""
    made = Overlay(directory)
    try:
        yield made
    finally:
        made.unmount()
