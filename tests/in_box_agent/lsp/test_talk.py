"""An editor at the bridge, with basedpyright and ruff behind it."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devbox.edge.tasks import Tasks
from devbox.model.errors import NotFound
from in_box_agent.lsp.talk import Talk
from in_box_agent.lsp.wishes import Around, Wish
from tests.support.editor import Editor

ROOT = "file:///home/me/my%20app"
MAIN = f"{ROOT}/main.py"
TEXT = "import os\nimport json\nfrom helper import greet\n\ngreet( 1 )\njson.dum\n"


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bin") / "devbox-exec"
    source = Path(__file__).parents[3] / "in_box_agent/init/exec.c"
    subprocess.run(["gcc", "-O1", "-o", str(made), str(source)], check=True)
    return made


@pytest.fixture
def around(starter: Path, tmp_path: Path) -> Around:
    project = tmp_path / "project"
    project.mkdir()
    (project / "helper.py").write_text("def greet(name: str) -> str:\n    return name\n")
    (project / "main.py").write_text(TEXT)
    env = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "HOME": str(tmp_path)}
    return Around(
        env=env,
        directory=str(project),
        home=str(tmp_path),
        starter=str(starter),
        project="hello.default",
    )


@pytest.fixture
async def editor(around: Around) -> AsyncIterator[Editor]:
    ours, theirs = socket.socketpair()
    near = await asyncio.open_unix_connection(sock=ours)
    far = await asyncio.open_unix_connection(sock=theirs)
    async with Tasks("test") as tasks:
        talk = Talk(Wish(language="python", root=ROOT), around, far)
        talking = tasks.start(talk.run(), "talk")
        one = Editor(*near)
        tasks.start(one.listen(), "editor")
        yield one
        near[1].close()
        await talking


async def test_one_server_towards_the_editor(editor: Editor) -> None:
    answer = await editor.open(ROOT)
    assert answer["serverInfo"] == {"name": "devbox (basedpyright-langserver+ruff)"}
    can = answer["capabilities"]
    assert can["completionProvider"]["triggerCharacters"]  # basedpyright's
    assert can["documentFormattingProvider"]  # ruff's
    assert can.get("positionEncoding", "utf-16") == "utf-16"


async def test_diagnostics_of_both_for_the_name_that_the_editor_gave(editor: Editor) -> None:
    await editor.open(ROOT)
    editor.document(MAIN, TEXT)

    def both(params: dict[str, list[dict[str, str]]]) -> bool:
        return {"basedpyright", "Ruff"} <= {one["source"] for one in params["diagnostics"]}

    found = await editor.hear("textDocument/publishDiagnostics", both)
    assert found["uri"] == MAIN
    codes = {one.get("code") for one in found["diagnostics"]}
    assert {"reportArgumentType", "F401"} <= codes


async def test_places_are_named_as_the_editor_knows_them(editor: Editor) -> None:
    await editor.open(ROOT)
    editor.document(MAIN, TEXT)
    here = {"textDocument": {"uri": MAIN}}
    [helper] = await editor.ask(
        "textDocument/definition", {**here, "position": {"line": 4, "character": 1}}
    )
    assert helper["uri"] == f"{ROOT}/helper.py"
    library = await editor.ask(
        "textDocument/definition", {**here, "position": {"line": 1, "character": 8}}
    )
    assert library[0]["uri"].startswith("devbox-fs://hello.default/")
    assert library[0]["uri"].endswith("/json/__init__.pyi")


async def test_answers_of_one_and_of_both(editor: Editor) -> None:
    await editor.open(ROOT)
    editor.document(MAIN, TEXT)
    here = {"textDocument": {"uri": MAIN}}
    hover = await editor.ask(
        "textDocument/hover", {**here, "position": {"line": 4, "character": 1}}
    )
    assert "def greet" in hover["contents"]["value"]
    offered = await editor.ask(
        "textDocument/completion", {**here, "position": {"line": 5, "character": 8}}
    )
    [dumps] = [item for item in offered["items"] if item["label"] == "dumps"]
    more = await editor.ask("completionItem/resolve", dumps)
    assert "Serialize" in more["documentation"]["value"]
    edits = await editor.ask(
        "textDocument/formatting", {**here, "options": {"tabSize": 4, "insertSpaces": True}}
    )
    assert edits[0]["newText"]
    span = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 9}}
    actions = await editor.ask(
        "textDocument/codeAction", {**here, "range": span, "context": {"diagnostics": []}}
    )
    titles = {one["title"] for one in actions}
    assert any("Ruff" in title for title in titles)
    [fix] = [one for one in actions if one["title"] == "Ruff: Fix all auto-fixable problems"]
    resolved = await editor.ask("codeAction/resolve", fix)
    assert resolved["edit"]


async def test_nobody_answers_a_method_of_nobody(editor: Editor) -> None:
    await editor.open(ROOT)
    answer = await editor.whole("textDocument/moniker", {"textDocument": {"uri": MAIN}})
    assert answer["error"]["code"] == -32601


async def test_shutdown_is_answered_once(editor: Editor) -> None:
    await editor.open(ROOT)
    assert await editor.ask("shutdown", None) is None


async def test_what_is_no_lsp_ends_with_a_sentence(around: Around) -> None:
    ours, theirs = socket.socketpair()
    near = await asyncio.open_unix_connection(sock=ours)
    far = await asyncio.open_unix_connection(sock=theirs)
    near[1].write(b"GET / HTTP/1.1\r\n\r\n")
    await Talk(Wish(language="python", root=ROOT), around, far).run()
    assert b"this is no header of LSP" in await near[0].read()
    near[1].close()


def test_a_box_without_a_server_says_how_to_get_one(around: Around) -> None:
    ours, theirs = asyncio.StreamReader, asyncio.StreamWriter
    with pytest.raises(NotFound, match="no language server for 'cobol' is known"):
        Talk(Wish(language="cobol"), around, (ours, theirs))  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="no language server for bash") as found:
        Talk(Wish(language="bash"), around, (ours, theirs))  # type: ignore[arg-type]
    assert (
        found.value.hint
        == "In the box: `npm install -g bash-language-server` gives it bash-language-server."
    )
