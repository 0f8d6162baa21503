"""Sizes, times and settings."""

import pytest

from devbox.cli import units
from devbox.model.errors import BadInput


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (20 << 20, "20 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert units.size(count) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1048576", 1 << 20),
        ("512M", 512 << 20),
        ("2GiB", 2 << 30),
        ("1.5g", 3 << 29),
        ("1 kb", 1024),
    ],
)
def test_sizes_are_read(text: str, count: int) -> None:
    assert units.parse_size(text) == count


def test_a_size_reads_back_about_equal() -> None:
    for power in range(50):
        for count in (1 << power, (1 << power) + 1, 3 << power, (1 << power) * 10 - 1):
            assert abs(units.parse_size(units.size(count)) - count) <= count * 0.06


@pytest.mark.parametrize("text", ["", "M", "-1", "2X", "1.2.3G"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(BadInput):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.419, "0.42 s"), (12.3, "12 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (3, "just now"),
        (30, "30 s ago"),
        (3599, "59 min ago"),
        (7200, "2 h ago"),
        (2e5, "2 days ago"),
    ],
)
def test_ages(passed: float, text: str) -> None:
    assert units.age(1e9, 1e9 + passed) == text
    assert units.age(0.0, 1e9) == "-"


def test_variables_are_given_or_taken_from_here() -> None:
    assert units.parse_env(["A=1=2", "B", "C="], {"B": "b"}) == {"A": "1=2", "B": "b", "C": ""}
    with pytest.raises(BadInput, match="is not set here"):
        units.parse_env(["B"], {})
    with pytest.raises(BadInput, match="no name"):
        units.parse_env(["1A=2"], {})


def test_ports() -> None:
    assert [units.parse_port(t) for t in ("80", "8080:web")] == [(80, ""), (8080, "web")]
    for text in ("0", "65536", "http", "-1"):
        with pytest.raises(BadInput):
            units.parse_port(text)


def test_lifetimes() -> None:
    assert [units.parse_lifetime(t) for t in ("0", "90s", "12h", "7d")] == [0, 90, 43200, 604800]
    with pytest.raises(BadInput):
        units.parse_lifetime("12")
