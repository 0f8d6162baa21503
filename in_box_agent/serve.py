"""Everything together: the listener, who may come in, and which service a stream gets."""

import asyncio
from collections.abc import Mapping

import uvloop

from devbox.model.nodes import StartRecord
from in_box_agent.upper import NOT_KEPT, is_kept

_HEAD_BYTES = 16 << 10


def run(record: StartRecord, inherited: Mapping[str, str], host: str, port: int) -> None:
    """Serve until SIGTERM."""
    del inherited
    uvloop.run(_serve(record, host, port))


async def _serve(record: StartRecord, host: str, port: int) -> None:
    kept = is_kept(record.upper_nonce)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status, body = ("200 OK", "ok") if kept else ("503 Service Unavailable", NOT_KEPT)
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write((head + body).encode())
        writer.close()

    server = await asyncio.start_server(answer, host, port, limit=_HEAD_BYTES)
    async with server:
        await server.serve_forever()
