"""Addresses parse and print one form."""

import pytest

from devbox.model.address import Address, parse_url
from devbox.model.errors import BadInput

TOKEN = "0123456789abcdef0123456789abcdef"
GOOD = f"/home/here/team/hello/{TOKEN}"


@pytest.mark.smoke
def test_one_form_both_ways() -> None:
    address = Address.parse(GOOD)
    assert address == Address("home", "here", "team", "hello", TOKEN)
    assert str(address) == GOOD


def test_repr_hides_the_token() -> None:
    assert TOKEN not in repr(Address.parse(GOOD))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD[1:], "begin with '/'"),
        ("/", "1 parts"),
        (GOOD + "/", "6 parts"),
        (f"//here/team/hello/{TOKEN}", "cluster"),
        (f"/home/HERE/team/hello/{TOKEN}", "region"),
        (f"/home/here/-team/hello/{TOKEN}", "namespace"),
        (f"/home/here/team/{'a' * 64}/{TOKEN}", "project"),
        (f"/home/here/team/hello/{TOKEN.upper()}", "token"),
        (f"/home/here/team/hello/{TOKEN[1:]}", "token"),
        (f"/home/here/team/hello/{TOKEN}\n", "token"),
        (f"/home/here/te%61m/hello/{TOKEN}", "namespace"),
    ],
)
def test_malformed_names_the_part(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        Address.parse(text)
    assert TOKEN[1:] not in str(caught.value)


def test_urls() -> None:
    assert parse_url(f"wss://box.example:8443{GOOD}") == (
        "https://box.example:8443",
        Address.parse(GOOD),
    )
    assert parse_url(f"ws://127.0.0.1:7080{GOOD}")[0] == "http://127.0.0.1:7080"


@pytest.mark.parametrize(
    "text",
    [GOOD, f"ftp://host{GOOD}", f"wss://{GOOD}", f"wss://me:pw@host{GOOD}", f"wss://host{GOOD}?a"],
)
def test_bad_urls(text: str) -> None:
    with pytest.raises(BadInput):
        parse_url(text)
