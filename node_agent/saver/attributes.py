"""Extended attributes of an upper's files: which are saved, and what overlayfs means by its own.

ACLs and file capabilities are extended attributes too (acl(5), capabilities(7)).
"""

import os

from devbox.model.errors import Conflict
from devbox.model.nodes import UPPER_NONCE_XATTR
from node_agent.saver.headers import Records

_OVERLAY = "trusted.overlay."
_ESCAPED = "trusted.overlay.overlay."
_OPAQUE = "trusted.overlay.opaque"
_WHITEOUT = "trusted.overlay.whiteout"
_REFUSED = frozenset({"trusted.overlay.redirect", "trusted.overlay.metacopy"})
Place = int | str
"""An open file, or a path that is not followed."""


class Attributes:
    """The attributes of one file."""

    def __init__(self, place: Place, names: list[str], path: bytes) -> None:
        self._place = place
        self._names = names
        if not _REFUSED.isdisjoint(names):
            raise Conflict(
                f"/{os.fsdecode(path)} was renamed or changed in a way that cannot be saved:"
                " the box's root was mounted with overlayfs redirect_dir or metacopy",
                "Switch both off in the kernel's overlay module and start the project again.",
            )

    @property
    def opaque(self) -> bool:
        """A directory that hides all below it."""
        return _OPAQUE in self._names and self._value(_OPAQUE) == b"y"

    @property
    def whiteout(self) -> bool:
        """An empty file that stands for a deletion."""
        return _WHITEOUT in self._names

    def records(self, refused: list[str]) -> Records:
        """As pax records, in order. Names that pax cannot hold are added to `refused`."""
        found: Records = []
        for name in sorted(self._names):
            if _ours(name):
                continue
            if "=" in name:
                refused.append(name)
            elif (value := self._value(name)) is not None:
                found.append((b"SCHILY.xattr." + os.fsencode(name), value))
        return found

    def _value(self, name: str) -> bytes | None:
        """None when it vanished."""
        try:
            return os.getxattr(self._place, name, **self._follow)
        except OSError:
            return None

    @property
    def _follow(self) -> dict[str, bool]:
        return {} if isinstance(self._place, int) else {"follow_symlinks": False}


def of_open(fd: int, path: bytes) -> Attributes | None:
    """Of an open file; None when it has none."""
    names = os.listxattr(fd)
    return Attributes(fd, names, path) if names else None


def of_named(directory: int, name: str, path: bytes) -> Attributes | None:
    """Of what cannot be opened: a symlink, FIFO or device in an open directory."""
    place = f"/proc/self/fd/{directory}/{name}"
    names = os.listxattr(place, follow_symlinks=False)
    return Attributes(place, names, path) if names else None


def _ours(name: str) -> bool:
    overlay = name.startswith(_OVERLAY) and not name.startswith(_ESCAPED)
    return overlay or name == UPPER_NONCE_XATTR
