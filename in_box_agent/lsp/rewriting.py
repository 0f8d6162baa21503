"""Names of files in a message's raw JSON, changed from the editor's to the box's or back.

Pure. The table says where a method's params and result can hold one; whatever holds none, or no
file's scheme at all, is passed as the bytes it was. Decoding a message costs more than looking for
a few letters in it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from in_box_agent.lsp.table import METHODS, NODES

_UNKNOWN = ("any",)
"""Of methods that LSP does not have: whatever looks like a file's URI is one."""
_MARKS = (b"file:", b"devbox-fs:", b"FILE:", b"rootPath", b"glob", b"pattern")
_PLACES = ("file:", "devbox-fs:")


class Names(Protocol):
    """One direction of `places`."""

    def uri(self, uri: str) -> str:
        """A URI renamed."""
        ...

    def path(self, path: str) -> str:
        """A path or pattern renamed."""
        ...


def params(method: str, raw: bytes, names: Names) -> bytes:
    """The params of a request or notification, renamed."""
    return _rewrite(METHODS.get(method, (_UNKNOWN, _UNKNOWN))[0], raw, names)


def result(method: str, raw: bytes, names: Names) -> bytes:
    """The result of a request with this method, renamed."""
    return _rewrite(METHODS.get(method, (_UNKNOWN, _UNKNOWN))[1], raw, names)


def _rewrite(targets: tuple[str, ...], raw: bytes, names: Names) -> bytes:
    if not targets or not any(mark in raw for mark in _MARKS):
        return raw
    value = msgspec.json.decode(raw)
    renamed = _Walk(names).value(targets, value)
    return raw if renamed is value else msgspec.json.encode(renamed)


class _Walk:
    """Answers the very same object where nothing in it changed."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._kinds: Mapping[str, Callable[[Any], Any]] = {
            "uri": self._uri,
            "path": self._path,
            "glob": self._path,
            "any": self._anything,
        }

    def value(self, targets: tuple[str, ...], value: Any) -> Any:
        """One value, which may be any of the targets."""
        if isinstance(value, list):
            return _same(value, [self.value(targets, one) for one in value])
        if isinstance(value, dict):
            return self._object(targets, value)
        for target in targets:
            if target in self._kinds:
                return self._kinds[target](value)
        return value

    def _object(self, targets: tuple[str, ...], value: dict[str, Any]) -> dict[str, Any]:
        if "keys" in targets:
            below = tuple(one for one in targets if one != "keys")
            return {self._names.uri(key): self.value(below, one) for key, one in value.items()}
        if "any" in targets:
            return self._fields(value, dict.fromkeys(value, _UNKNOWN))
        fields: dict[str, tuple[str, ...]] = {}
        for target in targets:
            for name, found in NODES.get(target, {}).items():
                fields[name] = (*fields.get(name, ()), *found)
        return self._fields(value, fields)

    def _fields(
        self, value: dict[str, Any], fields: Mapping[str, tuple[str, ...]]
    ) -> dict[str, Any]:
        changed = {}
        for name in fields.keys() & value.keys():
            renamed = self.value(fields[name], value[name])
            if renamed is not value[name]:
                changed[name] = renamed
        return {**value, **changed} if changed else value

    def _uri(self, value: Any) -> Any:
        return self._names.uri(value) if isinstance(value, str) else value

    def _anything(self, value: Any) -> Any:
        if isinstance(value, str) and value.startswith(_PLACES):
            return self._names.uri(value)
        return value

    def _path(self, value: Any) -> Any:
        return self._names.path(value) if isinstance(value, str) else value


def _same(old: list[Any], new: list[Any]) -> list[Any]:
    return old if all(one is two for one, two in zip(old, new, strict=True)) else new
