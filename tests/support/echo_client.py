"""A client that echoes numbered blocks until its stdin ends, and tells of its session's states."""

import asyncio
import sys

import uvloop

from devbox.edge.links import DialOptions, SessionEvent, connect

BLOCK = 20_000


def say(text: str) -> None:
    print(text, flush=True)


def tell(event: SessionEvent) -> None:
    say(f"state {event.state} {event.reason}")


async def main(url: str) -> None:
    loop = asyncio.get_running_loop()
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    async with connect(url, options=DialOptions(on_state=tell)) as session:
        stream = await session.open("echo")
        number = 0
        while not stdin.at_eof():
            block = number.to_bytes(4, "big") * (BLOCK // 4)
            await stream.write(block)
            got = b""
            while len(got) < BLOCK:
                got += await stream.read(BLOCK - len(got))
            if got != block:
                raise SystemExit(f"block {number} came back changed")
            number += 1
            say(f"block {number}")
            await asyncio.sleep(0.01)
    say(f"all {number} blocks came back")


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
