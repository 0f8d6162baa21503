"""Builds the bundle: `DIR/<hash>/` and the link `DIR/current`, which changes in one step.

A tree that boxes may have mounted is never changed, only replaced: files of the base are hard
links shared by all trees of one base.
"""

import contextlib
import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from devbox.model.errors import Unavailable
from in_box_agent.bundle.inputs import PROGRAMS, REPOSITORY, Inputs, gather
from in_box_agent.bundle.interpreter import copy_interpreter, version
from in_box_agent.bundle.libraries import PREFIX, relocate, shared_objects, take_libraries
from in_box_agent.bundle.prune import prune

Progress = Callable[[str], None]

_MAIN = '''"""Starts the agent: `python3 -I -S /.devbox/app`."""

from in_box_agent.__main__ import main

main()
'''


def build(out: Path, *, progress: Progress, alone: bool = False) -> Path:
    """Build what is missing, point `current` at it, and return the tree.

    `alone`: only this machine's boxes use what lies in `out`, so older trees go.

    Raises Unavailable when a tool or the package index is missing.
    """
    if platform.system() != "Linux":
        raise Unavailable("the agent bundle can only be built on Linux")
    inputs = gather()
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        base = out / f".base-{inputs.base_name}"
        tree = out / inputs.tree_name
        if not tree.exists():
            if not base.exists():
                with _made_whole(base) as work:
                    _build_base(work, inputs, progress)
            progress("agent bundle: adding Devbox's own code")
            with _made_whole(tree) as work:
                _build_tree(work, base, inputs)
        _point(out / "current", tree.name)
        if alone and (gone := prune(out, inputs.base_name)):
            progress(f"agent bundle: {len(gone)} old trees deleted")
        progress(f"agent bundle: ready at {tree}")
    return tree


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One builder at a time; others wait and find it done."""
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _made_whole(target: Path) -> Iterator[Path]:
    """A directory that gets its name only when it is complete."""
    before = os.umask(0o022)
    work = Path(tempfile.mkdtemp(prefix=".work-", dir=target.parent))
    try:
        work.chmod(0o755)
        yield work
        work.rename(target)
    finally:
        os.umask(before)
        shutil.rmtree(work, ignore_errors=True)


def _point(link: Path, name: str) -> None:
    new = link.with_name(f".{link.name}-{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(name)
    new.rename(link)


def _build_base(work: Path, inputs: Inputs, progress: Progress) -> None:
    for name in ("bin", "lib", "app", "tools", "box"):
        (work / name).mkdir()
    progress("agent bundle: copying the Python interpreter")
    program = copy_interpreter(work)
    progress("agent bundle: installing packages")
    _install(work / "app", inputs.requirements)
    progress("agent bundle: collecting libraries")
    objects = shared_objects(work)
    libraries = take_libraries([program, *objects], work / "lib", inside=work)
    relocate(program, objects, libraries)
    progress("agent bundle: compiling Python code")
    _compile(work / "lib" / version(), work)
    _compile(work / "app", work)
    _add_tools(work, inputs.busybox)


def _install(app: Path, requirements: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(requirements)
        file.flush()
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps"]
        command += ["--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"]
        done = subprocess.run(
            [*command, "--target", str(app), "--requirement", file.name],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise Unavailable(
            "the agent's Python packages could not be installed: " + done.stderr.strip()[-600:],
            "Check that pip reaches its package index and try again. Nothing was changed.",
        )
    shutil.rmtree(app / "bin", ignore_errors=True)
    for name in ("test", "tests"):
        for directory in sorted(app.rglob(name)):
            shutil.rmtree(directory)


def _compile(directory: Path, work: Path) -> None:
    """Bytecode for -OO, valid without a look at its source, under the paths that boxes see."""
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0"]
    command += ["-o", "2", "--invalidation-mode", "unchecked-hash", "-s", str(work), "-p", PREFIX]
    subprocess.run([*command, str(directory)], check=False, stdout=subprocess.DEVNULL)


def _add_tools(work: Path, busybox: Path) -> None:
    target = work / "bin" / "busybox"
    shutil.copyfile(busybox, target)
    target.chmod(0o755)
    names = subprocess.run([target, "--list"], capture_output=True, text=True, check=True)
    for name in names.stdout.split():
        (work / "tools" / name).symlink_to("../bin/busybox")


def _build_tree(work: Path, base: Path, inputs: Inputs) -> None:
    shutil.copytree(base, work, symlinks=True, dirs_exist_ok=True, copy_function=os.link)
    for path in inputs.own:
        target = work / "app" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / path, target)
    (work / "app" / "__main__.py").write_text(_MAIN)
    for name in ("devbox", "in_box_agent", "__main__.py"):
        _compile(work / "app" / name, work)
    for source in inputs.sources:
        _compile_program(source, work / "bin" / PROGRAMS[source.stem])


def _compile_program(source: Path, target: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise Unavailable(
            "there is no C compiler, so the agent bundle cannot be built",
            "Install the Debian packages gcc and libc6-dev and try again.",
        )
    flags = ["-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror"]
    done = subprocess.run(
        [compiler, *flags, "-o", str(target), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Unavailable(
            f"{source.name} could not be compiled: {done.stderr.strip()[-400:]}",
            "Install the Debian packages gcc and libc6-dev and try again.",
        )
