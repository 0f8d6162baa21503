"""What boxes write: files in CRI's log format, `TIME STREAM TAGS TEXT`, one directory per pod.

A file that grew long is renamed, and the one before it is dropped.
"""

import shutil
from pathlib import Path

from controller.embedded.pods import LOG_FILE

OLD_FILE = f"{LOG_FILE}.1"
MAX_BYTES = 16 << 20
_TAIL_BYTES = 1 << 20
_MAX_LINE = 16 << 10


def directory(logs: Path, pod_uid: str) -> Path:
    """Where a pod's logs lie."""
    return logs / "pods" / pod_uid


def last_lines(logs: Path, pod_uid: str, count: int) -> tuple[str, ...]:
    """The last lines, oldest first; none when nothing was written."""
    if not pod_uid or count <= 0:
        return ()
    folder = directory(logs, pod_uid)
    rows = [*_tail(folder / OLD_FILE), *_tail(folder / LOG_FILE)]
    return tuple(join(rows)[-count:])


def _tail(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            rows = file.read(_TAIL_BYTES).split(b"\n")
    except OSError:
        return []
    return rows[1:] if size > _TAIL_BYTES else rows


def join(rows: list[bytes]) -> list[str]:
    """CRI's rows as the lines that were written: parts (tag P) are put together."""
    lines: list[str] = []
    part = ""
    for row in rows:
        fields = row.split(b" ", 3)
        if len(fields) < 4:
            continue
        part += fields[3].decode("utf-8", "replace").rstrip("\r")
        if fields[2].split(b":")[0] != b"P":
            lines.append(part[:_MAX_LINE])
            part = ""
    return [*lines, part[:_MAX_LINE]] if part else lines


def turn_over(logs: Path, pod_uid: str) -> bool:
    """Rename a file that grew too long. The runtime must then be told to reopen it."""
    path = directory(logs, pod_uid) / LOG_FILE
    try:
        if path.stat().st_size < MAX_BYTES:
            return False
        path.rename(path.with_name(OLD_FILE))
    except FileNotFoundError:
        return False
    return True


def remove(logs: Path, pod_uid: str) -> None:
    """Remove a pod's logs."""
    shutil.rmtree(directory(logs, pod_uid), ignore_errors=True)
