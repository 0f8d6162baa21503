"""What a project's own file, /project/devbox.yaml, says of its saves and releases.

The file is the box's to write, so nothing in it is trusted: it is read from the upper without
following a link, up to a bound, and no pattern may leave out the project itself.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from node_agent.saver.rules import Rules

_MOST_BYTES = 64 << 10
_MOST_PATTERNS = 100
_MOST_LETTERS = 500
_HOME = "/project"
_FILE = "devbox.yaml"
_ALWAYS = (b"project", b"project/devbox.yaml")


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """Shell patterns of absolute paths in the box."""

    saves: tuple[str, ...] = ()
    """Left out of saves, and so of releases."""
    releases: tuple[str, ...] = ()
    """Left out of releases too."""
    mistake: str = ""
    """A sentence when the file cannot be understood; nothing is left out then."""


def read_wishes(upper: Path) -> Wishes | None:
    """Of the upper; None when the upper does not hold the file, which lies below it or nowhere."""
    try:
        with _opened(upper) as file:
            raw = _read(file)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return None
        return Wishes(mistake=f"{_HOME}/{_FILE} is no plain file, so nothing is left out.")
    if raw is None:
        # A whiteout: the file was deleted.
        return Wishes()
    try:
        return parse(raw)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        said = str(error).splitlines()[0] if str(error) else "it is nested too deeply"
        return Wishes(mistake=f"{_HOME}/{_FILE} cannot be understood: {said}. Nothing is left out.")


def parse(raw: bytes) -> Wishes:
    """Raises ValueError, yaml.YAMLError, RecursionError."""
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES >> 10} KiB")
    told = yaml.safe_load(raw)
    return Wishes(saves=_patterns(told, "saves"), releases=_patterns(told, "releases"))


def _patterns(told: Any, section: str) -> tuple[str, ...]:
    found = told.get(section) if isinstance(told, dict) else None
    listed = found.get("exclude") if isinstance(found, dict) else None
    if listed is None:
        return ()
    if not isinstance(listed, list) or len(listed) > _MOST_PATTERNS:
        raise ValueError(f"{section}.exclude is no list of up to {_MOST_PATTERNS} paths")
    return tuple(_pattern(entry, section) for entry in listed)


def _pattern(entry: Any, section: str) -> str:
    if not isinstance(entry, str) or not 0 < len(entry) <= _MOST_LETTERS or "\0" in entry:
        raise ValueError(f"{section}.exclude holds something that is no path")
    pattern = entry.rstrip("/")
    if not pattern.startswith("/"):
        pattern = f"{_HOME}/{pattern.removeprefix('./')}"
    rules = Rules((pattern,))
    if not entry.strip("/") or any(rules.excludes(path) for path in _ALWAYS):
        raise ValueError(f"{section}.exclude would leave out {_HOME} or {_FILE} itself: {entry}")
    return pattern


@contextlib.contextmanager
def _opened(upper: Path) -> Iterator[int]:
    """The file, opened so that neither a link nor a FIFO can be put in its place."""
    with contextlib.ExitStack() as stack:
        at: int | None = None
        for name in (str(upper), _HOME.lstrip("/")):
            flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            at = os.open(name, flags, dir_fd=at)
            stack.callback(os.close, at)
        facts = os.stat(_FILE, dir_fd=at, follow_symlinks=False)
        flags = os.O_PATH | os.O_NOFOLLOW if stat.S_ISCHR(facts.st_mode) else os.O_RDONLY
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        file = os.open(_FILE, flags, dir_fd=at)
        stack.callback(os.close, file)
        yield file


def _read(file: int) -> bytes | None:
    facts = os.fstat(file)
    if stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0:
        return None
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "no plain file")
    parts = []
    left = _MOST_BYTES + 1
    while left and (part := os.read(file, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
