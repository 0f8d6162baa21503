"""`devbox lsp`: a language server for an editor here, that runs in a box."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devbox.cli.lazy import Call, command
from devbox.cli.options import Namespace, complete_projects

if TYPE_CHECKING:
    from devbox.cli.reach import Target

_PROJECT = "DEVBOX_PROJECT"


@command(
    "devbox lsp python --project hello",
    "devbox lsp go --project hello --root ~/src/hello",
)
def lsp(
    call: Call,
    language: Annotated[
        str, typer.Argument(metavar="LANGUAGE", help="python, go, cpp, typescript, ...")
    ],
    project: Annotated[
        str,
        typer.Option(
            "--project",
            "-p",
            metavar="NAME",
            help=f"The project; else ${_PROJECT}, else the name of the root folder.",
            autocompletion=complete_projects,
        ),
    ] = "",
    namespace: Namespace = "",
    root: Annotated[
        Path, typer.Option("--root", metavar="FOLDER", help="The project's folder here.")
    ] = Path(),
) -> int:
    """Speak LSP on standard input and output, served by the box's own language servers.

    Files below the root are those below the box's project folder. Others are named
    `devbox-fs://PROJECT.NAMESPACE/PATH`.
    """
    from devbox.cli.reach import target
    from devbox.cli.stdio import serve_stdio

    folder = root.expanduser().resolve()
    name = project or os.environ.get(_PROJECT, "") or folder.name
    wanted: Target = target(call, name, namespace)
    return serve_stdio(wanted, "lsp", {"language": language, "root": folder.as_uri()})
