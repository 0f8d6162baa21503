"""`devbox list|show|edit|delete`: projects as a whole."""

import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from devbox.cli.create import (
    Env,
    Memory,
    Ports,
    Quota,
    RunCommand,
    WhenBusyOption,
    ports_of,
    when_busy_of,
)
from devbox.cli.lazy import Call, command
from devbox.cli.options import Namespace, NoWait, ProjectName, forget_project, remember_projects
from devbox.cli.units import age, parse_env, parse_size, size
from devbox.model.errors import BadInput

if TYPE_CHECKING:
    from devbox.model.projects import Project

UnsetEnv = Annotated[list[str], typer.Option("--unset-env", metavar="K", help="Drop a variable.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@command("devbox list", "devbox list --namespace team", "devbox list --output json")
async def list_projects(call: Call, namespace: Namespace = "") -> None:
    """List the projects that you may see."""
    from devbox.cli.reach import open_gateway
    from devbox.model.orchestrator import ListProjects

    async with open_gateway(call) as gateway:
        wanted = (namespace,) if namespace else None
        found = await gateway.api.list_projects(ListProjects(namespaces=wanted))
    home = gateway.context.namespace
    remember_projects([_short(one, home) for one in found.projects])
    call.screen.answer(found)
    if not found.projects:
        call.screen.note("There is no project yet. `devbox create hello` makes one.")
        return
    now = time.time()
    call.screen.table(
        ("name", "namespace", "state", "runtime", "since", ">files", ">save", "message"),
        [_row(one, now) for one in found.projects],
    )


def _short(project: "Project", home: str) -> str:
    return project.name if project.namespace == home else f"{project.namespace}/{project.name}"


def _row(project: "Project", now: float) -> tuple[str, ...]:
    status = project.status
    return (
        project.name,
        project.namespace,
        str(status.phase),
        project.spec.runtime.removeprefix("image:"),
        age(status.started_at, now),
        size(status.upper_bytes) if status.upper_bytes else "-",
        str(status.head_seq) if status.head_seq else "-",
        status.message,
    )


@command("devbox show hello", "devbox show hello --output json")
async def show(call: Call, name: ProjectName, namespace: Namespace = "") -> None:
    """Show one project: its state, settings and host key."""
    from devbox.cli.reach import open_project

    async with open_project(call, name, namespace) as (gateway, key):
        project = await gateway.api.get_project(key)
    call.screen.answer(project)
    for label, text in _facts(project, time.time()):
        call.screen.say(f"{label + ':':<15}{text}")


def _facts(project: "Project", now: float) -> list[tuple[str, str]]:
    from devbox.cli.known_hosts import fingerprint

    spec, status = project.spec, project.status
    ports = ", ".join(f"{p.port} ({p.name})" if p.name else str(p.port) for p in spec.ports)
    bounds = [f"{spec.resources.cpus:g} CPUs"] if spec.resources.cpus else []
    quota = spec.resources.disk_bytes
    bounds += [size(spec.resources.memory_bytes)] if spec.resources.memory_bytes else []
    kept = f"{size(status.upper_bytes)} changed, on {status.upper_node}"
    autosave = f"every {spec.autosave_minutes} min" if spec.autosave_minutes else "off"
    rows = [
        ("Project", f"{project.namespace}/{project.name}"),
        ("State", f"{status.phase}{f' ({status.message})' if status.message else ''}"),
        ("Runtime", spec.runtime),
        ("Started", f"{age(status.started_at, now)}, start number {project.generation}"),
        ("Restarts", str(status.restarts)),
        ("Limits", ", ".join(bounds) or "none"),
        ("Write quota", size(quota) if quota else "the server's"),
        ("Ports", ports or "none named"),
        ("Environment", ", ".join(sorted(spec.env)) or "nothing added"),
        ("Main process", "the image's own command" if spec.run_image_command else "none"),
        ("Files", kept if status.upper_node else "in the newest save"),
        ("Newest save", str(status.head_seq) if status.head_seq else "none yet"),
        ("Autosave", f"{autosave}, {spec.when_busy} when busy"),
        ("Host key", fingerprint(project.host_key)),
        ("Created", age(project.created_at, now)),
    ]
    return [row for row in rows if project.generation or row[0] not in {"Started", "Restarts"}]


@command(
    "devbox edit hello --memory 4G --cpus 2",
    "devbox edit hello --env DEBUG=1 --unset-env OLD",
    "devbox edit hello --autosave 0",
)
async def edit(
    call: Call,
    name: ProjectName,
    namespace: Namespace = "",
    cpus: Annotated[float | None, typer.Option("--cpus", min=0, help="0 is no limit.")] = None,
    memory: Memory = "",
    quota: Quota = "",
    port: Ports = [],
    env: Env = [],
    unset_env: UnsetEnv = [],
    run_image_command: RunCommand = None,
    autosave: Annotated[
        int | None, typer.Option("--autosave", min=0, metavar="MINUTES", help="0 is never.")
    ] = None,
    when_busy: WhenBusyOption = "",
) -> None:
    """Change a project's settings. They hold from its next start, the quota at once."""
    import msgspec

    from devbox.cli.reach import open_project
    from devbox.model.orchestrator import EditProject
    from devbox.model.projects import Resources

    changes: dict[str, object] = {}
    if port:
        changes["ports"] = ports_of(port)
    if run_image_command is not None:
        changes["run_image_command"] = run_image_command
    if autosave is not None:
        changes["autosave_minutes"] = autosave
    if when_busy:
        changes["when_busy"] = when_busy_of(when_busy)
    if not (changes or env or unset_env or memory or quota or cpus is not None):
        raise BadInput("nothing to change was given", "`devbox edit --help` lists what there is.")
    async with open_project(call, name, namespace) as (gateway, key):
        spec = (await gateway.api.get_project(key)).spec
        kept = {k: v for k, v in spec.env.items() if k not in unset_env}
        bounds = Resources(
            cpus=spec.resources.cpus if cpus is None else cpus,
            memory_bytes=parse_size(memory) if memory else spec.resources.memory_bytes,
            disk_bytes=parse_size(quota) if quota else spec.resources.disk_bytes,
        )
        wanted = msgspec.structs.replace(
            spec, env={**kept, **parse_env(env, dict(os.environ))}, resources=bounds, **changes
        )
        request = EditProject(namespace=key.namespace, name=key.name, spec=wanted)
        project = await gateway.api.edit_project(request)
    call.screen.answer(project)
    call.screen.say(f"{key.name} is changed; it holds from the next start.")


@command("devbox delete second", "devbox delete second --yes")
async def delete(
    call: Call,
    name: ProjectName,
    namespace: Namespace = "",
    yes: Yes = False,
    no_wait: NoWait = False,
) -> None:
    """Delete a project: its box, files, saves, releases and tokens. There is no way back."""
    from devbox.cli.config import keep_project_token
    from devbox.cli.reach import open_project
    from devbox.cli.ssh_config import refresh
    from devbox.cli.wait import until_gone

    async with open_project(call, name, namespace) as (gateway, key):
        project = await gateway.api.get_project(key)
        if not yes:
            _ask_name(project)
        await gateway.api.delete_project(key)
        keep_project_token(gateway.context.name, f"{key.namespace}/{key.name}", "")
        forget_project(key.name)
        aside = "The deletion goes on; `devbox list` shows when it is done."
        if not no_wait:
            with call.screen.goes_on(aside), call.screen.progress(f"Deleting {key.name}") as report:
                await until_gone(gateway, key, report)
        await refresh(gateway)
    call.screen.answer({"deleted": f"{key.namespace}/{key.name}", "uid": project.uid})
    call.screen.say(f"{key.name} is {'being deleted' if no_wait else 'gone'}.")


def interactive() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty()


def _ask_name(project: "Project") -> None:
    if not interactive():
        raise BadInput(
            f"deleting {project.name} must be confirmed, and nobody is there to ask",
            "Nothing was done. Scripts say --yes.",
        )
    saves = (
        f" and its saves up to number {project.status.head_seq}" if project.status.head_seq else ""
    )
    print(f"This deletes {project.namespace}/{project.name}, its files{saves}, for ever.")
    if input("Type its name to go on: ").strip() != project.name:
        raise BadInput("that is not its name", "Nothing was done.")
