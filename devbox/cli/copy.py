"""`devbox cp`: scp with a project's name in front of the path."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from devbox.cli import known_hosts, openssh
from devbox.cli.lazy import Call, command, to_end
from devbox.cli.options import Namespace
from devbox.model.errors import BadInput

_REMOTE = re.compile(r"((?:[a-z0-9-]+/)?[a-z0-9-]+):(.*)", re.DOTALL)

Paths = Annotated[
    list[str], typer.Argument(metavar="FROM... TO", help="Paths; NAME:PATH is in a project's box.")
]


@command("devbox cp notes.txt hello:/project/", "devbox cp -r hello:/project/src .")
def cp(
    call: Call,
    paths: Paths,
    namespace: Namespace = "",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Directories too.")] = False,
) -> None:
    """Copy files to and from a box."""
    from devbox.cli.reach import target
    from devbox.cli.sessions import fetch_project

    if len(paths) < len(("from", "to")):
        raise BadInput("there is no destination", "Write devbox cp FROM… TO.")
    names = {name for name, _ in map(split, paths) if name}
    if len(names) != 1:
        what = "no project is named" if not names else "more than one project is named"
        raise BadInput(what, "One side is NAME:PATH, the other is here.")
    wanted = target(call, names.pop(), namespace)
    project = to_end(fetch_project(wanted))
    known_hosts.pin({project.uid: project.host_key})
    proxy = openssh.proxy_command(["--context", wanted.context.name, wanted.place])
    flags = ["-r"] if recursive else []
    words = [_for_scp(path, wanted.key.name) for path in paths]
    command_line = [openssh.program("scp"), *flags, *openssh.arguments(project.uid, proxy), "--"]
    command_line += words
    openssh.replace_process(command_line, dict(os.environ))


def split(path: str) -> tuple[str, str]:
    """Project and path of NAME:PATH; no project for what lies here, even with a colon in it."""
    match = _REMOTE.fullmatch(path)
    if match is None or Path(path).exists():
        return "", path
    return match[1], match[2]


def _for_scp(path: str, host: str) -> str:
    name, inner = split(path)
    if name:
        return f"{host}.devbox:{inner}"
    # scp takes what stands before a colon for a host, unless a slash comes first.
    return f"./{path}" if ":" in path and not path.startswith(("/", "./", "../")) else path
