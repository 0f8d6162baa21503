"""Old bundle trees go once no box has them mounted."""

import subprocess
from pathlib import Path

import pytest

from in_box_agent.bundle.prune import prune

pytestmark = pytest.mark.root
_BOX = 'mount --bind "$0" "$1" && echo ready && read -r _'


def trees(out: Path, *names: str) -> None:
    for name in names:
        (out / name / "bin").mkdir(parents=True)


def names(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


def test_a_tree_stays_while_it_is_current_or_a_box_has_it(tmp_path: Path) -> None:
    out, at = tmp_path / "bundle", tmp_path / "at"
    at.mkdir()
    trees(out, "new-tree", "boxs-tree", "old-tree", ".base-new", ".base-old", ".making-x")
    (out / "current").symlink_to("new-tree")
    (out / ".lock").touch()
    box = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", _BOX, out / "boxs-tree", at],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert box.stdout is not None
        assert box.stdout.readline() == "ready\n"
        assert prune(out, "new") == [".base-old", "old-tree"]
        left = {"new-tree", ".base-new", ".making-x", "current", ".lock"}
        assert names(out) == left | {"boxs-tree"}
    finally:
        box.communicate("\n")
    assert prune(out, "new") == ["boxs-tree"]
    assert names(out) == left


def test_what_an_earlier_pruning_did_not_finish_goes(tmp_path: Path) -> None:
    trees(tmp_path, "tree", ".base-b", ".old-gone")
    (tmp_path / "current").symlink_to("tree")
    assert prune(tmp_path, "b") == []
    assert names(tmp_path) == {"tree", ".base-b", "current"}
