"""From a cut to the first byte that comes again: `python -m bench.redial`. Needs root.

A client in a network namespace, the real gateway and the agent's session server on the host; the
way between delays packets in user space. The clock runs from the start of the dial.
"""

import argparse
import asyncio
import contextlib
import json
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop

from devbox.edge.layout import ServerSettings
from devbox.edge.links import Lane, Request, SessionServer, Stream, Target, connect, listen
from devbox.edge.links import client as links_client
from devbox.model.grants import GRANT_HEADER, Grant, verify
from tests.support.certificates import make_certificate
from tests.support.gateway import House, house
from tests.support.networks import Air, Laptop, roaming_laptop

_CUTS = 30
_SLACK_MS = 20.0


async def _tick(stream: Stream) -> None:
    """A byte every millisecond, so that some always wait for a link."""
    while True:
        await stream.write(b".")
        await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def _agent(found: House) -> AsyncIterator[None]:
    def admit(request: Request) -> Grant:
        key = found.agent.key.public_key()
        text = request.headers[GRANT_HEADER.lower()]
        return verify(text, key, project_uid=found.agent.uid, now=time.time())

    sessions = SessionServer(_tick, may_open=lambda *_: True)
    listener = await listen("127.0.0.3", found.agent.port, sessions, verify=admit)
    found.fake.box_ip = "127.0.0.3"
    try:
        yield
    finally:
        await listener.close()
        await sessions.close()


async def _client(url: str, ca_file: str) -> None:
    """Cut and be cut; tell how long each took in milliseconds."""
    began: list[float] = []
    inside = vars(links_client)
    dial = inside["dial"]

    async def dial_noted(*arguments: Any) -> Any:
        began.append(time.perf_counter())
        return await dial(*arguments)

    inside["dial"] = dial_noted
    context = ssl.create_default_context(cafile=ca_file) if ca_file else None
    if context is not None:
        context.check_hostname = False
    took = []
    async with connect("", target=Target(url, ssl=context)) as session:
        stream = await session.open("tick")
        await stream.read()
        for _ in range(_CUTS):
            await asyncio.sleep(0.1)
            while stream.read_now():
                pass
            link = session.lanes[Lane.INTERACTIVE].link
            assert link is not None
            link.abort("cut")
            await stream.read()
            took.append((time.perf_counter() - began[-1]) * 1e3)
    print(json.dumps(took))


async def _measure(there: Laptop, url: str, ca_file: str) -> list[float]:
    words = there.run(sys.executable, "-m", "bench.redial", "--client", url, "--ca-file", ca_file)
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    found: list[float] = json.loads(out)
    return found


async def _case(there: Laptop, air: Air, rtt_ms: float, pem: str) -> None:
    settings = ServerSettings(gateway_host=there.host_ip, gateway_port=0, tls_cert=pem)
    async with house(settings) as found, _agent(found):
        token = (await found.project()).token
        scheme = "wss" if pem else "ws"
        url = f"{scheme}://{there.host_ip}:{found.port}/home/here/team/hello/{token}"
        air.become(delay_ms=rtt_ms / 2)
        took = sorted(await _measure(there, url, pem))
    reach = rtt_ms * (4 if pem else 3) + _SLACK_MS
    figures = (statistics.median(took), took[int(len(took) * 0.95)], took[-1], reach)
    what = "TLS" if pem else "plain"
    print(
        f"RTT {rtt_ms:2.0f} ms, {what:5}: median %.1f, p95 %.1f, slowest %.1f; at most %.0f ms"
        % figures,
        flush=True,
    )


async def _all() -> None:
    with tempfile.TemporaryDirectory() as place, roaming_laptop() as (there, air):
        files = make_certificate(Path(place))
        both = Path(place, "both.pem")
        both.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
        for pem in ("", str(both)):
            for rtt_ms in (0.0, 50.0):
                await _case(there, air, rtt_ms, pem)


def main() -> None:
    """Measure, or be the client of a measurement."""
    parser = argparse.ArgumentParser(prog="python -m bench.redial", description=__doc__)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--ca-file", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    work = _client(options.client, options.ca_file) if options.client else _all()
    uvloop.run(work)


if __name__ == "__main__":
    main()
