"""Shared objects: which libraries a tree needs, and making it find them only in the bundle.

Knows ELF only through `ldd` and `patchelf`.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from devbox.model.errors import Internal, Unavailable

PREFIX = "/.devbox"
_LIBRARIES = f"{PREFIX}/lib"
_MAGIC = b"\x7fELF"


def shared_objects(tree: Path) -> list[Path]:
    """Every ELF file of a tree that is named like a shared object."""
    return [
        path
        for path in sorted(tree.rglob("*.so*"))
        if path.is_file() and not path.is_symlink() and _is_elf(path)
    ]


def take_libraries(objects: list[Path], lib: Path, *, inside: Path) -> list[Path]:
    """Copy what `objects` need and lies outside of `inside` into `lib`; return the copies."""
    needed: dict[str, Path] = {}
    for found in objects:
        for library in _needed_by(found):
            if not library.is_relative_to(inside):
                needed.setdefault(library.name, library)
    copies = []
    for name, library in sorted(needed.items()):
        copy = lib / name
        shutil.copyfile(library.resolve(), copy)
        copy.chmod(0o755)
        copies.append(copy)
    return copies


def _needed_by(file: Path) -> list[Path]:
    listed = _run(["ldd", str(file)])
    found = []
    for line in listed.splitlines():
        if "not found" in line:
            raise Internal(f"a library that {file.name} needs is missing: {line.strip()}")
        words = line.replace("=>", " ").split()
        found += [Path(word) for word in words if word.startswith("/")][-1:]
    return found


def relocate(program: Path, objects: list[Path], libraries: list[Path]) -> None:
    """Point the program at the bundle's loader, and everything at the bundle's libraries.

    An object keeps the search path it came with (wheels bring libraries of their own) in front.
    """
    loader = Path(_patchelf("--print-interpreter", program).strip()).name
    _patchelf("--set-interpreter", program, f"{_LIBRARIES}/{loader}")
    alone = {loader, "libc.so.6"}
    for found in [program, *objects, *(file for file in libraries if file.name not in alone)]:
        own = _patchelf("--print-rpath", found).strip() if found in objects else ""
        paths = [path for path in own.split(":") if path.startswith("$ORIGIN")]
        _patchelf("--force-rpath", "--set-rpath", found, ":".join([*paths, _LIBRARIES]))


def _patchelf(*words: str | Path) -> str:
    """`patchelf OPTION [OPTION] FILE [VALUE]`, put in the order patchelf wants."""
    file = next(word for word in words if isinstance(word, Path))
    tool = shutil.which("patchelf", path=f"{Path(sys.executable).parent}:/usr/bin:/bin")
    if tool is None:
        raise Unavailable(
            "patchelf is missing, so the agent bundle cannot be built",
            "Install the Python package patchelf into this environment and try again.",
        )
    return _run([tool, *(str(word) for word in words if word != file), str(file)])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Internal(f"{Path(command[0]).name} failed: {done.stderr.strip()[-400:]}")
    return done.stdout


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC
