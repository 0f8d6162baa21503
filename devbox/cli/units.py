"""Sizes, times and settings as people read and type them. Pure."""

import re

from devbox.model.errors import BadInput

_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_KIB = 1024
_TEN = 10
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b)?", re.IGNORECASE)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def size(count: int) -> str:
    """`1.4 GiB`: binary units, two figures below ten."""
    value = float(count)
    for unit in _BYTE_UNITS:
        if value < _KIB or unit == _BYTE_UNITS[-1]:
            figures = f"{value:.1f}" if unit != "B" and value < _TEN else f"{value:.0f}"
            return f"{figures} {unit}"
        value /= _KIB
    raise AssertionError("unreachable")


def parse_size(text: str) -> int:
    """Bytes of `512M`, `2GiB`, `1.5g` or `1048576`; units are binary. Raises BadInput."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"{text!r} is not a size", "Write it like 512M or 2G.")
    power = " kmgt".index(match[2].lower() or " ")
    return int(float(match[1]) * _KIB**power)


def duration(seconds: float) -> str:
    """`0.42 s`, `12 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < _TEN:
        return f"{seconds:.2f} s"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    whole = int(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"


def age(then: float, now: float) -> str:
    """`just now`, `5 min ago`, `3 h ago`, `2 days ago`; `-` when there is no time."""
    if not then:
        return "-"
    passed = max(0, int(now - then))
    if passed < _TEN:
        return "just now"
    if passed < _MINUTE:
        return f"{passed} s ago"
    if passed < _HOUR:
        return f"{passed // _MINUTE} min ago"
    if passed < 2 * _DAY:
        return f"{passed // _HOUR} h ago"
    return f"{passed // _DAY} days ago"


def parse_env(items: list[str], here: "dict[str, str]") -> dict[str, str]:
    """`K=V` as is; `K` alone takes the value from `here`. Raises BadInput."""
    env: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise BadInput(f"{name!r} is no name of a variable", "Write --env NAME=VALUE.")
        if not equals and name not in here:
            raise BadInput(f"{name} is not set here", "Write --env NAME=VALUE, or export it first.")
        env[name] = value if equals else here[name]
    return env


def parse_port(text: str) -> tuple[int, str]:
    """`8080` or `8080:web`. Raises BadInput."""
    number, _, name = text.partition(":")
    if not number.isdecimal() or not 0 < int(number) < 1 << 16:
        raise BadInput(f"{number!r} is not a port", "A port is a number from 1 to 65535.")
    return int(number), name


def parse_lifetime(text: str) -> float:
    """Seconds of `90s`, `30m`, `12h`, `7d`; `0` is for ever. Raises BadInput."""
    match = re.fullmatch(r"(\d+)([smhd]?)", text)
    if match is None or (not match[2] and match[1] != "0"):
        raise BadInput(f"{text!r} is not a time", "Write it like 30m, 12h or 7d; 0 is for ever.")
    unit = {"": 1, "s": 1, "m": _MINUTE, "h": _HOUR, "d": _DAY}[match[2]]
    return float(int(match[1]) * unit)
