"""Every setting is told to operators."""

from pathlib import Path

import pytest

from devbox.edge.layout import ServerSettings

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:7080"),
        ("0.0.0.0", "http://127.0.0.1:7080"),
        ("", "http://127.0.0.1:7080"),
        ("::", "http://[::1]:7080"),
        ("2001:db8::7", "http://[2001:db8::7]:7080"),
        ("devbox.example.com", "http://devbox.example.com:7080"),
    ],
)
def test_what_listens_everywhere_is_reached_on_loopback(host: str, url: str) -> None:
    settings = ServerSettings(gateway_host=host)
    assert settings.gateway_url == url
    secure = ServerSettings(gateway_host=host, tls_cert="/cert.pem")
    assert secure.gateway_url == url.replace("http:", "https:")


def test_every_setting_is_told() -> None:
    table = OPERATIONS.read_text().partition("## Settings")[2].partition("\n## ")[0]
    missing = [name for name in ServerSettings.__struct_fields__ if f"`{name}`" not in table]
    assert missing == []
