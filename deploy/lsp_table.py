"""Writes in_box_agent/lsp/table.py: where a message of LSP can hold a URI, from lsprotocol's types.

    python deploy/lsp_table.py > in_box_agent/lsp/table.py

A node is a type; its fields lead to a kind of value (`uri`, `path`, `glob`, `any`, `keys`) or to
another node. What leads to none is left out, so most of a message is never looked at.
"""

import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Union

import attrs
from lsprotocol import types as lsp

_NAMES = {
    "uri": "uri",
    "scope_uri": "uri",
    "root_uri": "uri",
    "base_uri": "uri",
    "old_uri": "uri",
    "new_uri": "uri",
    "target_uri": "uri",
    "target": "uri",
    "href": "uri",
    "root_path": "path",
    "pattern": "glob",
    "glob_pattern": "glob",
}
"""Fields whose strings are places. `NotebookCell.document` is the one that is told by its class."""
_KEYED_BY_URI = {"changes", "related_documents"}
Target = tuple[str, ...]
"""Kinds and nodes that a value may be."""


class Table:
    """Nodes by class name."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, Target]] = {}

    def targets(self, hint: Any, name: str = "", owner: str = "") -> Target:
        """What a value of a type may be."""
        origin = typing.get_origin(hint)
        inner = typing.get_args(hint)
        if hint is Any or hint is lsp.LSPObject:
            return ("any",)
        if hint is str:
            named = "uri" if (owner, name) == ("NotebookCell", "document") else _NAMES.get(name)
            return (named,) if named else ()
        if origin in {Union, types.UnionType}:
            return self._any_of(inner, name, owner)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            below = self.targets(inner[1], "", owner)
            return ("keys", *below) if name in _KEYED_BY_URI else below
        if origin is tuple or (isinstance(origin, type) and issubclass(origin, Sequence)):
            return self._any_of(inner, name, owner)
        if isinstance(hint, type) and attrs.has(hint):
            self._enter(hint)
            return (hint.__name__,)
        return ()

    def _any_of(self, hints: tuple[Any, ...], name: str, owner: str) -> Target:
        found = {one: None for hint in hints for one in self.targets(hint, name, owner)}
        return tuple(found)

    def _enter(self, cls: type[Any]) -> None:
        if cls.__name__ in self.nodes:
            return
        fields = self.nodes[cls.__name__] = {}
        attrs.resolve_types(cls, vars(lsp), vars(lsp))
        for one in attrs.fields(cls):
            fields[_camel(one.name)] = self.targets(one.type, one.name, cls.__name__)

    def prune(self) -> None:
        """Leave out what leads nowhere."""
        kinds = {"uri", "path", "glob", "any", "keys"}
        good: set[str] = set(kinds)
        while True:
            more = {
                name
                for name, fields in self.nodes.items()
                if name not in good and any(set(found) & good for found in fields.values())
            }
            if not more:
                break
            good |= more
        self.nodes = {
            name: {
                key: kept
                for key, found in fields.items()
                if (kept := tuple(one for one in found if one in good))
            }
            for name, fields in self.nodes.items()
            if name in good
        }


def _camel(name: str) -> str:
    first, *rest = name.removesuffix("_").split("_")
    return first + "".join(part.title() for part in rest)


def methods(table: Table) -> dict[str, tuple[Target, Target]]:
    """Method -> what its params and its result may be."""
    found = {}
    for method, (_, response, params, _) in lsp.METHOD_TO_TYPES.items():
        asked = table.targets(params) if params else ()
        answered: Target = ()
        if response is not None:
            attrs.resolve_types(response, vars(lsp), vars(lsp))
            field = attrs.fields_dict(response).get("result")
            answered = table.targets(field.type) if field is not None else ()
        found[method] = (asked, answered)
    return found


def main() -> None:
    """Print the module."""
    table = Table()
    found = methods(table)
    table.prune()
    alive = {"uri", "any", *table.nodes}
    write = sys.stdout.write
    write(
        '"""Where messages of LSP hold places. Written by deploy/lsp_table.py; do not edit."""\n\n'
    )
    write("NODES: dict[str, dict[str, tuple[str, ...]]] = {\n")
    for name, fields in sorted(table.nodes.items()):
        inner = ", ".join(f'"{key}": {_tuple(found)}' for key, found in sorted(fields.items()))
        write(f'    "{name}": {{{inner}}},\n')
    write('}\n"""Type -> field -> what its value may be: a kind of value, or a type."""\n\n')
    write("METHODS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {\n")
    for method, pair in sorted(found.items()):
        kept = [_tuple(tuple(one for one in side if one in alive)) for side in pair]
        write(f'    "{method}": ({kept[0]}, {kept[1]}),\n')
    write('}\n"""Method -> what its params and its result may be."""\n')


def _tuple(targets: Target) -> str:
    inner = ", ".join(f'"{one}"' for one in targets)
    return f"({inner},)" if len(targets) == 1 else f"({inner})"


if __name__ == "__main__":
    main()
