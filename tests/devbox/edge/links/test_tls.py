"""Links over TLS: the same session, the same cuts."""

import asyncio
import os
from pathlib import Path

import pytest

from devbox.edge.links import DialOptions, Lane, Stream, Target, connect
from devbox.model.errors import BadInput
from tests.support.certificates import make_certificate
from tests.support.links import pair

pytestmark = pytest.mark.timeout(30)


async def read_all(stream: Stream) -> bytes:
    parts = []
    while data := await stream.read():
        parts.append(data)
    return b"".join(parts)


@pytest.mark.parametrize("lane", list(Lane))
async def test_bytes_and_cuts_over_tls(lane: Lane, tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    data = os.urandom(3_000_000)
    async with pair(tls=made.server()) as agent:
        target = Target(agent.url.replace("http:", "wss:"), ssl=made.client())
        async with connect("", target=target) as session:
            stream = await session.open("echo", lane=lane)

            async def send() -> None:
                for at in range(0, len(data), 300_000):
                    await stream.write(data[at : at + 300_000])
                    if at % 900_000 == 0:
                        agent.relay.budget = 223_457 + at // 7
                await stream.end()

            _, got = await asyncio.gather(send(), read_all(stream))
            assert got == data
            assert agent.relay.accepted > 2


async def test_a_certificate_that_nobody_trusts(tmp_path: Path) -> None:
    async with pair(tls=make_certificate(tmp_path).server()) as agent:
        url = agent.url.replace("http:", "https:")
        with pytest.raises(BadInput, match="certificate is not trusted"):
            async with connect(url, options=DialOptions(patience_s=5.0)):
                pass
        assert agent.relay.accepted == 0
