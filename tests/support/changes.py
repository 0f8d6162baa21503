"""Random changes of a file tree, made with the system calls that programs use."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

_TOP = [b"a", b"b", b"not-utf8-\xff"]
_BELOW = [b"a", b"long" * 50, b"sp ace"]
_CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
_ACL = bytes.fromhex(
    "0200000001000600ffffffff02000700e803000004000400ffffffff10000700ffffffff20000400ffffffff"
)
Change = tuple[str, bytes, bytes, int]

# Few paths, so that changes meet each other.
paths = st.sampled_from(
    [
        *_TOP,
        *(b"%b/%b" % (one, two) for one in _TOP[:2] for two in _BELOW),
        b"a/a/deep",
        b"a/a/other",
    ]
)
_ACTIONS = (
    "write", "write", "write", "write", "append", "rewrite", "mkdir", "mkdir", "mkdir", "remove",
    "remove", "rename", "rename", "link", "symlink", "fifo", "device", "chmod", "chown", "time",
    "xattr", "unxattr", "acl", "capability", "trusted", "sparse", "truncate",
)  # fmt: skip
changes: st.SearchStrategy[list[Change]] = st.lists(
    st.tuples(st.sampled_from(_ACTIONS), paths, paths, st.integers(0, 2**31)),
    min_size=1,
    max_size=30,
)


def apply(root: Path, todo: list[Change]) -> None:
    """Do what is possible; what is not (no such directory, not empty) is left."""
    top = os.fsencode(root)
    for action, one, two, number in todo:
        try:
            _ACT[action](os.path.join(top, one), os.path.join(top, two), number)
        except OSError:
            continue


def _unhurt(path: str, flags: int) -> int:
    """A FIFO without a reader must not make us wait."""
    return os.open(path, flags | os.O_NONBLOCK)


def _write(path: bytes, _: bytes, number: int) -> None:
    if number % 3 == 0:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb", opener=_unhurt) as file:
        file.write(b"%d\n" % number * (number % 2000))


def _append(path: bytes, _: bytes, number: int) -> None:
    with open(path, "r+b", opener=_unhurt) as file:
        file.seek(0, os.SEEK_END)
        file.write(b"%d" % number)


def _rewrite(path: bytes, _: bytes, number: int) -> None:
    """Other bytes, same size and time."""
    before = os.stat(path)
    with open(path, "r+b", opener=_unhurt) as file:
        file.write(bytes([number % 256]) * min(before.st_size, 1 << 16))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _remove(path: bytes, _: bytes, number: int) -> None:
    if stat.S_ISDIR(os.lstat(path).st_mode):
        shutil.rmtree(path) if number % 2 else os.rmdir(path)
    else:
        os.unlink(path)


def _time(path: bytes, _: bytes, number: int) -> None:
    os.utime(path, ns=(0, number * 1_234_567_891), follow_symlinks=False)


def _sparse(path: bytes, _: bytes, number: int) -> None:
    with open(path, "wb", opener=_unhurt) as file:
        file.seek(number % (4 << 20))
        file.write(b"end")
        file.truncate(number % (6 << 20) + 1)


def _mode(path: bytes, number: int) -> None:
    if not stat.S_ISLNK(os.lstat(path).st_mode):
        os.chmod(path, number % 0o10000)


_ACT: dict[str, Callable[[bytes, bytes, int], object]] = {
    "write": _write,
    "append": _append,
    "rewrite": _rewrite,
    "mkdir": lambda path, _, number: os.mkdir(path, number % 0o1000 | 0o700),
    "remove": _remove,
    "rename": lambda one, two, _: os.rename(one, two),
    "link": lambda one, two, _: os.link(one, two, follow_symlinks=False),
    "symlink": lambda one, two, _: os.symlink(two, one),
    "fifo": lambda path, _, number: os.mkfifo(path, number % 0o1000),
    "device": lambda path, _, number: os.mknod(
        path, 0o20640, os.makedev(1 + number % 9, number % 300)
    ),
    "chmod": lambda path, _, number: _mode(path, number),
    "chown": lambda path, _, number: os.chown(
        path, number % 70_000, number % 9, follow_symlinks=False
    ),
    "time": _time,
    "xattr": lambda path, _, number: os.setxattr(
        path, b"user.x%d" % (number % 3), b"%d\0\n=" % number
    ),
    "unxattr": lambda path, _, number: os.removexattr(path, b"user.x%d" % (number % 3)),
    "acl": lambda path, _, __: os.setxattr(path, "system.posix_acl_access", _ACL),
    "capability": lambda path, _, __: os.setxattr(path, "security.capability", _CAPABILITY),
    "trusted": lambda path, _, number: os.setxattr(
        path, "trusted.own", b"%d" % number, follow_symlinks=False
    ),
    "sparse": _sparse,
    "truncate": lambda path, _, number: os.truncate(path, number % 5000),
}
