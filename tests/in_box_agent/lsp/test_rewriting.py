"""Names of files in whole messages: every method that lsprotocol knows."""

import random
import subprocess
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol import types as lsp

from in_box_agent.lsp import rewriting
from in_box_agent.lsp.places import Places

PLACES = Places([("file:///home/me/app", "file:///project")])
ROOT = Path(__file__).parents[3]
EDITOR = "file:///home/me/app/"
URI_FIELDS = {"target", "href"}
PATTERN_FIELDS = {"rootPath", "pattern", "globPattern"}
KEYED = {"changes", "relatedDocuments"}


class Maker:
    """Makes a value of any type of LSP. Files are below `place/`, all other text below `text/`."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.places = 0
        self.texts = 0

    def make(self, hint: Any, name: str = "", depth: int = 0) -> Any:
        origin, inner = typing.get_origin(hint), typing.get_args(hint)
        if hint is str:
            return self._text(name)
        if hint is Any or hint is lsp.LSPObject:
            return {"where": [self._place()]} if self._random.random() < 0.7 else 3
        if origin is Union:
            return self._one_of(inner, name, depth)
        if origin is typing.Literal:
            return inner[0]
        if isinstance(origin, type) and issubclass(origin, Mapping):
            key = self._place() if name in KEYED else self._text("")
            return {key: self.make(inner[1], "", depth + 1)}
        if origin is tuple:
            return [self.make(one, "", depth + 1) for one in inner]
        if isinstance(origin, type) and issubclass(origin, Sequence):
            count = self._random.randrange(3) if depth < 6 else 0
            return [self.make(inner[0], name, depth + 1) for _ in range(count)]
        if isinstance(hint, type) and attrs.has(hint):
            return self._object(hint, depth)
        return {int: 1, float: 1.5, bool: True}.get(hint)

    def _one_of(self, inner: tuple[Any, ...], name: str, depth: int) -> Any:
        if depth > 6 and type(None) in inner:
            return None
        some = [one for one in inner if one is not type(None)]
        return self.make(self._random.choice(some), name, depth)

    def _object(self, cls: type, depth: int) -> dict[str, Any]:
        attrs.resolve_types(cls, vars(lsp), vars(lsp))
        made = {}
        for one in attrs.fields(cls):
            first, *rest = one.name.removesuffix("_").split("_")
            name = first + "".join(part.title() for part in rest)
            inner = "uri" if (cls.__name__, name) == ("NotebookCell", "document") else name
            made[name] = self.make(one.type, inner, depth + 1)
        return made

    def _text(self, name: str) -> str:
        if name.lower().endswith("uri") or name in URI_FIELDS:
            return self._place()
        if name in PATTERN_FIELDS:
            self.places += 1
            return "/home/me/app/place/**"
        self.texts += 1
        return f"{EDITOR}text/{self.texts}"

    def _place(self) -> str:
        self.places += 1
        return f"{EDITOR}place/{self.places}"


def sides() -> list[tuple[str, str, Any]]:
    found: list[tuple[str, str, Any]] = []
    for method, (_, response, params, _) in lsp.METHOD_TO_TYPES.items():
        if params:
            found.append((method, "params", params))
        if response is not None:
            attrs.resolve_types(response, vars(lsp), vars(lsp))
            found.append((method, "result", attrs.fields_dict(response)["result"].type))
    return found


@pytest.mark.parametrize(("method", "side", "hint"), sides())
def test_every_place_of_every_message_is_renamed_both_ways_and_no_text(
    method: str, side: str, hint: Any
) -> None:
    rewrite = getattr(rewriting, side)
    for seed in range(12):
        maker = Maker(seed)
        raw = msgspec.json.encode(maker.make(hint))
        box = rewrite(method, raw, PLACES.to_box)
        assert b"/home/me/app/place" not in box
        assert box.count(b"/project/place") == raw.count(b"/home/me/app/place") == maker.places
        assert box.count(b"/home/me/app/text") == raw.count(b"/home/me/app/text")
        back = rewrite(method, box, PLACES.to_editor)
        assert msgspec.json.decode(back) == msgspec.json.decode(raw)


@given(st.integers(0, 1 << 32), st.sampled_from(sides()))
@settings(max_examples=60)
def test_random_messages_come_back(seed: int, side: tuple[str, str, Any]) -> None:
    method, which, hint = side
    raw = msgspec.json.encode(Maker(seed).make(hint))
    rewrite = getattr(rewriting, which)
    back = rewrite(method, rewrite(method, raw, PLACES.to_box), PLACES.to_editor)
    assert msgspec.json.decode(back) == msgspec.json.decode(raw)


def test_what_holds_no_place_is_passed_as_the_bytes_it_was() -> None:
    odd = b'{"data" : [1,2 , 3.0e1], "resultId":"\\u00e4"}'
    assert rewriting.result("textDocument/semanticTokens/full", odd, PLACES.to_editor) is odd
    elsewhere = b'[ {"uri":"https://x/y", "range":{}} ]'
    assert rewriting.result("textDocument/definition", elsewhere, PLACES.to_editor) is elsewhere


def test_a_method_of_nobody_has_its_files_renamed_and_no_sentence() -> None:
    raw = b'{"at":"file:///project/a.py","said":"see file:///project/a.py"}'
    renamed = rewriting.params("java/buildIt", raw, PLACES.to_editor)
    assert msgspec.json.decode(renamed) == {
        "at": "file:///home/me/app/a.py",
        "said": "see file:///project/a.py",
    }


def test_the_table_is_what_lsprotocol_says() -> None:
    made = subprocess.run(
        [sys.executable, str(ROOT / "deploy/lsp_table.py")], capture_output=True, check=True
    ).stdout
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--line-length", "100", "-"],
        input=made,
        capture_output=True,
        check=True,
    ).stdout
    assert formatted == (ROOT / "in_box_agent/lsp/table.py").read_bytes()
