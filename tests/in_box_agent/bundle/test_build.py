"""The builder: whole or not at all, and only what changed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from devbox.model.errors import Unavailable
from in_box_agent.bundle.build import build
from in_box_agent.bundle.inputs import gather, own_files, without_client
from in_box_agent.bundle.interpreter import version

LOCK = """aiohttp==3.14.5 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via devbox
rich==15.0.0 \\
    --hash=sha256:cc
    # via typer
yarl==1.25.1 \\
    --hash=sha256:dd
"""


@pytest.fixture
def out(bundle: Path, tmp_path: Path) -> Path:
    """A place that has the base already."""
    place = tmp_path / "out"
    place.mkdir()
    base = bundle.parent / f".base-{gather().base_name}"
    shutil.copytree(base, place / base.name, symlinks=True, copy_function=os.link)
    return place


def test_only_the_command_lines_packages_are_left_out() -> None:
    kept = without_client(LOCK)
    assert "rich" not in kept
    assert "cc" not in kept
    assert kept.count("--hash") == 3


def test_what_runs_in_a_box() -> None:
    names = {path.as_posix() for path in own_files()}
    assert "in_box_agent/serve.py" in names
    assert "devbox/edge/links/server.py" in names
    assert not {name for name in names if name.startswith(("in_box_agent/bundle", "devbox/cli"))}


def test_the_second_build_does_nothing(out: Path) -> None:
    first: list[str] = []
    tree = build(out, progress=first.append)
    assert (out / "current").resolve() == tree.resolve()
    again: list[str] = []
    assert build(out, progress=again.append) == tree
    assert again == [f"agent bundle: ready at {tree}"]
    assert not list(out.glob(".work-*"))


def test_a_failed_build_leaves_nothing_half_made(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_: None)
    monkeypatch.setattr("in_box_agent.bundle.inputs._static_busybox", lambda: Path("/bin/busybox"))
    with pytest.raises(Unavailable, match="no C compiler"):
        build(out, progress=lambda _: None)
    assert not (out / "current").exists()
    assert not list(out.glob(".work-*"))


def test_the_tree(bundle: Path) -> None:
    names = [path for path in bundle.rglob("*") if path.suffix == ".pyc"]
    assert names
    assert all(path.name.endswith(".opt-2.pyc") for path in names), "one bytecode per module"
    assert not list((bundle / "app").rglob("tests"))
    assert not (bundle / "lib" / version() / "test").exists()
    for path in bundle.rglob("*"):
        mode = path.lstat().st_mode
        assert path.is_symlink() or mode & 0o444 == 0o444, f"{path} can be read by any user"
    for name in ("devbox-init", "devbox-exec", "devbox-agent", "busybox"):
        told = subprocess.run(["ldd", bundle / "bin" / name], capture_output=True, text=True)
        assert "not a dynamic executable" in told.stdout + told.stderr
