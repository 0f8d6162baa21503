"""`devbox open`: an editor on a project, through the editor's own URL scheme."""

import asyncio
import shutil
import subprocess
import sys
import webbrowser
from enum import StrEnum
from typing import Annotated
from urllib.parse import quote, urlencode

import typer

from devbox.cli.lazy import Call, command
from devbox.cli.options import Namespace, complete_projects
from devbox.cli.ssh_config import include, own_path, ssh_config_path, write_entries
from devbox.model.errors import Unavailable

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The project.", autocompletion=complete_projects, show_default=False
    ),
]


class Ide(StrEnum):
    """Editors that open a folder of an SSH host by URL."""

    VSCODE = "vscode"
    CURSOR = "cursor"
    JETBRAINS = "jetbrains"


def url_of(ide: Ide, host: str, folder: str, user: str) -> str:
    """The URL that makes the editor open `folder` on the SSH host `host`."""
    if ide is Ide.JETBRAINS:
        asked = {
            "type": "ssh",
            "deploy": "false",
            "host": host,
            "port": "22",
            "user": user,
            "projectPath": folder,
        }
        return f"jetbrains-gateway://connect#{urlencode(asked, safe='/', quote_via=quote)}"
    return f"{ide}://vscode-remote/ssh-remote+{host}{quote(folder)}"


@command(
    "devbox open hello",
    "devbox open hello --ide cursor --folder /project/web",
    "devbox open hello --ide jetbrains --print",
)
async def open_project(
    call: Call,
    name: Name,
    namespace: Namespace = "",
    ide: Annotated[Ide, typer.Option("--ide", help="Which editor.")] = Ide.VSCODE,
    folder: Annotated[str, typer.Option("--folder", help="What to open.")] = "",
    only_print: Annotated[bool, typer.Option("--print", help="Print the URL only.")] = False,
) -> None:
    """Open a project in an editor on this machine. Writes the SSH entry that the editor reads."""
    from devbox.cli.reach import open_project as reach
    from devbox.model.orchestrator import ListProjects

    async with reach(call, name, namespace) as (gateway, key):
        project = await gateway.api.get_project(key)
        projects = (await gateway.api.list_projects(ListProjects())).projects
        write_entries(projects, gateway.context)
    include(ssh_config_path(), own_path())
    inside = folder or project.image.config.working_dir or "/"
    user = project.image.config.user or "root"
    url = url_of(ide, f"{project.name}.{project.namespace}.devbox", inside, user)
    call.screen.answer({"url": url})
    call.screen.say(url)
    if not (only_print or call.screen.as_json) and not await asyncio.to_thread(_start, url):
        raise Unavailable(
            f"nothing on this machine opens {ide} links",
            "Install the editor, or give the URL above to a browser that knows it.",
        )


def _start(url: str) -> bool:
    """Hand the URL to the desktop. False when nobody takes it."""
    opener = {"darwin": "open", "win32": "explorer"}.get(sys.platform, "xdg-open")
    program = shutil.which(opener)
    if program is None:
        return webbrowser.open(url)
    return subprocess.run([program, url], check=False, capture_output=True).returncode == 0
