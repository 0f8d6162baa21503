"""`devbox version`: what runs here and at the gateway."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

from devbox.cli.lazy import Call, command
from devbox.model.errors import DevboxError


@command("devbox version", "devbox version --output json")
async def version(call: Call) -> None:
    """Show the versions of this command line and of the gateway."""
    from devbox.cli.reach import open_gateway

    try:
        here = installed("devbox")
    except PackageNotFoundError:
        here = "unknown"
    answer = {"client": here, "gateway": "", "url": ""}
    try:
        async with open_gateway(call) as gateway:
            about = await gateway.api.about()
            answer |= {"gateway": about.version, "url": gateway.context.url}
            there = f"{about.version} at {gateway.context.url} ({about.cluster}/{about.region})"
    except DevboxError as error:
        there = f"unknown: {error.message}"
    call.screen.answer(answer)
    call.screen.say(f"devbox   {here}")
    call.screen.say(f"gateway  {there}")
