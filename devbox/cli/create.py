"""`devbox create`: a project, its first box and its address."""

import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from devbox.cli.config import keep_project_token
from devbox.cli.lazy import Call, command
from devbox.cli.options import Namespace, forget_project, remember_project
from devbox.cli.units import duration, parse_env, parse_port, parse_size
from devbox.model.errors import BY_CODE, BadInput, Unavailable

if TYPE_CHECKING:
    from devbox.cli.reach import Gateway
    from devbox.model.orchestrator import ProjectKey
    from devbox.model.projects import Port, Project, ProjectSpec, WhenBusy

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The new project: NAME, or NAMESPACE/NAME.")
]
Runtime = Annotated[
    str,
    typer.Option(
        "--runtime", "-r", metavar="RUNTIME", help="A runtime, or a release as PROJECT:VERSION."
    ),
]
Image = Annotated[
    str, typer.Option("--image", metavar="REF", help="Any OCI image instead of a runtime.")
]
Cpus = Annotated[float, typer.Option("--cpus", min=0, help="At most so many CPUs; 0 is no limit.")]
Memory = Annotated[str, typer.Option("--memory", metavar="SIZE", help="At most so much, as 2G.")]
Quota = Annotated[
    str,
    typer.Option(
        "--quota", metavar="SIZE", help="Write at most so much, as 20G; 0 is the server's default."
    ),
]
Ports = Annotated[
    list[str], typer.Option("--port", "-p", metavar="PORT[:NAME]", help="A port that it serves.")
]
Env = Annotated[
    list[str], typer.Option("--env", "-e", metavar="K=V", help="A variable of its environment.")
]
RunCommand = Annotated[
    bool | None,
    typer.Option(
        "--run-image-command/--no-run-image-command",
        help="Run the image's own command under init (databases do by themselves).",
    ),
]
Autosave = Annotated[
    int, typer.Option("--autosave", min=0, metavar="MINUTES", help="Save so often; 0 is never.")
]
WhenBusyOption = Annotated[
    str,
    typer.Option(
        "--when-busy",
        metavar="retry|per-file",
        help="When files change faster than a live save can copy them.",
    ),
]
NoStart = Annotated[bool, typer.Option("--no-start", help="Make it, but start no box yet.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until the box is ready.")]


@command(
    "devbox create hello --runtime python",
    "devbox create db --runtime postgres",
    "devbox create second --runtime hello:v1",
    "devbox create web --image registry.example.com/team/web:3 --port 8080:web --memory 2G",
)
async def create(
    call: Call,
    name: Name,
    runtime: Runtime = "",
    image: Image = "",
    namespace: Namespace = "",
    cpus: Cpus = 0.0,
    memory: Memory = "",
    quota: Quota = "",
    port: Ports = [],
    env: Env = [],
    run_image_command: RunCommand = None,
    autosave: Autosave = 10,
    when_busy: WhenBusyOption = "retry",
    no_start: NoStart = False,
    no_wait: NoWait = False,
) -> None:
    """Make a project, start its box and print its address, once."""
    from devbox.cli.reach import key_of, open_gateway
    from devbox.cli.ssh_config import refresh
    from devbox.model.orchestrator import CreateProject
    from devbox.model.projects import ProjectSpec, Resources

    if runtime and image:
        raise BadInput("--runtime and --image contradict each other", "Give one of them.")
    spec = ProjectSpec(
        runtime=f"image:{image}" if image else runtime or "debian",
        resources=Resources(
            cpus=cpus,
            memory_bytes=parse_size(memory) if memory else 0,
            disk_bytes=parse_size(quota) if quota else 0,
        ),
        ports=ports_of(port),
        env=parse_env(env, dict(os.environ)),
        autosave_minutes=autosave,
        when_busy=when_busy_of(when_busy),
    )
    async with open_gateway(call) as gateway:
        key = key_of(name, namespace, gateway.context)
        run_it = run_image_command
        if run_it is None:
            run_it = await _runs_its_command(gateway, spec.runtime)
        request = CreateProject(
            namespace=key.namespace,
            name=key.name,
            spec=_with_command(spec, run_it),
            start=not no_start,
        )
        made = await gateway.api.create_project(request)
        keep_project_token(gateway.context.name, f"{key.namespace}/{key.name}", made.token)
        remember_project(key.name)
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


def _with_command(spec: "ProjectSpec", run_it: bool) -> "ProjectSpec":
    import msgspec

    return msgspec.structs.replace(spec, run_image_command=run_it)


def ports_of(items: list[str]) -> "tuple[Port, ...]":
    """Ports as typed. Raises BadInput."""
    from devbox.model.projects import Port

    return tuple(Port(port=number, name=name) for number, name in map(parse_port, items))


def when_busy_of(text: str) -> "WhenBusy":
    """What a live save does when files change too fast. Raises BadInput."""
    from devbox.model.projects import WhenBusy

    try:
        return WhenBusy(text)
    except ValueError:
        raise BadInput(f"--when-busy {text!r} is unknown", "It is retry, or per-file.") from None


async def _runs_its_command(gateway: "Gateway", runtime: str) -> bool:
    """Whether the runtime is one whose point is its own command, such as a database."""
    from devbox.model.orchestrator import Nothing

    known = (await gateway.api.list_runtimes(Nothing())).runtimes
    return any(one.run_image_command for one in known if one.name == runtime)


async def address_of(gateway: "Gateway", project: "Project | ProjectKey", token: str) -> str:
    """The path form of a project's address."""
    from devbox.model.address import Address

    cluster, region = await gateway.where()
    return str(Address(cluster, region, project.namespace, project.name, token))


def url_of(gateway: "Gateway", address: str) -> str:
    """The URL form of an address, which needs nothing else: `wss://host/cluster/…`."""
    return "ws" + gateway.context.url.removeprefix("http") + address


def tell_address(call: Call, gateway: "Gateway", address: str) -> None:
    """Before anything can go wrong with the box: the address is told only once."""
    call.screen.say("Address (a secret: it opens the project to whoever has it; shown once):")
    call.screen.say(f"  {url_of(gateway, address)}")
    call.screen.say(f"  {address}")
    call.screen.say()


async def _take_back(gateway: "Gateway", project: "Project") -> None:
    """Leave no project behind whose runtime cannot be had: it never had a box, nor a file.

    Raises the runtime's own error then.
    """
    from devbox.model.orchestrator import Nothing, ProjectKey
    from devbox.model.runtimes import IMAGE_PREFIX, RuntimeState

    wanted = project.spec.runtime
    failed = [
        one
        for one in (await gateway.api.list_runtimes(Nothing())).runtimes
        if one.state is RuntimeState.FAILED and wanted in {one.name, IMAGE_PREFIX + one.source}
    ]
    key = ProjectKey(namespace=project.namespace, name=project.name)
    if not failed or (await gateway.api.get_project(key)).generation:
        return
    await gateway.api.delete_project(key)
    keep_project_token(gateway.context.name, f"{key.namespace}/{key.name}", "")
    forget_project(key.name)
    raise BY_CODE.get(failed[0].code, Unavailable)(
        f"{project.name} was not made: {failed[0].message.rstrip('.')}",
        "The address above opens nothing. Mend that, then create it again.",
    )


async def until_started(call: Call, gateway: "Gateway", project: "Project") -> "Project":
    """Wait, and say so, until the new project's box is ready."""
    from devbox.cli.wait import until_ready

    name = project.name
    begun = time.monotonic()
    aside = f"{name} goes on starting; `devbox show {name}` tells how far it is."
    with call.screen.goes_on(aside), call.screen.progress(f"Starting {name}") as report:
        try:
            ready = await until_ready(gateway, project, report)
        except Unavailable as error:
            await _take_back(gateway, project)
            raise error
    call.screen.say(f"{name} is ready ({duration(time.monotonic() - begun)}).")
    call.screen.note(f"Next: devbox ssh {name}")
    return ready
