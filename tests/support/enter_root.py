"""Becomes a box's first process: `enter_root.py ROOT BUNDLE BOX UID [read-only] [bind=PATH…]`.

Run by `unshare --mount --pid --net --ipc --uts --fork`. Makes the mounts a container runtime would
make, pivots into ROOT and executes devbox-init. Uses no program, because ROOT may hold none.
"""

import ctypes
import fcntl
import os
import socket
import struct
import sys

_libc = ctypes.CDLL(None, use_errno=True)
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_DETACH = 2
_SYS_PIVOT_ROOT = 155
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_DEVICES = {"null": (1, 3), "zero": (1, 5), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    words = [word.encode() if word else None for word in (source, target, kind)]
    result = _libc.mount(*words, ctypes.c_ulong(flags), data.encode() or None)
    _check(result, f"mount {target}")


def _bind(source: str, target: str, *, read_only: bool = False) -> None:
    _mount(source, target, flags=_BIND | _REC)
    if read_only:
        _mount("", target, flags=_BIND | _REMOUNT | _RDONLY)


def _devices(root: str) -> None:
    dev = f"{root}/dev"
    _mount("tmpfs", dev, "tmpfs", data="mode=755")
    os.umask(0)
    for name, (major, minor) in _DEVICES.items():
        os.mknod(f"{dev}/{name}", 0o20666, os.makedev(major, minor))
    os.mkdir(f"{dev}/pts")
    _mount("devpts", f"{dev}/pts", "devpts", data="newinstance,ptmxmode=0666,mode=0620")
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    os.umask(0o022)


def _loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh", b"lo", _IFF_UP) + bytes(22)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def main(root: str, bundle: str, box: str, uid: int, options: list[str]) -> None:
    """Never returns."""
    _mount("", "/", flags=_REC | _PRIVATE)
    _bind(root, root)
    for name in (".devbox", "proc", "dev", ".old"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    for option in options:
        if option.startswith("bind="):
            path = option.removeprefix("bind=")
            _bind(path, f"{root}{path}", read_only=True)
    _bind(bundle, f"{root}/.devbox", read_only=True)
    _bind(box, f"{root}/.devbox/box")
    _mount("proc", f"{root}/proc", "proc")
    _devices(root)
    _loopback()
    os.chdir(root)
    _check(_libc.syscall(_SYS_PIVOT_ROOT, b".", b".old"), "pivot_root")
    os.chdir("/")
    _check(_libc.umount2(b"/.old", _DETACH), "umount")
    os.rmdir("/.old")
    if "read-only" in options:
        _mount("", "/", flags=_BIND | _REMOUNT | _RDONLY)
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOSTNAME": "box"}
    os.execve("/.devbox/bin/devbox-init", ["devbox-init"], environment)


if __name__ == "__main__":
    _root, _bundle, _box, _uid, *_options = sys.argv[1:]
    main(_root, _bundle, _box, int(_uid), _options)
