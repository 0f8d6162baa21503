"""Tar headers: POSIX pax (IEEE 1003.1-2017, pax) with SCHILY.xattr records, built by hand.

Pure. Most files of a tree need one kind of pax record only, a time with nanoseconds, so that header
is a constant and its record has one length; the checksum is a sum of sums that are kept.
"""

from functools import lru_cache

BLOCK = 512
_ZEROS = bytes(BLOCK)
_NAME_BYTES = 100
_OCTAL_7 = 0o7777777
_OCTAL_11 = 0o77777777777
_TAIL_MAGIC = b"ustar\x0000" + bytes(64)
_TAIL_END = bytes(155 + 12)
_NO_DEVICE = b"0000000\x00" * 2
_SPACES = 8 * 32
_TIME_RECORD = 30
"""Bytes of `30 mtime=1700000000.123456789` and its newline."""
_TEN_DIGITS = range(10**9, 10**10)

FILE, LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = (
    b"0",
    b"1",
    b"2",
    b"3",
    b"4",
    b"5",
    b"6",
)

Records = list[tuple[bytes, bytes]]


def padding(size: int) -> int:
    """Zero bytes that follow content of this size."""
    return -size % BLOCK


@lru_cache(maxsize=4096)
def _owner(mode: int, uid: int, gid: int) -> tuple[bytes, int]:
    """The mode, uid and gid fields, and the sum of their bytes."""
    text = b"%07o\0%07o\0%07o\0" % (mode & 0o7777, uid & _OCTAL_7, gid & _OCTAL_7)
    return text, sum(text)


@lru_cache(maxsize=64)
def _tail(kind: bytes, link: bytes, device: bytes) -> tuple[bytes, int]:
    """From the type to the end, and the sum of its bytes."""
    text = kind + link.ljust(_NAME_BYTES, b"\0") + _TAIL_MAGIC + device + _TAIL_END
    return text, sum(text)


def ustar(
    name: bytes,
    owner: tuple[int, int, int],
    size: int,
    mtime: int,
    rest: tuple[bytes, bytes, bytes] = (FILE, b"", _NO_DEVICE),
) -> bytes:
    """One ustar header; every field must fit. `rest` is type, link target and device fields."""
    head, head_sum = _owner(*owner)
    tail, tail_sum = _tail(*rest)
    numbers = b"%011o\0%011o\0" % (size, mtime)
    total = sum(name) + head_sum + sum(numbers) + _SPACES + tail_sum
    return b"%b%b%b%06o\0 %b" % (name.ljust(_NAME_BYTES, b"\0"), head, numbers, total, tail)


def device_fields(major: int, minor: int) -> bytes:
    """The device fields of a ustar header."""
    return b"%07o\0%07o\0" % (major & _OCTAL_7, minor & _OCTAL_7)


def record(key: bytes, value: bytes) -> bytes:
    """One pax record, which begins with its own length."""
    size = len(key) + len(value) + 3
    length = size + len(str(size))
    if len(str(length)) != len(str(size)):
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


_PAX_OWNER = (0o644, 0, 0)
_TIME_HEADER = ustar(b"././@PaxHeader", _PAX_OWNER, _TIME_RECORD, 0, (b"x", b"", _NO_DEVICE))
_TIME_FILL = bytes(BLOCK - _TIME_RECORD)


def pax(records: Records) -> bytes:
    """A pax header and its records, padded."""
    body = b"".join(record(key, value) for key, value in sorted(records))
    head = ustar(b"././@PaxHeader", _PAX_OWNER, len(body), 0, (b"x", b"", _NO_DEVICE))
    return head + body + bytes(padding(len(body)))


def timestamp(ns: int) -> bytes:
    """A pax time: seconds, and nanoseconds where there are any."""
    seconds, rest = divmod(abs(ns), 10**9)
    sign = b"-" if ns < 0 else b""
    return b"%b%d" % (sign, seconds) + (b".%09d" % rest if rest else b"")


def plain_file(name: bytes, owner: tuple[int, int, int], size: int, mtime_ns: int) -> bytes | None:
    """The headers of an ordinary file: the fast way. None when it needs the general one."""
    seconds, rest = divmod(mtime_ns, 10**9)
    if (
        seconds not in _TEN_DIGITS
        or len(name) > _NAME_BYTES
        or size > _OCTAL_11
        or owner[1] > _OCTAL_7
        or owner[2] > _OCTAL_7
    ):
        return None
    return b"%b30 mtime=%d.%09d\n%b%b" % (
        _TIME_HEADER,
        seconds,
        rest,
        _TIME_FILL,
        ustar(name, owner, size, seconds),
    )


def general(
    name: bytes,
    owner: tuple[int, int, int],
    size: int,
    mtime_ns: int,
    rest: tuple[bytes, bytes, bytes] = (FILE, b"", _NO_DEVICE),
    extra: Records | None = None,
) -> bytes:
    """The headers of anything: what does not fit ustar goes into pax records."""
    kind, link, device = rest
    records: Records = list(extra or ())
    seconds, fraction = divmod(mtime_ns, 10**9)
    if fraction or not 0 <= seconds <= _OCTAL_11:
        records.append((b"mtime", timestamp(mtime_ns)))
    records.extend(_too_big(name, owner, size, link))
    header = ustar(
        name[:_NAME_BYTES],
        owner,
        size if size <= _OCTAL_11 else 0,
        max(0, min(seconds, _OCTAL_11)),
        (kind, link[:_NAME_BYTES], device),
    )
    return (pax(records) if records else b"") + header


def _too_big(name: bytes, owner: tuple[int, int, int], size: int, link: bytes) -> Records:
    records: Records = []
    if len(name) > _NAME_BYTES:
        records.append((b"path", name))
    if len(link) > _NAME_BYTES:
        records.append((b"linkpath", link))
    if size > _OCTAL_11:
        records.append((b"size", b"%d" % size))
    for key, number in ((b"uid", owner[1]), (b"gid", owner[2])):
        if number > _OCTAL_7:
            records.append((key, b"%d" % number))
    return records


def whiteout(path: bytes) -> bytes:
    """The OCI whiteout of a path (OCI image spec, layer, whiteouts)."""
    parent, slash, name = path.rpartition(b"/")
    return general(parent + slash + b".wh." + name, (0, 0, 0), 0, 0)


def opaque(directory: bytes) -> bytes:
    """The OCI opaque whiteout of a directory: nothing below shows through."""
    return general(directory + b"/.wh..wh..opq", (0, 0, 0), 0, 0)


END = bytes(2 * BLOCK)
