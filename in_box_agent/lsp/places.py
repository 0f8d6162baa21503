"""Where an editor has a file, and where the box has it.

An editor on a person's machine names its files `file:///home/me/app/x.py` or
`file:///c%3A/app/x.py`; to the language servers they are `file:///project/x.py`. Files of the box
outside the project have a read-only copy in a folder of the editor's machine, so they have a name
there too. An editor that browses the box says `devbox-fs://PROJECT.NAMESPACE/project/x.py` and has
no files of its own.

Pure. URIs are RFC 3986's and RFC 8089's; paths are compared by their bytes, whatever is escaped.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

from devbox.model.errors import BadInput

FILE = "file"
BOX_FILES = "devbox-fs"
_URI = re.compile(
    r"(?P<scheme>file|devbox-fs)://(?P<host>[^/?#]*)(?P<path>(?:/[^?#]*)?)(?P<rest>.*)", re.S | re.I
)
_DRIVE = re.compile(rb"/([A-Za-z]):(?=/|$)")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]")
_LOCAL_HOSTS = {"", "localhost"}
Pair = tuple[str, str]
"""A folder as the editor names it, and the same folder as the box names it; both are URIs."""


@dataclass(frozen=True)
class Place:
    """A URI taken apart."""

    scheme: str
    host: str
    path: bytes
    rest: str = ""
    """Query and fragment, as they were written."""


def parse(uri: str) -> Place | None:
    """Take a file's URI apart. None for any other scheme."""
    found = _URI.fullmatch(uri)
    if found is None:
        return None
    host = found["host"].lower()
    scheme = found["scheme"].lower()
    if scheme == FILE and host in _LOCAL_HOSTS:
        host = ""
    path = unquote_to_bytes(found["path"])
    return Place(scheme, host, _lower_drive(path) if scheme == FILE else path, found["rest"])


@dataclass(frozen=True)
class _Folder:
    written: str
    """As its owner writes it, without a slash at the end."""
    place: Place

    def below(self, other: Place) -> bytes | None:
        """The rest of a path below this folder, with its slash; None when it is elsewhere."""
        mine = self.place
        if (other.scheme, other.host) != (mine.scheme, mine.host):
            return None
        if not (other.path + b"/").startswith(mine.path + b"/"):
            return None
        return other.path[len(mine.path) :]

    def uri(self, rest: bytes) -> str:
        """The URI of what lies below."""
        return self.written + quote_from_bytes(rest or (b"" if self.place.path else b"/"), safe="/")


def _folder(uri: str) -> _Folder:
    place = parse(uri)
    if place is None or place.rest:
        raise BadInput(f"{uri!r} is not a folder's URI", "Give one like file:///home/me/project.")
    path = place.path.rstrip(b"/")
    written = uri.rstrip("/") if path else f"{place.scheme}://{place.host}"
    return _Folder(written, Place(place.scheme, place.host, path))


class Direction:
    """One way: the names of this side as the other side has them.

    The first pair of folders that holds a file gives its name.
    """

    def __init__(
        self, pairs: Iterable[tuple[_Folder, _Folder]], written: Mapping[str, str]
    ) -> None:
        self._pairs = tuple(pairs)
        self._written = written

    def uri(self, uri: str) -> str:
        """A URI renamed. What is no file, or in no folder that the other side has, stays."""
        written = self._written.get(uri)
        if written is not None:
            return written
        place = parse(uri)
        found = None if place is None else self._find(place)
        return uri if found is None or place is None else found[0].uri(found[1]) + place.rest

    def path(self, path: str) -> str:
        """A path, or a pattern that begins with one, renamed. A relative one stays."""
        plain = path.replace("\\", "/") if _WINDOWS.match(path) else path
        raw = os.fsencode(f"/{plain}" if _WINDOWS.match(plain) else plain)
        found = self._find(Place(FILE, "", _lower_drive(raw)))
        return path if found is None else os.fsdecode(_native(found[0].place.path + found[1]))

    def _find(self, place: Place) -> tuple[_Folder, bytes] | None:
        for here, there in self._pairs:
            rest = here.below(place)
            if rest is not None:
                return there, rest
        return None


class Places:
    """The names of one editor's files in the box, and back.

    `pairs` come in the order of their worth. Documents that the editor has open are always called
    as the editor wrote them: editors compare names letter by letter.
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        folders = [(_folder(editor), _folder(box)) for editor, box in pairs]
        self._written: dict[str, str] = {}
        self.to_box = Direction(folders, {})
        self.to_editor = Direction([(box, editor) for editor, box in folders], self._written)

    def opened(self, uri: str) -> None:
        """The editor has a document open."""
        self._written[self.to_box.uri(uri)] = uri

    def closed(self, box: str) -> None:
        """The document that the box calls so is closed."""
        self._written.pop(box, None)


def _lower_drive(path: bytes) -> bytes:
    drive = _DRIVE.match(path)
    return b"/" + drive[1].lower() + path[2:] if drive else path


def _native(path: bytes) -> bytes:
    """Without the slash before a drive."""
    return (path[1:] if _DRIVE.match(path) else path) or b"/"
