"""The house keeps its order: sizes, names, and nothing that ties it to one machine."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("devbox", "gateway", "in_box_agent", "node_agent", "controller")
LONGEST_MODULE = 500
BANNED_NAMES = {"utils", "helpers", "manager", "common", "misc"}
HOSTS = re.compile(
    r"pypi\.org|pythonhosted\.org|registry\.npmjs|proxy\.golang|deb\.debian\.org|repo1?\.maven",
    re.I,
)


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True, text=True
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def sources() -> list[Path]:
    return [
        path
        for path in tracked()
        if path.suffix == ".py"
        and "_pb2" not in path.name
        and path.relative_to(ROOT).parts[0] in PACKAGES
    ]


@pytest.mark.smoke
def test_modules_stay_small_and_are_named_by_what_they_do() -> None:
    assert sources()
    long = {str(p): n for p in sources() if (n := len(p.read_text().splitlines())) > LONGEST_MODULE}
    assert long == {}
    assert [path for path in sources() if path.stem in BANNED_NAMES] == []


def test_every_module_says_what_it_owns() -> None:
    silent = [p for p in sources() if not p.read_text().lstrip().startswith(('"""', "#!"))]
    assert silent == []


def test_nothing_names_a_package_registry() -> None:
    me = Path(__file__)
    named = {}
    for path in tracked():
        if path == me or path.suffix in {".png", ".ico"}:
            continue
        if found := HOSTS.search(path.read_text(errors="replace")):
            named[str(path.relative_to(ROOT))] = found.group()
    assert named == {}


def test_decisions_have_numbers_of_their_own_and_are_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    records = sorted(folder.glob("0*.md"))
    numbers = [path.name[:4] for path in records]
    assert numbers == [f"{number:04d}" for number in range(1, len(records) + 1)]
    titles = [path.read_text().splitlines()[0].removeprefix("# ") for path in records]
    assert [title[:4] for title in titles] == numbers
    listed = (folder / "README.md").read_text().splitlines()
    assert [line for line in listed if line.startswith("- ")] == [
        f"- [{title}]({path.name})" for title, path in zip(titles, records, strict=True)
    ]
