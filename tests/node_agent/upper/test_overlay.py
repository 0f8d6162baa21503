"""Mount options, links and what the kernel has mounted."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from devbox.model.errors import Conflict, Unavailable
from node_agent.upper import overlay


@dataclass
class Mount:
    options: list[str] = field(default_factory=list)
    type: str = "overlay"


GOOD = ["index=off", "workdir=/s/3/work", "upperdir=/s/3/fs", "lowerdir=/s/2/fs:/s/1/fs"]


@pytest.fixture
def parameters(tmp_path: Path) -> Path:
    path = tmp_path / "parameters"
    path.mkdir()
    for name in ("metacopy", "redirect_dir"):
        (path / name).write_text("N\n")
    return path


def test_directories_of_a_snapshot(parameters: Path) -> None:
    known = overlay.overlay_of([Mount(GOOD)], parameters)
    assert known.upperdir == Path("/s/3/fs")
    assert known.lowers == (Path("/s/2/fs"), Path("/s/1/fs"))


@pytest.mark.parametrize(
    "mounts",
    [
        [],
        [Mount(GOOD), Mount(GOOD)],
        [Mount(["rw", "rbind"], "bind")],
        [Mount(["lowerdir=/s/2/fs:/s/1/fs"])],
        [Mount([*GOOD, "metacopy=on"])],
        [Mount([*GOOD, "redirect_dir=on"])],
        [Mount([*GOOD, "userxattr"])],
        [Mount([*GOOD, "uidmap=0:100000:65536"])],
    ],
)
def test_what_cannot_be_kept_is_refused(mounts: list[Mount], parameters: Path) -> None:
    with pytest.raises(Conflict):
        overlay.overlay_of(mounts, parameters)


def test_the_kernels_default_counts_unless_the_mount_says_otherwise(parameters: Path) -> None:
    (parameters / "redirect_dir").write_text("Y\n")
    with pytest.raises(Conflict, match="redirect_dir"):
        overlay.overlay_of([Mount(GOOD)], parameters)
    overlay.overlay_of([Mount([*GOOD, "redirect_dir=off"])], parameters)


def test_link_and_retire(tmp_path: Path) -> None:
    upper, snapshot = tmp_path / "upper", tmp_path / "7" / "fs"
    upper.mkdir()
    snapshot.mkdir(parents=True)
    overlay.link(snapshot, upper)
    overlay.link(snapshot, upper)
    assert overlay.leads_to(snapshot, upper)
    overlay.retire(snapshot, tmp_path / "another")
    assert overlay.leads_to(snapshot, upper)
    overlay.retire(snapshot, upper)
    assert not snapshot.exists()
    assert snapshot.is_symlink()
    assert upper.is_dir()


def test_a_directory_that_was_written_to_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "fs").mkdir()
    (tmp_path / "fs" / "work").touch()
    with pytest.raises(Conflict):
        overlay.link(tmp_path / "fs", tmp_path)
    assert (tmp_path / "fs" / "work").exists()


def test_mountinfo_with_spaces() -> None:
    line = (
        "36 35 0:30 / /m rw shared:1 - overlay overlay "
        "rw,lowerdir=/l,upperdir=/no/such\\040dir/fs,workdir=/w"
    )
    other = "37 35 0:31 / /n rw - tmpfs upperdir=/x rw"
    assert overlay.mounted_uppers(f"{line}\n{other}\n") == {Path("/no/such dir/fs")}


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_mount_through_a_link_is_seen(tmp_path: Path) -> None:
    upper, link = tmp_path / "upper", tmp_path / "fs"
    for name in ("upper", "lower", "work", "merged"):
        (tmp_path / name).mkdir()
    link.symlink_to(upper)
    overlay.check_free(upper)
    options = f"lowerdir={tmp_path}/lower,upperdir={link},workdir={tmp_path}/work"
    mount = ["mount", "-t", "overlay", "-o", options, "x", str(tmp_path / "merged")]
    subprocess.run(mount, check=True)
    try:
        with pytest.raises(Unavailable):
            overlay.check_free(upper)
    finally:
        subprocess.run(["umount", str(tmp_path / "merged")], check=True)
    overlay.check_free(upper)
