"""Files of the person's own: written whole or not at all, by one writer at a time.

Knows nothing of what is in them.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from devbox.model.errors import BadInput

PRIVATE = 0o600


def config_directory() -> Path:
    """`$XDG_CONFIG_HOME/devbox` (XDG base directory specification), made 0700 when written to."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "devbox"


def cache_directory() -> Path:
    """`$XDG_CACHE_HOME/devbox`: may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "devbox"


def write_atomically(path: Path, text: str, mode: int) -> None:
    """Replace a file in one step, so that a reader or a crash sees the old or the new one.

    A symbolic link stays, and the file that it names is replaced. Raises BadInput where the
    directory cannot be written.
    """
    real = Path(os.path.realpath(path))
    try:
        real.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(temporary, real)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> BadInput:
    return BadInput(
        f"{path} cannot be written: {error.strerror}",
        "The file is as it was. Mend the directory's permissions or free space, and try again.",
    )


def read_text(path: Path) -> str:
    """A file's text, with its line endings; empty when there is none. Raises BadInput."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}", "Mend the file and try again.") from error


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Be the only `devbox` that changes files of this directory (flock: ends with the process)."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    except OSError as error:
        raise _unwritable(directory, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)
