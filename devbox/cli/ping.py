"""`devbox ping`: how long the way to a box takes, hop by hop."""

import asyncio
import time
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from devbox.cli.lazy import Call, command
from devbox.cli.options import Namespace, ProjectName

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from devbox.edge.links import ClientSession

_PAUSE_S = 0.2


@command("devbox ping hello", "devbox ping hello --count 20")
async def ping(
    call: Call,
    name: ProjectName,
    namespace: Namespace = "",
    count: Annotated[int, typer.Option("--count", "-c", min=1, help="So many times.")] = 5,
) -> None:
    """Measure round trips: to the gateway, and through it to the agent in the box."""
    from devbox.cli.reach import open_api, target
    from devbox.cli.sessions import dial_of, open_session

    wanted = target(call, name, namespace)
    dial = await dial_of(wanted)
    async with open_api(wanted.context, wanted.bearer) as gateway:
        await gateway.api.about()
        to_gateway = await _measure(gateway.api.about, count)
    begun = time.perf_counter()
    async with open_session(dial) as session:
        await _greeting(session)
        connect = time.perf_counter() - begun
        to_agent = await _measure(lambda: _greeting(session), count)
    found = {"gateway": to_gateway, "box": to_agent}
    call.screen.answer(
        {"connect_ms": connect * 1e3}
        | {hop: {"median_ms": median(t) * 1e3, "max_ms": max(t) * 1e3} for hop, t in found.items()}
    )
    call.screen.table(
        ("to", ">median", ">slowest", "what"),
        [
            ("gateway", _ms(median(to_gateway)), _ms(max(to_gateway)), "one API call"),
            ("box", _ms(median(to_agent)), _ms(max(to_agent)), "a new SSH stream's greeting"),
            ("box", _ms(connect), _ms(connect), "the first one, with opening the session"),
        ],
    )


async def _greeting(session: "ClientSession") -> None:
    """A stream to the SSH server, until it says its version (RFC 4253, 4.2)."""
    stream = await session.open("ssh", {})
    await stream.read(1)
    await stream.close()


async def _measure(once: "Callable[[], Awaitable[object]]", count: int) -> list[float]:
    times = []
    for number in range(count):
        if number:
            await asyncio.sleep(_PAUSE_S)
        begun = time.perf_counter()
        await once()
        times.append(time.perf_counter() - begun)
    return times


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"
