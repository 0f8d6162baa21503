"""An editor here, a language server in a box: `devbox lsp` across the whole stack."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from devbox.edge.tasks import Tasks
from tests.support.editor import Editor
from tests.support.person import DEVBOX, Person
from tests.support.server import Server

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]
TEXT = "import os\nx = 'a'\n"


@pytest.fixture(scope="module")
def me(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """Somebody whose project's box has ruff."""
    person = Person(tmp_path_factory.mktemp("lsp") / "home", server.root)
    person.ok("create", "coder", "--runtime", "python", timeout=580)
    ruff = Path(sys.executable).with_name("ruff")
    person.ok("cp", str(ruff), "coder:/project/ruff")
    person.ok("exec", "coder", "--", "sudo install /project/ruff /usr/local/bin/ruff")
    yield person
    person.devbox("delete", "coder", "--yes")


@asynccontextmanager
async def editing(me: Person, folder: Path) -> AsyncIterator[Editor]:
    """An editor, whose configuration names `devbox lsp` as its language server."""
    command = [str(DEVBOX), "lsp", "python", "--project", "coder", "--root", str(folder)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=me.env, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    async with Tasks("test") as tasks:
        editor = Editor(process.stdout, process.stdin)
        tasks.start(editor.listen(), "editor")
        try:
            yield editor
            process.stdin.close()
            async with asyncio.timeout(30):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_an_editor_here_is_served_by_the_box(me: Person, tmp_path: Path) -> None:
    folder = tmp_path / "my app"
    folder.mkdir()
    uri = f"{folder.as_uri()}/main.py"
    async with editing(me, folder) as editor:
        answer = await editor.open(folder.as_uri())
        assert answer["serverInfo"]["name"] == "devbox (ruff)"
        editor.document(uri, TEXT)
        here = {"textDocument": {"uri": uri}}
        found = await editor.ask("textDocument/diagnostic", here)
        assert "F401" in {one["code"] for one in found["items"]}
        [edit] = await editor.ask(
            "textDocument/formatting", {**here, "options": {"tabSize": 4, "insertSpaces": True}}
        )
        assert '"a"' in edit["newText"]
    left = me.ok("exec", "coder", "--", "pgrep -fc 'ruff [s]erver' || true")
    assert left.strip() == "0"


def test_a_server_that_the_box_has_not_is_named_with_how_to_get_it(me: Person) -> None:
    said = me.devbox("lsp", "go", "--project", "coder")
    assert said.status != 0
    assert "the box has no language server for go" in said.err
    assert "go install" in said.err
