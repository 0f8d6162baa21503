"""Deletes bundle trees that nobody needs any more: not the current one, and mounted in no box.

Owns no building. A box keeps the tree that it started with, so a tree may be needed long after it
was replaced; whether one is, every mount namespace of this machine is asked.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_BASE = ".base-"
_LEFT = ".old-"


def prune(out: Path, base_name: str) -> list[str]:
    """Delete what is not needed, and return its names. Call with nobody building.

    A box that is being made while its tree goes fails to start and is made again with the new one.
    """
    current = Path(os.path.realpath(out / "current")).name
    kept = {current, f"{_BASE}{base_name}"}
    mounted = set(_mounted())
    old = [path for path in _trees(out) if path.name not in kept and path.name not in mounted]
    for path in old:
        # A tree that is half gone must not be taken for a whole one.
        gone = path.with_name(f"{_LEFT}{path.name.lstrip('.')}")
        path.rename(gone)
    for path in sorted(out.glob(f"{_LEFT}*")):
        shutil.rmtree(path)
    return [path.name for path in old]


def _trees(out: Path) -> list[Path]:
    """Whole trees and bases, but nothing that only begins to be one."""
    found = [path for path in out.iterdir() if path.is_dir() and not path.is_symlink()]
    return sorted(p for p in found if p.name.startswith(_BASE) or not p.name.startswith("."))


def _mounted() -> Iterator[str]:
    """Last names of all directories that are mounted somewhere, in any mount namespace."""
    seen = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            namespace = os.readlink(process / "ns" / "mnt")
            if namespace in seen:
                continue
            lines = (process / "mountinfo").read_text().splitlines()
            seen.add(namespace)
            for line in lines:
                yield line.split()[3].rpartition("/")[2]
