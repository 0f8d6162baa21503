"""What people write for forwards."""

import pytest

from devbox.cli.places import Place, Route, parse_route
from devbox.model.errors import BadInput


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("8080", Place(8080), Place(8080)),
        ("0:80", Place(0), Place(80)),
        ("15432:db:5432", Place(15432), Place(5432, "db")),
        ("8080:/run/app.sock", Place(8080), Place(path="/run/app.sock")),
        ("./a:80", Place(path="./a"), Place(80)),
        ("/a/b:db:80", Place(path="/a/b"), Place(80, "db")),
        ("/a:/b", Place(path="/a"), Place(path="/b")),
    ],
)
def test_routes(text: str, near: Place, far: Place) -> None:
    assert parse_route(text) == Route(near, far)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        ":",
        "80:",
        "1:2:3:4",
        "70000",
        "x",
        "-1",
        "/a",
        "80:0",
        "80::90",
        "a:80",
        "80:a/b:1",
    ],
)
def test_what_leads_nowhere(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_route(text)
    assert "8080:80" in caught.value.hint
