"""Trees are measured by what they take on the disk."""

import os
from pathlib import Path

from node_agent.collector.measuring import bytes_below

MIB = 1 << 20


async def test_holes_take_nothing_and_links_take_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(4 * MIB))
    os.link(tmp_path / "file", tmp_path / "again")
    with (tmp_path / "hole").open("wb") as hole:
        hole.truncate(1 << 40)
    assert 4 * MIB <= await bytes_below(tmp_path) < 5 * MIB


async def test_what_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert await bytes_below(tmp_path / "none") == 0
