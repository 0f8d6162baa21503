"""What a bundle is made from, and the names that follow from it.

The base (interpreter, libraries, third-party packages) is slow to make and seldom changes; the
tree adds our own code. Each is named by a hash of everything that goes into it.
"""

import hashlib
import shutil
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devbox.model.errors import Unavailable

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "deploy" / "locks" / "agent.txt"
PROGRAMS = {"init": "devbox-init", "exec": "devbox-exec", "launch": "devbox-agent"}
"""C source in `in_box_agent/init` -> program in `bin`."""

_BUILDER = Path(__file__).resolve().parent
_OWN = ("devbox/model", "devbox/wire", "devbox/edge", "in_box_agent")
_NOT_OWN = ("in_box_agent/bundle",)
_PT_INTERP = 3
_CLIENT_ONLY = frozenset(
    {
        "annotated-doc",
        "annotated-types",
        "colorama",
        "markdown-it-py",
        "mdurl",
        "pycparser",
        "pydantic",
        "pydantic-core",
        "pygments",
        "rich",
        "shellingham",
        "typer",
        "typing-inspection",
    }
)
"""Locked for the command line; nothing in a box imports them."""


@dataclass(frozen=True)
class Inputs:
    """All that goes into a bundle."""

    requirements: str
    """Pip's lines, with hashes."""
    busybox: Path
    own: tuple[Path, ...]
    """Our Python files, relative to the repository."""
    sources: tuple[Path, ...]
    """Our C files."""
    base_name: str
    tree_name: str


def gather() -> Inputs:
    """Find the inputs. Raises Unavailable that names what is missing."""
    busybox = _static_busybox()
    requirements = without_client(LOCK.read_text())
    sources = tuple(REPOSITORY / "in_box_agent" / "init" / f"{name}.c" for name in PROGRAMS)
    own = own_files()
    base = _digest(
        [requirements.encode(), sys.version.encode(), sys.base_prefix.encode()],
        [Path(sys.executable).resolve(), busybox, *sorted(_BUILDER.glob("*.py"))],
    )
    tree = _digest([base.encode()], [*sources, *(REPOSITORY / path for path in own)])
    return Inputs(requirements, busybox, own, sources, base, tree)


def own_files() -> tuple[Path, ...]:
    """Our Python files that run in a box."""
    found = [Path("devbox/__init__.py")]
    for package in _OWN:
        found += [path.relative_to(REPOSITORY) for path in (REPOSITORY / package).rglob("*.py")]
    return tuple(sorted(path for path in found if not path.as_posix().startswith(_NOT_OWN)))


def without_client(lock: str) -> str:
    """A lock file without the packages that only the command line needs."""
    kept: list[str] = []
    keep = True
    for line in lock.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            keep = line.split("==")[0].strip().lower() not in _CLIENT_ONLY
        if keep:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _static_busybox() -> Path:
    found = shutil.which("busybox")
    if found is None or _has_interpreter(Path(found)):
        raise Unavailable(
            "there is no static busybox on this machine, so the agent bundle cannot be built",
            "Install the Debian package busybox-static and try again.",
        )
    return Path(found).resolve()


def _has_interpreter(program: Path) -> bool:
    """Whether an ELF64 program is dynamic: it has a PT_INTERP header (elf(5))."""
    image = program.read_bytes()
    (at,) = struct.unpack_from("<Q", image, 0x20)
    size, count = struct.unpack_from("<HH", image, 0x36)
    return any(
        struct.unpack_from("<I", image, at + index * size) == (_PT_INTERP,)
        for index in range(count)
    )


def _digest(texts: Iterable[bytes], files: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for text in texts:
        total.update(hashlib.sha256(text).digest())
    for file in files:
        total.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:20]
