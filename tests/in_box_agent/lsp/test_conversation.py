"""One editor and two servers, message by message."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devbox.model.errors import BadInput
from in_box_agent.lsp.conversation import Conversation, ToEditor, ToServer
from in_box_agent.lsp.places import Places

PLACES = (("file:///home/me/app", "file:///project"), ("devbox-fs://hello.default", "file:///"))
HERE = {"textDocument": {"uri": "file:///home/me/app/a.py"}}
CAN = (
    {"hoverProvider": True, "completionProvider": {"triggerCharacters": ["."]}},
    {"hoverProvider": True, "completionProvider": {"triggerCharacters": ["/"]}},
)


class Table:
    """Says what each side gets: `e` is the editor, `0` and `1` are servers."""

    def __init__(self) -> None:
        self.talk = Conversation(Places(PLACES), ["first", "second"])

    def editor(self, **message: Any) -> list[tuple[str, Any]]:
        return told(self.talk.from_editor(json.dumps({"jsonrpc": "2.0", **message}).encode()))

    def server(self, number: int, **message: Any) -> list[tuple[str, Any]]:
        raw = json.dumps({"jsonrpc": "2.0", **message}).encode()
        return told(self.talk.from_server(number, raw))

    def open(self) -> "Table":
        asked = self.editor(id="i", method="initialize", params={"capabilities": {}})
        answers = [
            self.server(0, id=message["id"], result={"capabilities": can})
            for (_, message), can in zip(asked, CAN, strict=True)
        ]
        [(_, introduced)] = answers[-1]
        assert introduced["result"]["capabilities"] == {
            "hoverProvider": True,
            "completionProvider": {"triggerCharacters": [".", "/"]},
        }
        return self


def told(actions: list[ToEditor | ToServer]) -> list[tuple[str, Any]]:
    return [
        ("e" if isinstance(one, ToEditor) else str(one.server), msgspec.json.decode(one.message))
        for one in actions
    ]


def test_both_are_asked_and_their_answers_are_one() -> None:
    table = Table().open()
    first, second = table.editor(id=7, method="textDocument/completion", params=HERE)
    assert [to for to, _ in (first, second)] == ["0", "1"]
    assert first[1]["params"]["textDocument"]["uri"] == "file:///project/a.py"
    assert first[1]["id"] != second[1]["id"]
    assert table.server(1, id=second[1]["id"], result=[{"label": "b", "data": 5}]) == []
    [(to, answer)] = table.server(0, id=first[1]["id"], result={"items": [{"label": "a"}]})
    assert (to, answer["id"]) == ("e", 7)
    labels = [one["label"] for one in answer["result"]["items"]]
    assert labels == ["a", "b"]
    [(whose, asked)] = table.editor(
        id=8, method="completionItem/resolve", params=answer["result"]["items"][1]
    )
    assert (whose, asked["params"]) == ("1", {"label": "b", "data": 5})


def test_an_error_of_one_does_not_hide_the_answer_of_the_other() -> None:
    table = Table().open()
    first, second = table.editor(id=7, method="textDocument/hover", params=HERE)
    table.server(0, id=first[1]["id"], error={"code": 1, "message": "no"})
    [(_, answer)] = table.server(1, id=second[1]["id"], result={"contents": "text"})
    assert answer["result"]["contents"]["value"] == "text"


def test_a_cancelled_request_is_cancelled_at_both() -> None:
    table = Table().open()
    parts = table.editor(id="h", method="textDocument/hover", params=HERE)
    cancelled = table.editor(method="$/cancelRequest", params={"id": "h"})
    assert [(to, one["params"]["id"]) for to, one in cancelled] == [
        (to, one["id"]) for to, one in parts
    ]


def test_two_servers_may_ask_with_the_same_id_and_name_things_alike() -> None:
    table = Table().open()
    params = {"registrations": [{"id": "r", "method": "textDocument/rename"}]}
    asked = [
        table.server(number, id=1, method="client/registerCapability", params=params)[0][1]
        for number in (0, 1)
    ]
    assert asked[0]["id"] != asked[1]["id"]
    assert [one["params"]["registrations"][0]["id"] for one in asked] == ["0:r", "1:r"]
    [(to, answer)] = table.editor(id=asked[1]["id"], result=None)
    assert (to, answer["id"]) == ("1", 1)
    assert [to for to, _ in table.editor(id=9, method="textDocument/rename", params=HERE)] == ["0"]


def test_progress_of_a_server_is_told_and_cancelled_under_a_name_of_its_own() -> None:
    table = Table().open()
    [(_, made)] = table.server(
        1, id=1, method="window/workDoneProgress/create", params={"token": 4}
    )
    token = made["params"]["token"]
    [(_, progress)] = table.server(
        1, method="$/progress", params={"token": 4, "value": {"kind": "begin"}}
    )
    assert progress["params"]["token"] == token
    [(to, stop)] = table.editor(method="window/workDoneProgress/cancel", params={"token": token})
    assert (to, stop["params"]["token"]) == ("1", 4)


def test_diagnostics_of_both_are_told_together() -> None:
    table = Table().open()
    uri = "file:///project/a.py"
    method = "textDocument/publishDiagnostics"
    table.server(0, method=method, params={"uri": uri, "diagnostics": [{"message": "one"}]})
    [(_, both)] = table.server(
        1, method=method, params={"uri": uri, "diagnostics": [{"message": "two"}]}
    )
    assert [one["message"] for one in both["params"]["diagnostics"]] == ["one", "two"]
    assert both["params"]["uri"] == HERE["textDocument"]["uri"]


def test_when_a_server_ends_its_part_is_an_error_and_the_rest_goes_on() -> None:
    table = Table().open()
    first, _ = table.editor(id=7, method="textDocument/hover", params=HERE)
    assert told(table.talk.ended(1, "gone")) == []
    [(_, answer)] = table.server(0, id=first[1]["id"], result={"contents": "text"})
    assert answer["result"]["contents"]["value"] == "text"
    [(to, _)] = table.editor(id=8, method="textDocument/hover", params=HERE)
    assert to == "0"
    [(_, lost)] = told(table.talk.ended(0, "gone too"))
    assert lost["error"]["message"] == "gone too"


words = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "h", "0:r"])
names = st.sampled_from(
    ["id", "method", "params", "token", "textDocument", "uri", "registrations", "command", "data"]
)
methods = st.sampled_from(
    [
        "initialize",
        "textDocument/didOpen",
        "textDocument/didClose",
        "$/cancelRequest",
        "$/progress",
        "workspace/executeCommand",
        "completionItem/resolve",
        "client/registerCapability",
        "textDocument/publishDiagnostics",
    ]
)
anything = st.recursive(
    words, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3)
)


@given(st.lists(st.tuples(st.booleans(), words, methods | words, anything, anything), max_size=6))
def test_whatever_is_said_is_understood_or_is_one_error(said: list[tuple[Any, ...]]) -> None:
    table = Table().open()
    for editor, number, method, params, result in said:
        message = {"id": number, "method": method, "params": params, "result": result}
        kept = {name: one for name, one in message.items() if one != ""}
        try:
            if editor:
                table.editor(**kept)
            else:
                table.server(1, **kept)
        except BadInput:
            pass


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"7", b'{"id": {}}', b"\xff"])
def test_what_is_no_message_is_one_error(raw: bytes) -> None:
    with pytest.raises(BadInput, match="no message of LSP"):
        Table().talk.from_editor(raw)
