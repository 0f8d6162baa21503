"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer


def complete_projects(incomplete: str) -> list[str]:
    """Names of projects as last seen; asks nobody, for a shell waits."""
    from devbox.cli.files import cache_directory

    try:
        known = (cache_directory() / "projects").read_text().split()
    except (OSError, UnicodeDecodeError):
        return []
    return [name for name in known if name.startswith(incomplete)]


def remember_projects(names: list[str]) -> None:
    """Keep names for the shell's completion. Failing to is no failure."""
    from devbox.cli.files import cache_directory, write_atomically
    from devbox.model.errors import BadInput

    path = cache_directory() / "projects"
    text = "".join(f"{name}\n" for name in names)
    try:
        if not path.exists() or path.read_text() != text:
            write_atomically(path, text, 0o600)
    except (OSError, BadInput):
        return


def forget_project(name: str) -> None:
    """Complete this name no longer."""
    remember_projects([known for known in complete_projects("") if known != name])


def remember_project(name: str) -> None:
    """Complete this name too."""
    remember_projects(sorted({*complete_projects(""), name}))


ProjectName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The project: NAME, or NAMESPACE/NAME.",
        autocompletion=complete_projects,
        show_default=False,
    ),
]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace", "-n", metavar="NS", help="The project's namespace; else the context's."
    ),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait for the end.")]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="Read the token from here; `-` is stdin."),
]
