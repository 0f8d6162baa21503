"""Overlay mounts: what a snapshot's mount says, which uppers are mounted, and the links to them.

Knows paths and mount options only: no journal, no project, no containerd.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from devbox.model.errors import Conflict, Unavailable

_PARAMETERS = Path("/sys/module/overlay/parameters")
_UNSUPPORTED = ("metacopy", "redirect_dir")
_OCTAL = re.compile(r"\\([0-7]{3})")
NOWHERE = Path("/devbox-retired-link")
"""Where a retired link leads: nothing is there, so mounting through it fails."""


class MountLike(Protocol):
    """A mount as containerd describes it."""

    @property
    def type(self) -> str:
        """The file system."""

    @property
    def options(self) -> Sequence[str]:
        """As mount(8) takes them."""


class Overlay(msgspec.Struct, frozen=True, kw_only=True):
    """Where an active snapshot's directories lie."""

    upperdir: Path
    lowers: tuple[Path, ...]
    """The topmost first."""


def overlay_of(mounts: Sequence[MountLike], parameters: Path = _PARAMETERS) -> Overlay:
    """The directories of a snapshot. Raises Conflict when an upper cannot be kept under it."""
    if len(mounts) != 1 or mounts[0].type != "overlay":
        raise Conflict(
            "the container's root is no overlay", "A box needs containerd's overlayfs snapshotter."
        )
    options = dict(option.partition("=")[::2] for option in mounts[0].options)
    if "upperdir" not in options or "lowerdir" not in options:
        raise Conflict("the container's root is read-only", "A box needs a writable one.")
    for name in _UNSUPPORTED:
        if _is_on(options.get(name) or _default(parameters, name)):
            raise Conflict(
                f"overlay mounts have {name} on, and saves of such an upper would be wrong",
                f"Nothing is lost. Write N to {parameters / name} and start again.",
            )
    if "userxattr" in options:
        raise Conflict(
            "overlay mounts keep their marks in user.* attributes here, which saves do not read",
            "A box needs a containerd that runs as root.",
        )
    if any(name in options for name in ("uidmap", "gidmap")):
        raise Conflict(
            "the pod has a user namespace of its own, and its files would have shifted owners",
            "Start the box without one (hostUsers: true).",
        )
    lowers = tuple(Path(path) for path in options["lowerdir"].split(":"))
    return Overlay(upperdir=Path(options["upperdir"]), lowers=lowers)


def _is_on(value: str) -> bool:
    return value.strip().lower() in {"on", "y", "1", "follow"}


def _default(parameters: Path, name: str) -> str:
    try:
        return (parameters / name).read_text()
    except FileNotFoundError:
        return ""


def mounted_uppers(mountinfo: str | None = None) -> set[Path]:
    """The real paths of all directories that are an overlay's upper now (proc(5), mountinfo)."""
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    return {Path(os.path.realpath(path)) for path in _upperdirs(text.splitlines())}


def _upperdirs(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        _, _, rest = line.partition(" - ")
        kind, _, options = rest.partition(" ")
        if kind != "overlay":
            continue
        for option in options.rpartition(" ")[2].split(","):
            if option.startswith("upperdir="):
                yield _OCTAL.sub(lambda found: chr(int(found[1], 8)), option[len("upperdir=") :])


def link(upperdir: Path, upper: Path) -> None:
    """Put a link to `upper` where the snapshot has its empty directory. Twice is no harm.

    Raises Conflict when something was written there: a box that ran without its upper.
    """
    if upperdir.is_symlink() and leads_to(upperdir, upper):
        return
    try:
        if upperdir.is_symlink():
            upperdir.unlink()
        else:
            with contextlib.suppress(FileNotFoundError):
                upperdir.rmdir()
        upperdir.symlink_to(upper)
    except OSError as error:
        raise Conflict(f"the container's own upper cannot be replaced: {error}") from error


def leads_to(upperdir: Path, upper: Path) -> bool:
    """Is `upperdir` a link to `upper`?"""
    try:
        return Path(os.readlink(upperdir)) == upper
    except OSError:
        return False


def retire(upperdir: Path, upper: Path) -> None:
    """If `upperdir` is a link to `upper`, make it lead nowhere: the container cannot start again.

    A link, not nothing: containerd measures the path now and then.
    """
    if not leads_to(upperdir, upper):
        return
    aside = upperdir.with_name(upperdir.name + ".retired")
    with contextlib.suppress(FileNotFoundError):
        aside.unlink()
    aside.symlink_to(NOWHERE)
    aside.replace(upperdir)


def check_free(upper: Path) -> None:
    """Raises Unavailable while a mount uses the upper."""
    if Path(os.path.realpath(upper)) in mounted_uppers():
        raise Unavailable(
            "another container still uses the project's files",
            "Nothing is lost; the box starts as soon as that container has ended.",
        )
