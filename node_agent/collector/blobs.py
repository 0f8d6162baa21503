"""Whose the registry's blobs are: read from the registry's directory, every blob counted once.

A blob that a runtime holds is the runtime's, whoever else refers to it; of the others, one that
several projects refer to is shared; and one that a single project refers to is a release's as soon
as any release of the project needs it. Knows the folders of distribution 2.8, changes nothing.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

_PROJECTS, _RUNTIMES = "projects/", "runtimes/"
_RELEASE = "release-"
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass
class Blobs:
    """Bytes of a registry by who needs them."""

    runtimes: dict[str, int] = field(default_factory=dict)
    saves: dict[str, int] = field(default_factory=dict)
    releases: dict[str, int] = field(default_factory=dict)
    shared: int = 0
    unused: int = 0


def read_blobs(directory: Path) -> Blobs:
    """Of a registry's directory. Blobs that come or go meanwhile may be counted or not."""
    root = directory / "docker" / "registry" / "v2"
    sizes = dict(_sizes(root / "blobs" / "sha256"))
    owners: dict[str, set[str]] = {}
    released: dict[str, set[str]] = {}
    for name, path in _repositories(root / "repositories"):
        for blob in _links(path):
            owners.setdefault(blob, set()).add(name)
        for blob in _of_releases(path, root):
            released.setdefault(blob, set()).add(name)
    found = Blobs(unused=_tree(directory / "aside") + _uploads(root / "repositories"))
    for blob, size in sizes.items():
        _count(found, size, owners.get(blob, set()), released.get(blob, set()))
    return found


def _count(found: Blobs, size: int, owners: set[str], releasing: set[str]) -> None:
    runtimes = sorted(name for name in owners if name.startswith(_RUNTIMES))
    projects = {name for name in owners if name.startswith(_PROJECTS)}
    if runtimes:
        _add(found.runtimes, runtimes[0].removeprefix(_RUNTIMES), size)
    elif len(projects) > 1:
        found.shared += size
    elif projects:
        (name,) = projects
        uid = name.removeprefix(_PROJECTS)
        _add(found.releases if name in releasing else found.saves, uid, size)
    elif owners:
        _add(found.runtimes, min(owners), size)
    else:
        found.unused += size


def _add(to: dict[str, int], name: str, size: int) -> None:
    to[name] = to.get(name, 0) + size


def _sizes(blobs: Path) -> Iterator[tuple[str, int]]:
    for two in _names(blobs):
        for name in _names(blobs / two):
            if _HEX.fullmatch(name):
                try:
                    yield name, _on_disk(blobs / two / name / "data")
                except OSError:
                    continue


def _repositories(root: Path) -> Iterator[tuple[str, Path]]:
    waiting = [root]
    while waiting:
        at = waiting.pop()
        names = _names(at)
        waiting += [at / name for name in names if not name.startswith("_")]
        if any(name.startswith("_") for name in names):
            yield str(at.relative_to(root)), at


def _links(repository: Path) -> Iterator[str]:
    yield from _names(repository / "_layers" / "sha256")
    yield from _names(repository / "_manifests" / "revisions" / "sha256")


def _of_releases(repository: Path, root: Path) -> set[str]:
    """Blobs that the project's releases need."""
    found: set[str] = set()
    for tag in _names(repository / "_manifests" / "tags"):
        if not tag.startswith(_RELEASE):
            continue
        link = repository / "_manifests" / "tags" / tag / "current" / "link"
        try:
            digest = link.read_text().strip().removeprefix("sha256:")
            raw = (root / "blobs" / "sha256" / digest[:2] / digest / "data").read_bytes()
            told = msgspec.json.decode(raw, type=_Manifest)
        except (OSError, msgspec.MsgspecError):
            continue
        found.add(digest)
        found |= {blob.digest.removeprefix("sha256:") for blob in (told.config, *told.layers)}
    return found


def _uploads(repositories: Path) -> int:
    return sum(_tree(path / "_uploads") for _, path in _repositories(repositories))


def _tree(directory: Path) -> int:
    total = 0
    for at, _, names in os.walk(directory):
        for name in names:
            try:
                total += _on_disk(Path(at) / name)
            except OSError:
                continue
    return total


def _on_disk(path: Path) -> int:
    return path.lstat().st_blocks * 512


def _names(directory: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


class _Blob(msgspec.Struct, frozen=True):
    digest: str


class _Manifest(msgspec.Struct, frozen=True):
    config: _Blob
    layers: tuple[_Blob, ...]
