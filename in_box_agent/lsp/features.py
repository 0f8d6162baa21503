"""Which capability of a server answers a method, and how several answers become one.

Pure. Source: LSP 3.18, "Server Capabilities" and each request's own section.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Json = Any
_FEATURES = (
    "callHierarchy codeAction codeLens color completion declaration definition diagnostic"
    " documentFormatting documentHighlight documentLink documentOnTypeFormatting"
    " documentRangeFormatting documentSymbol executeCommand foldingRange hover implementation"
    " inlayHint inlineCompletion inlineValue linkedEditingRange moniker references rename"
    " selectionRange semanticTokens signatureHelp typeDefinition typeHierarchy workspaceSymbol"
)
PROVIDERS: Mapping[str, str] = {
    **{f"textDocument/{name}": f"{name}Provider" for name in _FEATURES.split()},
    "textDocument/formatting": "documentFormattingProvider",
    "textDocument/rangeFormatting": "documentRangeFormattingProvider",
    "textDocument/rangesFormatting": "documentRangeFormattingProvider",
    "textDocument/onTypeFormatting": "documentOnTypeFormattingProvider",
    "textDocument/documentColor": "colorProvider",
    "textDocument/colorPresentation": "colorProvider",
    "textDocument/prepareRename": "renameProvider",
    "textDocument/prepareCallHierarchy": "callHierarchyProvider",
    "textDocument/prepareTypeHierarchy": "typeHierarchyProvider",
    "callHierarchy/incomingCalls": "callHierarchyProvider",
    "callHierarchy/outgoingCalls": "callHierarchyProvider",
    "typeHierarchy/supertypes": "typeHierarchyProvider",
    "typeHierarchy/subtypes": "typeHierarchyProvider",
    "textDocument/semanticTokens/full": "semanticTokensProvider",
    "textDocument/semanticTokens/full/delta": "semanticTokensProvider",
    "textDocument/semanticTokens/range": "semanticTokensProvider",
    "workspace/diagnostic": "diagnosticProvider",
    "workspace/symbol": "workspaceSymbolProvider",
    "workspace/executeCommand": "executeCommandProvider",
}
"""Method -> the field of the server's capabilities that promises it."""

RESOLVES: Mapping[str, str] = {
    "completionItem/resolve": "textDocument/completion",
    "codeAction/resolve": "textDocument/codeAction",
    "codeLens/resolve": "textDocument/codeLens",
    "documentLink/resolve": "textDocument/documentLink",
    "inlayHint/resolve": "textDocument/inlayHint",
    "workspaceSymbol/resolve": "workspace/symbol",
}
"""A method that asks for more about an item -> the method that gave the item."""
_UNIONS = ("triggerCharacters", "allCommitCharacters", "retriggerCharacters", "commands")


def capabilities(each: Sequence[Json]) -> Json:
    """What all servers together can do. The first one counts where only one can."""
    merged: dict[str, Any] = {}
    for one in each:
        merged = _both(merged, one)
    return merged


def _both(one: Json, two: Json) -> Json:
    if isinstance(one, dict) and isinstance(two, dict):
        names = {**one, **two}
        return {
            name: _field(name, one[name], two[name]) if name in one and name in two else names[name]
            for name in names
        }
    if isinstance(one, dict):
        return one
    if isinstance(two, dict) and isinstance(one, bool | None):
        return two
    return one or two


def _field(name: str, one: Json, two: Json) -> Json:
    if name in _UNIONS and isinstance(one, list) and isinstance(two, list):
        return list(dict.fromkeys([*one, *two]))
    if name == "codeActionKinds":
        return list(dict.fromkeys([*one, *two]))
    if name == "legend":
        return one
    return _both(one, two)


def _lists(each: Sequence[Json]) -> Json:
    found: list[Any] = []
    for one in each:
        found += one if isinstance(one, list) else [one]
    return found


def _completions(each: Sequence[Json]) -> Json:
    whole = [one if isinstance(one, dict) else {"items": one} for one in each]
    items = [item for one in whole for item in _with_defaults(one)]
    return {"isIncomplete": any(one.get("isIncomplete", False) for one in whole), "items": items}


def _with_defaults(one: Json) -> list[Json]:
    """Items with their list's defaults in them: another list has other ones."""
    defaults = one.get("itemDefaults") or {}
    if not defaults:
        return list(one["items"])
    place = defaults.get("editRange")
    rest = {name: value for name, value in defaults.items() if name != "editRange"}
    return [{**rest, **_edit(item, place)} for item in one["items"]]


def _edit(item: Json, place: Json) -> Json:
    if place is None or "textEdit" in item:
        return item
    edit = {"newText": item.get("textEditText", item["label"])}
    return {**item, "textEdit": {**edit, **(place if "insert" in place else {"range": place})}}


def _hovers(each: Sequence[Json]) -> Json:
    text = "\n\n---\n\n".join(_markdown(one["contents"]) for one in each)
    ranges = [one["range"] for one in each if "range" in one]
    return {
        "contents": {"kind": "markdown", "value": text},
        **({"range": ranges[0]} if ranges else {}),
    }


def _markdown(contents: Json) -> str:
    if isinstance(contents, list):
        return "\n\n".join(_markdown(one) for one in contents)
    if isinstance(contents, str):
        return contents
    if "language" in contents:
        return f"```{contents['language']}\n{contents['value']}\n```"
    return str(contents["value"])


Merge = Callable[[Sequence[Json]], Json]
MERGES: Mapping[str, Merge] = {
    "textDocument/completion": _completions,
    "textDocument/hover": _hovers,
    **dict.fromkeys(
        (
            "textDocument/codeAction",
            "textDocument/codeLens",
            "textDocument/documentLink",
            "textDocument/inlayHint",
            "textDocument/references",
            "textDocument/definition",
            "textDocument/documentHighlight",
            "workspace/symbol",
        ),
        _lists,
    ),
}
"""Methods that every server which can is asked; others are asked of the first."""
