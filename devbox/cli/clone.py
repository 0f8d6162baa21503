"""`devbox clone`: a new project that begins with another one's files."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from devbox.cli.config import keep_project_token
from devbox.cli.create import Name, NoStart, NoWait, address_of, tell_address, until_started, url_of
from devbox.cli.lazy import Call, command
from devbox.cli.options import Namespace, ProjectName, remember_project
from devbox.cli.units import duration
from devbox.model.errors import Conflict

if TYPE_CHECKING:
    from devbox.cli.reach import Gateway
    from devbox.model.orchestrator import ProjectKey

Seq = Annotated[
    int,
    typer.Option("--save", min=0, metavar="N", help="Of this save; else of the present state."),
]


@command("devbox clone hello copy", "devbox clone hello before --save 12 --no-start")
async def clone(
    call: Call,
    name: ProjectName,
    new: Name,
    namespace: Namespace = "",
    save: Seq = 0,
    no_start: NoStart = False,
    no_wait: NoWait = False,
) -> None:
    """Make a project with the files and settings of another; saves that one first if it must."""
    import msgspec

    from devbox.cli.reach import key_of, open_gateway
    from devbox.cli.ssh_config import refresh
    from devbox.model.orchestrator import CreateProject

    async with open_gateway(call) as gateway:
        source = key_of(name, namespace, gateway.context)
        target = key_of(new, namespace, gateway.context)
        spec = (await gateway.api.get_project(source)).spec
        seq = save or await _present(call, gateway, source)
        runtime = f"{source.namespace}/{source.name}@save-{seq}"
        request = CreateProject(
            namespace=target.namespace,
            name=target.name,
            spec=msgspec.structs.replace(spec, runtime=runtime),
            start=not no_start,
        )
        made = await gateway.api.create_project(request)
        keep_project_token(gateway.context.name, f"{target.namespace}/{target.name}", made.token)
        remember_project(target.name)
        call.screen.say(f"{target.name} begins with save {seq} of {source.name}.")
        address = await address_of(gateway, made.project, made.token)
        tell_address(call, gateway, address)
        await refresh(gateway)
        project = made.project
        try:
            if not no_start and not no_wait:
                project = await until_started(call, gateway, project)
        finally:
            call.screen.answer(
                {"project": project, "address": address, "url": url_of(gateway, address)}
            )


async def _present(call: Call, gateway: "Gateway", source: "ProjectKey") -> int:
    """The save that holds the project's files as they are: a new one, or the newest there is."""
    from devbox.cli.wait import until_saved
    from devbox.model.orchestrator import AskSave

    project = await gateway.api.get_project(source)
    if not project.status.upper_node:
        if not project.status.head_seq:
            raise Conflict(f"{source.name} has no files yet: it never ran", "Start it first.")
        return project.status.head_seq
    begun = time.monotonic()
    asked = await gateway.api.ask_save(AskSave(namespace=source.namespace, name=source.name))
    aside = f"The save goes on by itself: devbox saves {source.name}"
    with call.screen.goes_on(aside), call.screen.progress(f"Saving {source.name}") as report:
        done = await until_saved(gateway, source, asked.order_id, report)
    call.screen.note(f"Save {done.seq} is recorded ({duration(time.monotonic() - begun)}).")
    return done.seq
