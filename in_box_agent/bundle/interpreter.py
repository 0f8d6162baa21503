"""The interpreter that builds is the one that is copied: its program and its standard library."""

import shutil
import sys
import sysconfig
from pathlib import Path

_LEFT_OUT = frozenset(
    {
        "__pycache__",
        "dist-packages",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "pydoc_data",
        "site-packages",
        "sitecustomize.py",
        "test",
        "tests",
        "tkinter",
        "turtle.py",
        "turtledemo",
        "EXTERNALLY-MANAGED",
        "LICENSE.txt",
    }
)
_LEFT_OUT_STARTS = (
    *("_test", "_ctypes_test", "_tkinter", "xxlimited", "config-"),
    # Modules that nobody in a box imports and that pull in libraries.
    *("_curses", "_dbm", "_gdbm", "_crypt", "nis", "readline"),
)


def version() -> str:
    """As in the names of directories: `python3.11`."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def copy_interpreter(tree: Path) -> Path:
    """Copy program and standard library into a tree; return the program."""
    program = tree / "bin" / version()
    shutil.copyfile(Path(sys.executable).resolve(), program)
    program.chmod(0o755)
    (tree / "bin" / "python3").symlink_to(program.name)
    library = tree / "lib" / version()
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=_ignored)
    dynamic = Path(sysconfig.get_config_var("DESTSHARED"))
    if not (library / "lib-dynload").exists() and dynamic.exists():
        shutil.copytree(dynamic, library / "lib-dynload", ignore=_ignored)
    return program


def _ignored(directory: str, names: list[str]) -> list[str]:
    return [
        name
        for name in names
        if name in _LEFT_OUT
        or name.startswith(_LEFT_OUT_STARTS)
        or ((Path(directory) / name).is_symlink() and not (Path(directory) / name).exists())
    ]
