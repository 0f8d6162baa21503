"""Counting wrong credentials and places."""

import pytest

from gateway.limits import Failures, Places, network


def test_an_address_waits_for_the_rest_of_its_minute() -> None:
    failures = Failures(most=2)
    for now in (0.0, 10.0):
        assert failures.wait_s("10.0.0.1", now) == 0
        failures.note("10.0.0.1", now)
    assert failures.wait_s("10.0.0.1", 20.0) == 40.0
    assert failures.wait_s("10.0.0.2", 20.0) == 0
    assert failures.wait_s("10.0.0.1", 60.0) == 0
    failures.note("10.0.0.1", 61.0)
    assert failures.wait_s("10.0.0.1", 62.0) == 0


def test_only_so_many_addresses_are_remembered() -> None:
    failures = Failures(most=1, addresses=2)
    for address in ("a", "b", "c"):
        failures.note(address, 0.0)
    assert [failures.wait_s(address, 1.0) > 0 for address in "abc"] == [False, True, True]


def test_a_proxy_on_this_machine_is_spared() -> None:
    failures = Failures(most=1, spared=("127.0.0.1", "::1"))
    for address in ("127.0.0.1", "::1", "127.0.0.2"):
        failures.note(address, 0.0)
    assert [failures.wait_s(a, 1.0) for a in ("127.0.0.1", "::1", "127.0.0.2")] == [0, 0, 59.0]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("local", "local", True),
    ],
)
def test_what_counts_as_one_client(one: str, other: str, same: bool) -> None:
    assert (network(one) == network(other)) is same


def test_places_are_bounded_per_token_and_in_all() -> None:
    places = Places(per_token=2, in_all=3)
    assert [places.take(token, "x") for token in "aaabb"] == [True, True, False, True, False]
    places.give("a", "x")
    assert places.take("b", "x")
    assert places.total == 3


def test_places_are_bounded_per_client() -> None:
    places = Places(per_client=2, spared=("127.0.0.1",))
    clients = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "10.0.0.1"]
    assert [places.take(token, client) for token, client in zip("abcd", clients, strict=True)] == [
        True, True, False, True,
    ]  # fmt: skip
    places.give("a", "2001:db8::1")
    assert places.take("e", "2001:db8::4")
    assert all(places.take("f", "127.0.0.1") for _ in range(5))
