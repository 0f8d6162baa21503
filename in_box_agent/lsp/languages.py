"""Which language servers serve a language, and how each is started and got. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from devbox.model.errors import NotFound


@dataclass(frozen=True)
class Program:
    """A language server."""

    argv: tuple[str, ...]
    install: str
    """What a person types in a box to have it."""

    @property
    def name(self) -> str:
        """What it is called."""
        return self.argv[0]


def _npm(package: str, *argv: str) -> Program:
    return Program(argv, f"npm install -g {package}")


_PYTHON = (
    Program(("basedpyright-langserver", "--stdio"), "pip install basedpyright"),
    Program(("pyright-langserver", "--stdio"), "pip install pyright"),
    Program(("pylsp",), "pip install python-lsp-server"),
)
_WEB = "vscode-langservers-extracted"
LANGUAGES: Mapping[str, tuple[tuple[Program, ...], ...]] = {
    "python": (_PYTHON, (Program(("ruff", "server"), "pip install ruff"),)),
    "go": ((Program(("gopls",), "go install golang.org/x/tools/gopls@latest"),),),
    "cpp": ((Program(("clangd",), "sudo apt-get install clangd"),),),
    "rust": ((Program(("rust-analyzer",), "rustup component add rust-analyzer"),),),
    "java": ((Program(("jdtls",), "see the runtime's own packages"),),),
    "typescript": (
        (_npm("typescript-language-server typescript", "typescript-language-server", "--stdio"),),
    ),
    "html": ((_npm(_WEB, "vscode-html-language-server", "--stdio"),),),
    "css": ((_npm(_WEB, "vscode-css-language-server", "--stdio"),),),
    "json": ((_npm(_WEB, "vscode-json-language-server", "--stdio"),),),
    "bash": ((_npm("bash-language-server", "bash-language-server", "start"),),),
    "yaml": ((_npm("yaml-language-server", "yaml-language-server", "--stdio"),),),
}
"""Language -> parts, each of them one of several programs: the first that the box has."""


def find(language: str, has: Callable[[str], str | None]) -> list[tuple[str, Program]]:
    """Where the programs lie and which they are. `has` tells a program's path.

    Raises NotFound for an unknown language, and when the box has none of the servers.
    """
    parts = LANGUAGES.get(language)
    if parts is None:
        raise NotFound(
            f"no language server for {language!r} is known", f"Known are: {', '.join(LANGUAGES)}."
        )
    found = [one for part in parts if (one := _first(part, has)) is not None]
    if not found:
        wanted = parts[0][0]
        raise NotFound(
            f"the box has no language server for {language}",
            f"In the box: `{wanted.install}` gives it {wanted.name}.",
        )
    return found


def _first(
    programs: tuple[Program, ...], has: Callable[[str], str | None]
) -> tuple[str, Program] | None:
    for program in programs:
        if path := has(program.name):
            return path, program
    return None
