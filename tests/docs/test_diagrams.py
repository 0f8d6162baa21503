"""The docs show the tables as they are."""

import subprocess
import sys
from pathlib import Path

import pytest

from devbox.wire.frames import LIMITS, MAX_CONTROL, MAX_DATA, Kind, Lane

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs/protocol.md").read_text()


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "deploy/diagrams.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", [path.name for path in (ROOT / "docs").glob("*.md")])
def test_diagrams_are_fresh(name: str) -> None:
    done = run("--check", str(ROOT / "docs" / name))
    assert (done.returncode, done.stdout) == (0, "")


def test_a_stale_diagram_is_noticed_and_mended(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PROTOCOL.replace("new --> linked", "new --> nowhere"))
    assert run("--check", str(page)).returncode == 1
    assert run(str(page)).returncode == 0
    assert page.read_text() == PROTOCOL


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_is_in_the_table(kind: Kind) -> None:
    assert f"| {kind.value} | {kind.name} |" in PROTOCOL


def test_the_limits_are_those_of_the_code() -> None:
    sizes = [LIMITS[lane] for lane in Lane]
    assert f"{MAX_DATA:,} bytes for DATA, {MAX_CONTROL:,} for every other" in PROTOCOL
    window = " | ".join(_human(one.window) for one in sizes)
    assert f"| window of a stream, each direction | {window} |" in PROTOCOL
    replay = " | ".join(_human(one.replay) for one in sizes)
    assert f"| replay buffer, each direction | {replay} |" in PROTOCOL
    chunk = " | ".join(_human(one.chunk) for one in sizes)
    assert f"| DATA payload at most, as sent | {chunk} |" in PROTOCOL
    assert f"| open streams | {sizes[0].streams} | {sizes[1].streams} |" in PROTOCOL


def _human(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"
