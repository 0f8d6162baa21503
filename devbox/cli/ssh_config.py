"""`devbox ssh-config`: entries for `ssh NAME.devbox`, and for every IDE that reads them.

Owns `~/.config/devbox/ssh_config` and one Include line in `~/.ssh/config`, nothing else there.
"""

import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from devbox.cli import known_hosts, openssh
from devbox.cli.files import PRIVATE, config_directory, locked, read_text, write_atomically
from devbox.cli.lazy import Call, command
from devbox.model.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devbox.cli.config import Context
    from devbox.cli.reach import Gateway
    from devbox.model.projects import Project

_HEADER = "# Written by `devbox ssh-config --write`; every writing replaces it.\n"
_FIRST_BLOCK = re.compile(r"^\s*(host|match)\b", re.IGNORECASE)


@command("devbox ssh-config --write", "devbox ssh-config --print", "devbox ssh-config --remove")
async def ssh_config(
    call: Call,
    write: Annotated[bool, typer.Option("--write", help="Write entries of all projects.")] = False,
    print_it: Annotated[bool, typer.Option("--print", help="Only show them.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take them away again.")] = False,
) -> None:
    """Let plain `ssh NAME.devbox`, scp, rsync, git, VS Code and JetBrains reach boxes."""
    if write + print_it + remove != 1:
        raise BadInput("what to do was not said", "Give one of --write, --print and --remove.")
    if remove:
        _remove(call)
        return
    from devbox.cli.reach import open_gateway
    from devbox.model.orchestrator import ListProjects

    async with open_gateway(call) as gateway:
        projects = (await gateway.api.list_projects(ListProjects())).projects
    text = entries(projects, gateway.context)
    if print_it:
        call.screen.answer({"ssh_config": text})
        call.screen.say(text.rstrip("\n"))
        return
    write_entries(projects, gateway.context)
    include(ssh_config_path(), own_path())
    hosts = [name for project in projects for name in hosts_of(project, gateway.context)]
    call.screen.answer({"file": str(own_path()), "hosts": hosts})
    call.screen.say(f"{len(projects)} {'entry' if len(projects) == 1 else 'entries'} written.")
    if hosts:
        call.screen.note(f"Next: ssh {hosts[0]}")


def ssh_config_path() -> Path:
    """The person's own file."""
    return Path.home() / ".ssh" / "config"


def own_path() -> Path:
    """Our file."""
    return config_directory() / "ssh_config"


def hosts_of(project: "Project", context: "Context") -> list[str]:
    """Names of a project's host: the short one only in the context's own namespace."""
    long = f"{project.name}.{project.namespace}.devbox"
    return [f"{project.name}.devbox", long] if project.namespace == context.namespace else [long]


def entries(projects: "Iterable[Project]", context: "Context") -> str:
    """Our file's text."""
    return _HEADER + "".join(_entry(project, context) for project in projects)


def _entry(project: "Project", context: "Context") -> str:
    place = f"{project.namespace}/{project.name}"
    proxy = openssh.proxy_command(["--context", context.name, place])
    lines = [f"\nHost {' '.join(hosts_of(project, context))}\n"]
    for keyword, value in openssh.options(project.uid, proxy):
        lines.append(f"    {keyword} {openssh.quoted(keyword, value)}\n")
    return "".join(lines)


def write_entries(projects: "Iterable[Project]", context: "Context") -> None:
    """Pin the keys and replace our file."""
    found = list(projects)
    known_hosts.pin({project.uid: project.host_key for project in found})
    with locked(config_directory()):
        write_atomically(own_path(), entries(found, context), PRIVATE)


async def refresh(gateway: "Gateway") -> None:
    """After a project came or went: write our file anew, if the person ever wrote it."""
    from devbox.model.errors import DevboxError
    from devbox.model.orchestrator import ListProjects

    if not own_path().exists():
        return
    try:
        projects = (await gateway.api.list_projects(ListProjects())).projects
        write_entries(projects, gateway.context)
    except DevboxError:
        # What the person asked for is done; `ssh-config --write` will tell what is wrong here.
        return


def _remove(call: Call) -> None:
    exclude(ssh_config_path(), own_path())
    with locked(config_directory()):
        own_path().unlink(missing_ok=True)
        known_hosts.path().unlink(missing_ok=True)
    call.screen.answer({"removed": str(own_path())})
    call.screen.say("The entries are gone; ~/.ssh/config has no line of ours any more.")


def include_line(own: PurePath) -> str:
    """The one line of ours in the person's file. In quotes: a path may have spaces."""
    return f"Include {openssh.quoted_path(str(own))}"


def include(config: Path, own: Path) -> None:
    """Put our line above everything else, where no Host block narrows it. Idempotent."""
    text = read_text(config)
    lines = text.splitlines(keepends=True)
    for line in lines:
        if line.strip() == include_line(own):
            return
        if _FIRST_BLOCK.match(line):
            break
    ending = "\r\n" if "\r\n" in text else "\n"
    kept = "".join(line for line in lines if line.strip() != include_line(own))
    _write(config, include_line(own) + ending + kept)


def exclude(config: Path, own: Path) -> None:
    """Take our line away and leave everything else byte for byte."""
    text = read_text(config)
    lines = text.splitlines(keepends=True)
    kept = "".join(line for line in lines if line.strip() != include_line(own))
    if kept != text:
        _write(config, kept)


def _write(config: Path, text: str) -> None:
    try:
        mode = config.stat().st_mode & 0o777
    except FileNotFoundError:
        mode = PRIVATE
    write_atomically(config, text, mode)
