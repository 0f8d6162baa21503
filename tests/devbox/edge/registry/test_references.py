"""Image references, and which of them lead back to the server's own machine."""

import pytest

from devbox.edge.registry.references import Reference
from devbox.model.errors import BadInput


@pytest.mark.parametrize(
    ("host", "near", "plain"),
    [
        ("registry.example.com", False, False),
        ("registry.example.com:5000", False, False),
        ("10.1.2.3:5000", False, False),
        ("localhost", True, True),
        ("localhost:5000", True, True),
        ("a.localhost", True, False),
        ("127.0.0.1:7081", True, True),
        ("127.9.9.9", True, True),
        ("[::1]:5000", True, True),
        ("[::ffff:7f00:1]", True, True),
        ("[fe80::1]", True, False),
        ("0.0.0.0:7081", True, False),
        ("169.254.169.254", True, False),
        # Spellings that a resolver takes for 127.0.0.1.
        ("127.1:7081", True, False),
        ("127.0.0.01", True, False),
        ("127.0.0.0x1", True, False),
        # A name of somebody else's, which may resolve to anything.
        ("127.0.0.1.example.com:7081", False, False),
        ("localhost.example.com", False, False),
    ],
)
def test_where_a_registry_is(host: str, near: bool, plain: bool) -> None:
    reference = Reference.parse(f"{host}/team/tool:1")
    assert reference.is_near is near
    assert reference.base_url == f"{'http' if plain else 'https'}://{host}"


def test_a_reference_is_written_as_it_was_read() -> None:
    for text in ("a.example/x:1", f"a.example:5000/x/y@sha256:{'0' * 64}"):
        assert str(Reference.parse(text)) == text
    assert Reference.parse("a.example/x").name == "latest"


@pytest.mark.parametrize("text", ["python", "team/tool:1", "a.example/", "a.example/UP", "/x", ""])
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(BadInput):
        Reference.parse(text)
