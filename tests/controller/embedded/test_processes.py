"""The bound on processes, in both kinds of cgroups."""

from pathlib import Path

import pytest

from controller.embedded.processes import bound


@pytest.mark.parametrize("kind", ["pids/devbox/one", "devbox/one"])
def test_the_container_is_bound(tmp_path: Path, kind: str) -> None:
    cgroup = tmp_path / kind
    cgroup.mkdir(parents=True)
    (cgroup / "pids.max").write_text("max")
    bound("one", 5, tmp_path)
    assert (cgroup / "pids.max").read_text() == "5"
    bound("one", 0, tmp_path)
    assert (cgroup / "pids.max").read_text() == "5"
