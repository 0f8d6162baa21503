"""Trees from real packages, without Docker: what a recipe changes, and nothing of the build."""

import shutil
import subprocess
from pathlib import Path

import pytest

from devbox.model.errors import Unavailable
from node_agent.runtimes.recipes import Recipe
from node_agent.runtimes.trees import changed_tree

pytestmark = pytest.mark.root


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A tree with a static shell only."""
    tree = tmp_path / "base"
    for name in ("bin", "proc", "dev", "etc", "tmp", "var", "usr"):
        (tree / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", tree / "bin/busybox")
    for name in ("sh", "rm", "chmod", "mkdir", "ps"):
        (tree / "bin" / name).symlink_to("busybox")
    (tree / "etc/old").write_text("old")
    return tree


async def test_only_what_changed_is_in_the_upper(base: Path) -> None:
    recipe = Recipe(
        title="x",
        files={"/bin/hello": "#!/bin/sh\necho 'it''s me'\n"},
        prepare=("rm /etc/old", "mkdir -p /srv/data"),
    )
    async with changed_tree(base, recipe, lambda *_: None) as upper:
        assert sorted(str(p.relative_to(upper)) for p in upper.rglob("*")) == [
            "bin",
            "bin/hello",
            "etc",
            "etc/old",
            "srv",
            "srv/data",
        ]
        assert (upper / "etc/old").is_char_device()
        said = subprocess.run([upper / "bin/hello"], capture_output=True, check=True).stdout
        assert said == b"its me\n"
        place = upper.parent
    assert not place.exists()
    assert str(place) not in Path("/proc/self/mountinfo").read_text()
    assert (base / "etc/old").read_text() == "old"


async def test_a_command_that_fails_says_so_and_leaves_nothing(base: Path) -> None:
    recipe = Recipe(title="x", prepare=("echo no such thing; exit 9",))
    with pytest.raises(Unavailable, match="no such thing") as caught:
        async with changed_tree(base, recipe, lambda *_: None):
            raise AssertionError
    assert "apt sources" in caught.value.hint
    assert sorted(p.name for p in base.parent.iterdir()) == ["base"]
