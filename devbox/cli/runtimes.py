"""`devbox runtime`: what projects start from."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from devbox.cli.lazy import Call, command, group
from devbox.cli.options import NoWait
from devbox.model.errors import BY_CODE, NotFound, Unavailable

if TYPE_CHECKING:
    from devbox.cli.reach import Gateway
    from devbox.model.orchestrator import Nothing, Runtimes
    from devbox.model.runtimes import Runtime

    class Lists(Protocol):
        """Who knows the runtimes: a gateway, or the controller of this machine."""

        async def list_runtimes(self, request: Nothing) -> Runtimes:
            """All of them."""


_POLL_S = 0.2

Name = Annotated[str, typer.Argument(metavar="RUNTIME", help="The runtime's name.")]
Missing = Annotated[bool, typer.Option("--missing", help="Do nothing when it is ready.")]
Reference = Annotated[
    str, typer.Argument(metavar="REF", help="An OCI image, such as registry/name:tag.")
]


@command("devbox runtime list")
async def list_runtimes(call: Call) -> None:
    """List built-in and added runtimes."""
    from devbox.cli.reach import open_gateway
    from devbox.model.orchestrator import Nothing
    from devbox.model.runtimes import RuntimeState

    async with open_gateway(call) as gateway:
        found = await gateway.api.list_runtimes(Nothing())
    call.screen.answer(found)
    rows = [
        (
            one.name,
            f"building {one.progress:.0%}" if one.state is RuntimeState.BUILDING else one.state,
            one.title or one.source,
            ", ".join(map(str, one.ports)) or "-",
            one.image.architecture if one.image else "-",
            one.message,
        )
        for one in found.runtimes
    ]
    call.screen.table(("name", "state", "what", "ports", "for", "message"), rows)


@command(
    "devbox runtime build python",
    "devbox runtime build python --missing",
    "devbox runtime build python --no-wait",
)
async def build(call: Call, name: Name, no_wait: NoWait = False, missing: Missing = False) -> None:
    """Build a built-in runtime, or pull an added one, again. Projects keep what they have."""
    from devbox.cli.reach import open_gateway
    from devbox.model.orchestrator import Nothing, RuntimeKey
    from devbox.model.runtimes import RuntimeState

    async with open_gateway(call) as gateway:
        known = (await gateway.api.list_runtimes(Nothing())).runtimes
        ready = [r for r in known if r.name == name and r.state is RuntimeState.READY]
        if missing and ready:
            call.screen.answer(ready[0])
            call.screen.say(f"{name} is ready.")
            return
        runtime = await gateway.api.build_runtime(RuntimeKey(name=name))
        await _finish(call, gateway, runtime, no_wait=no_wait)


@command("devbox runtime add tools registry.example.com/team/tools:3")
async def add(call: Call, name: Name, reference: Reference, no_wait: NoWait = False) -> None:
    """Make a runtime of an image reference."""
    from devbox.cli.reach import open_gateway
    from devbox.model.orchestrator import AddRuntime

    async with open_gateway(call) as gateway:
        runtime = await gateway.api.add_runtime(AddRuntime(name=name, reference=reference))
        await _finish(call, gateway, runtime, no_wait=no_wait)


async def _finish(call: Call, gateway: "Gateway", runtime: "Runtime", *, no_wait: bool) -> None:
    if not no_wait:
        runtime = await until_ready(call, gateway.api, runtime.name)
    call.screen.answer(runtime)
    call.screen.say(f"{runtime.name} is being built." if no_wait else f"{runtime.name} is ready.")


async def until_ready(call: Call, api: "Lists", name: str) -> "Runtime":
    """Wait, with progress, until a runtime is built. Raises Unavailable when that failed."""
    from devbox.model.orchestrator import Nothing
    from devbox.model.runtimes import RuntimeState

    aside = "The build goes on by itself: devbox runtime list"
    with call.screen.goes_on(aside), call.screen.progress(f"Runtime {name}") as report:
        while True:
            found = (await api.list_runtimes(Nothing())).runtimes
            runtime = next((one for one in found if one.name == name), None)
            if runtime is None:
                raise NotFound(f"runtime {name!r} was removed meanwhile", "Nothing was built.")
            if runtime.state is RuntimeState.FAILED:
                raise BY_CODE.get(runtime.code, Unavailable)(
                    f"runtime {name} could not be built: {runtime.message}",
                    f"Projects keep what they have. `devbox runtime build {name}` tries again.",
                )
            if runtime.state is RuntimeState.READY:
                return runtime
            report(runtime.message or str(runtime.state), runtime.progress)
            await asyncio.sleep(_POLL_S)


@command("devbox runtime remove tools")
async def remove(call: Call, name: Name) -> None:
    """Remove a runtime that no project was made from."""
    from devbox.cli.reach import open_gateway
    from devbox.model.orchestrator import RuntimeKey

    async with open_gateway(call) as gateway:
        await gateway.api.remove_runtime(RuntimeKey(name=name))
    call.screen.answer({"removed": name})
    call.screen.say(f"{name} is removed.")


app = group("What projects start from.", list=list_runtimes, build=build, add=add, remove=remove)
