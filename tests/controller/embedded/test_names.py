"""Names of boxes: messages in, messages out."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.embedded.names import answer, local, parse

KNOWN = {("team", "db"): "10.1.0.2", ("foreign", "db"): "10.1.0.9"}


def query(name: str, kind: int = 1, identity: int = 7) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part)
    head = struct.pack(">HHHHHH", identity, 0x0100, 1, 0, 0, 0)
    return head + labels + b"\0" + struct.pack(">HH", kind, 1)


def ask(name: str, namespace: str | None = "team", kind: int = 1) -> bytes | None:
    return answer(query(name, kind), namespace, lambda *key: KNOWN.get(key))


def code(message: bytes | None) -> int:
    assert message is not None
    assert message[:2] == struct.pack(">H", 7)
    return message[3] & 0x0F


@pytest.mark.parametrize("name", ["db", "DB", "db.team", "db.team.devbox.internal"])
def test_a_neighbour_is_found(name: str) -> None:
    said = ask(name)
    assert code(said) == 0
    assert said is not None
    assert said.endswith(bytes([10, 1, 0, 2]))


@pytest.mark.parametrize(
    "name",
    ["web", "db.foreign.devbox.internal", "devbox.internal", "a.db.team.devbox.internal"],
)
def test_what_is_not_of_the_namespace_does_not_exist(name: str) -> None:
    assert code(ask(name)) == 3


@pytest.mark.parametrize("name", [".", "example.org", "db.foreign", "devbox.internal.example.org"])
def test_other_names_are_for_others(name: str) -> None:
    assert ask(name) is None


def test_a_neighbour_has_no_ipv6_address_but_exists() -> None:
    said = ask("db", kind=28)
    assert code(said) == 0
    assert said is not None
    assert struct.unpack_from(">H", said, 6) == (0,)


def test_who_is_no_box_gets_no_answer() -> None:
    assert ask("db", namespace=None) is None


def test_names_belong_to_whoever_asks() -> None:
    assert local("db", "foreign") == ("foreign", "db")
    assert local("db.team", "foreign") is None


@given(st.binary(max_size=80))
def test_any_bytes_are_taken(message: bytes) -> None:
    parse(message)
    answer(message, "team", lambda *_: None)
    answer(message, None, lambda *_: None)


@given(st.integers(0, 40))
def test_any_cut_is_taken(end: int) -> None:
    whole = query("db.team.devbox.internal")
    answer(whole[:end], "team", lambda *_: None)
