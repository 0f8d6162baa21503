"""What would fill the disk when it is unpacked is refused by name."""

import shutil
from pathlib import Path

import pytest

from devbox.model.errors import NoSpace
from node_agent.shim.pulling import check


@pytest.fixture(autouse=True)
def _disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil._ntuple_diskusage(total=1000 << 30, used=900 << 30, free=100 << 30)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_what_fits_and_leaves_room_is_pulled() -> None:
    check([], Path("/"))
    check([("a", 40 << 30), ("b", 40 << 30)], Path("/"))


def test_what_does_not_fit_is_refused_with_its_largest_file() -> None:
    with pytest.raises(NoSpace, match="/project/disk has large holes and would take"):
        check([("small", 1 << 30), ("project/disk", 80 << 30)], Path("/"))
