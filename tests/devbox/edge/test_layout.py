"""Every setting is told to operators."""

from pathlib import Path

from devbox.edge.layout import ServerSettings

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


def test_every_setting_is_told() -> None:
    table = OPERATIONS.read_text().partition("## Settings")[2].partition("\n## ")[0]
    missing = [name for name in ServerSettings.__struct_fields__ if f"`{name}`" not in table]
    assert missing == []
