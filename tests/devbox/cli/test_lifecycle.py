"""Starting, stopping, logs: the pure parts."""

import pytest

from devbox.cli.lifecycle import overlap


@pytest.mark.parametrize(
    ("seen", "found", "count"),
    [("", "abc", 0), ("abc", "bcd", 2), ("abc", "abc", 3), ("abc", "xyz", 0), ("aa", "aaa", 2)],
)
def test_only_new_lines_are_shown(seen: str, found: str, count: int) -> None:
    assert overlap(tuple(seen), tuple(found)) == count
