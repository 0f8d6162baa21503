"""Structs to and from columns."""

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def pack(value: Any) -> str:
    """A struct as a column."""
    return msgspec.json.encode(value).decode()


def unpack(text: str, kind: type[T]) -> T:
    """A column as a struct."""
    return msgspec.json.decode(text, type=kind)
