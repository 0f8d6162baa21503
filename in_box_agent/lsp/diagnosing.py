"""Diagnostics of several servers for one document: an editor keeps one list, so it gets all.

Pure.
"""

from typing import Any

import msgspec
from msgspec import Raw, UnsetType

from in_box_agent.lsp.envelope import raw


class Diagnoses:
    """What each server last said of each document. Bounded by open documents and what they hold."""

    def __init__(self) -> None:
        self._by_uri: dict[str, dict[int, list[Any]]] = {}

    def published(self, server: int, params: Raw | UnsetType) -> Raw | UnsetType:
        """The params of a server's publishDiagnostics, with what the others said."""
        if isinstance(params, UnsetType):
            return params
        value = msgspec.json.decode(params)
        each = self._by_uri.setdefault(value["uri"], {})
        each[server] = value["diagnostics"]
        if not any(each.values()):
            del self._by_uri[value["uri"]]
        found = [one for number in sorted(each) for one in each[number]]
        return raw({**value, "diagnostics": found})

    def closed(self, uri: str) -> None:
        """A document is closed: what servers say of it from now on is all."""
        self._by_uri.pop(uri, None)
