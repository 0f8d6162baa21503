"""What a shell is told at Tab."""

import subprocess
import sys
from pathlib import Path

import pytest

from devbox.cli.options import remember_projects

DEVBOX = Path(sys.executable).with_name("devbox")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("devbox cre", ["create"]),
        ("devbox sa", ["save", "saves"]),
        ("devbox ssh he", ["hello", "help-me"]),
        ("devbox token ro", ["rotate"]),
        ("devbox stop --wa", ["--wait"]),
    ],
)
def test_commands_names_and_options(home: Path, line: str, wanted: list[str]) -> None:
    remember_projects(["hello", "help-me", "other"])
    words = line.split(" ")
    done = subprocess.run(
        [str(DEVBOX)],
        env={
            "HOME": str(home),
            "PATH": "/usr/bin:/bin",
            "_DEVBOX_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == wanted
    assert done.stderr == ""
