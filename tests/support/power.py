"""What a disk holds after a power cut: file system calls as strace saw them, without what was not
synced.

Two disks are told for each moment, and a real one lies between them: one that has only what was
synced, of files and of directories, and one that has every name at once but of files only what was
synced.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

_CALLS = (
    "openat,creat,write,pwrite64,writev,pwritev,ftruncate,truncate,lseek,rename,renameat,renameat2,"
    "link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync,syncfs,sync,"
    "sendfile,copy_file_range,fallocate"
)
_LINE = re.compile(r"^(?P<pid>\d+) +(?P<rest>.*)$")
_DONE = re.compile(r"^(?P<name>\w+)\((?P<given>.*)\) += (?P<result>-?\d+)")
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>,? ?(?P<rest>.*)$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_HANDLE = re.compile(r"(?:AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})*)>")
_UNFINISHED = " <unfinished ...>"


@dataclass
class File:
    """What it holds, and what of that is on the disk."""

    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    at: int = 0
    """Where the next write without a position goes."""


@dataclass
class Directory:
    """Names, and those of them that are on the disk."""

    names: dict[str, "File | Directory"] = field(default_factory=dict)
    synced: dict[str, "File | Directory"] = field(default_factory=dict)


@dataclass(frozen=True)
class Moment:
    """Power goes here."""

    strict: dict[str, bytes]
    """Path below the root -> content, of what was synced with all directories above it."""
    eager: dict[str, bytes]
    """Every name, with what was synced of the file."""
    marks: tuple[str, ...]
    """What the recorded program had said before."""
    call: str


def record(command: Sequence[str], log: Path) -> None:
    """Run a program and all its children, and note every call that changes files."""
    trace = ("strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "100000000", "-o", str(log))
    done = subprocess.run(
        [*trace, "-e", f"trace={_CALLS}", "-e", "signal=none", *command],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr


class Replay:
    """The calls below `root`, one after the other."""

    def __init__(self, root: Path) -> None:
        self._root = PurePosixPath(root)
        self._top = Directory()
        self._marks: list[str] = []

    def run(self, log: Path) -> Iterator[Moment]:
        """A moment after each call that makes something durable or moves a name."""
        for call, given in _calls(log):
            name, texts, handles = call, _texts(given), _handles(given)
            if name == "write" and not handles[0].startswith("/"):
                self._mark(texts)
            elif self._apply(name, texts, handles, given):
                yield self._moment(name)

    def _mark(self, texts: list[bytes]) -> None:
        words = texts[0].decode(errors="replace") if texts else ""
        self._marks += [line[5:] for line in words.splitlines() if line.startswith("MARK ")]

    def _moment(self, call: str) -> Moment:
        return Moment(
            dict(_files(self._top, strict=True)),
            dict(_files(self._top, strict=False)),
            tuple(self._marks),
            call,
        )

    def _apply(self, name: str, texts: list[bytes], handles: list[str], given: str) -> bool:
        paths = self._paths(texts, handles)
        if name in {"openat", "creat"}:
            self._open(paths[0], given)
            return False
        if name in {"fsync", "fdatasync", "syncfs", "sync"}:
            return self._sync(name, handles)
        if name.startswith(("rename", "link", "symlink", "unlink", "rmdir", "mkdir")):
            return self._name(name, paths)
        found = self._find(handles[0] if handles else "")
        if isinstance(found, File):
            self._write(name, found, texts, given)
        return False

    def _paths(self, texts: list[bytes], handles: list[str]) -> list[str]:
        """Absolute ones of the call's strings; the handles before them are their directories."""
        told = [text.decode(errors="surrogateescape") for text in texts]
        places = [*handles, *([""] * len(told))]
        return [str(PurePosixPath(place or "/") / path) for path, place in zip(told, places)]  # noqa: B905

    def _find(self, path: str) -> "File | Directory | None":
        at: File | Directory | None = self._top
        if not PurePosixPath(path).is_relative_to(self._root):
            return None
        for part in PurePosixPath(path).relative_to(self._root).parts:
            at = at.names.get(part) if isinstance(at, Directory) else None
        return at

    def _above(self, path: str) -> Directory | None:
        above = self._find(str(PurePosixPath(path).parent))
        return above if isinstance(above, Directory) else None

    def _open(self, path: str, given: str) -> None:
        above = self._above(path)
        if above is None or not re.search(r"O_(WRONLY|RDWR)", given):
            return
        file = above.names.setdefault(PurePosixPath(path).name, File())
        assert isinstance(file, File)
        if "O_TRUNC" in given:
            file.data = bytearray()
        file.at = len(file.data) if "O_APPEND" in given else 0

    def _sync(self, name: str, handles: list[str]) -> bool:
        if name == "sync" or (name == "syncfs" and self._find(handles[0]) is not None):
            _sync_all(self._top)
            return True
        found = self._find(handles[0]) if handles else None
        if isinstance(found, File):
            found.synced = bytes(found.data)
        elif found is not None:
            found.synced = dict(found.names)
        return found is not None

    def _name(self, name: str, paths: list[str]) -> bool:
        target = self._above(paths[-1])
        last = PurePosixPath(paths[-1]).name
        if name.startswith(("rename", "link")):
            source = self._above(paths[0])
            if source is None or target is None:
                assert source is target, f"{name} out of {self._root}: {paths}"
                return False
            first = PurePosixPath(paths[0]).name
            target.names[last] = source.names[first]
            if name.startswith("rename"):
                del source.names[first]
        elif target is not None and name.startswith(("unlink", "rmdir")):
            del target.names[last]
        elif target is not None and name.startswith("mkdir"):
            target.names[last] = Directory()
        return target is not None

    def _write(self, name: str, file: File, texts: list[bytes], given: str) -> None:
        numbers = [int(number) for number in re.findall(r", (-?\d+)(?=,|$)", given)]
        if name == "ftruncate":
            size = numbers[-1]
            file.data = file.data[:size] + bytearray(max(0, size - len(file.data)))
        elif name == "lseek":
            file.at = numbers[-1]
        elif name in {"pwrite64", "write", "writev"}:
            data = b"".join(texts)
            at = numbers[-1] if name == "pwrite64" else file.at
            file.data.extend(bytes(max(0, at + len(data) - len(file.data))))
            file.data[at : at + len(data)] = data
            file.at = file.at if name == "pwrite64" else at + len(data)
        else:
            raise AssertionError(f"a call that nobody replays: {name}")


def _sync_all(at: "File | Directory") -> None:
    if isinstance(at, File):
        at.synced = bytes(at.data)
        return
    at.synced = dict(at.names)
    for inner in at.names.values():
        _sync_all(inner)


def _files(at: Directory, *, strict: bool, above: str = "") -> Iterator[tuple[str, bytes]]:
    """Directories end with a slash."""
    for name, inner in (at.synced if strict else at.names).items():
        path = f"{above}{name}"
        if isinstance(inner, File):
            yield path, inner.synced
        else:
            yield f"{path}/", b""
            yield from _files(inner, strict=strict, above=f"{path}/")


def _calls(log: Path) -> Iterator[tuple[str, str]]:
    """Name and arguments of each call that succeeded, when it ended."""
    begun: dict[str, str] = {}
    with log.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            found = _LINE.match(line.rstrip("\n"))
            if found is None:
                continue
            pid, rest = found["pid"], found["rest"]
            if rest.endswith(_UNFINISHED):
                begun[pid] = rest.removesuffix(_UNFINISHED)
                continue
            if resumed := _RESUMED.match(rest):
                rest = begun.pop(pid) + resumed["rest"]
            done = _DONE.match(rest)
            if done is not None and int(done["result"]) >= 0:
                given = done["given"]
                if done["name"] == "lseek":
                    given += f", {done['result']}"
                yield done["name"], given


def _texts(given: str) -> list[bytes]:
    return [_raw(text) for text in _TEXT.findall(given)]


def _handles(given: str) -> list[str]:
    return [_raw(text).decode(errors="surrogateescape") for text in _HANDLE.findall(given)]


def _raw(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
