"""What a person should know of a save, gathered while it is written."""

import os

_NAMED = 3
LARGE_BYTES = 256 << 20
"""A save that takes more from files says which of them are large."""
_LARGE_PART = 20
"""A file of at least one part in so many counts as large."""
_WORTH_NOTING = 4 << 20
_MOST_LARGE = 64


class Notes:
    """Files that could not be saved as they are, by reason."""

    def __init__(self) -> None:
        self._reserved: list[str] = []
        self._attributes: list[str] = []
        self._inconsistent = ""
        self._large: dict[bytes, int] = {}
        self.moved: list[bytes] = []
        """Files that changed while they were read."""

    def reserved(self, path: bytes) -> None:
        """A name that means something else in an image."""
        self._reserved.append(shown(path))

    def took(self, path: bytes, size: int) -> None:
        """So many bytes of a file are in the save."""
        if size < _WORTH_NOTING:
            return
        self._large[path] = size
        if len(self._large) > _MOST_LARGE:
            self._large = dict(self._largest()[: _MOST_LARGE // 2])

    def _largest(self) -> list[tuple[bytes, int]]:
        return sorted(self._large.items(), key=lambda item: (-item[1], item[0]))

    def attributes(self, path: bytes, names: list[str]) -> None:
        """Attributes whose names a layer cannot hold."""
        self._attributes += [f"{shown(path)} ({name})" for name in names]

    def inconsistent(self, why: str) -> None:
        """The save is not of one moment."""
        self._inconsistent = why

    def add(self, later: "Notes") -> None:
        """Those of a later copy of the same tree."""
        self._reserved = list(dict.fromkeys(self._reserved + later._reserved))
        self._attributes = list(dict.fromkeys(self._attributes + later._attributes))
        self._large |= later._large
        self.moved += later.moved

    def lasting(self) -> tuple[str, ...]:
        """Sentences that hold until the files change."""
        found = []
        if self._reserved:
            found.append(
                f"Not in the save, because names that begin with .wh. mean deletions in an image: "
                f"{_some(self._reserved)}."
            )
        if self._attributes:
            found.append(
                "Not in the save, because a layer cannot hold attribute names with '=': "
                f"{_some(self._attributes)}."
            )
        return tuple(found)

    def large(self, total: int) -> tuple[str, ...]:
        """A sentence when a save took so much from files that somebody may want less of it."""
        if total < LARGE_BYTES:
            return ()
        names = [
            f"{shown(path)} ({size >> 20} MiB)"
            for path, size in self._largest()
            if size * _LARGE_PART >= total
        ]
        of_these = f", of these {_some(names)}" if names else " of small files"
        said = (
            f"Large: it took {total >> 20} MiB{of_these}. "
            "`saves: {exclude: [PATH]}` in /project/devbox.yaml leaves out what can be made again."
        )
        return (said,)

    def passing(self) -> tuple[str, ...]:
        """Sentences about this save only."""
        found = []
        if self._inconsistent:
            found.append(f"Consistent per file only, not as a whole: {self._inconsistent}.")
        if self.moved:
            names = _some([shown(path) for path in self.moved])
            found.append(f"Changed while they were copied: {names}.")
        return tuple(found)


def shown(path: bytes) -> str:
    """A path below the box's root, for people."""
    return "/" + os.fsdecode(path).encode("utf-8", "backslashreplace").decode()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
