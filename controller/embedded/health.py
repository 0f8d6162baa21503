"""Asks a box's agent whether it serves: `GET /healthz` on the agent's port."""

import asyncio
from dataclasses import dataclass

import msgspec

from devbox.edge.rpc import Failure
from devbox.model.nodes import AGENT_PORT

_ANSWER_S = 2.0
_MAX_ANSWER = 16 << 10
_OK = 200
_REFUSED = 503


@dataclass(frozen=True)
class Health:
    """What the agent said. Neither: it said nothing."""

    serves: bool = False
    refusal: str = ""


async def ask(address: str, port: int = AGENT_PORT) -> Health:
    """One question; never raises."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            return _read(await _get(address, port))
    except (OSError, TimeoutError, ValueError):
        return Health()


async def _get(address: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(
            f"GET /healthz HTTP/1.1\r\nHost: {address}:{port}\r\nConnection: close\r\n\r\n".encode()
        )
        return await reader.read(_MAX_ANSWER) + await reader.read(_MAX_ANSWER)
    finally:
        writer.close()


def _read(answer: bytes) -> Health:
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1]) if head.count(b" ") else 0
    if status == _OK:
        return Health(serves=True)
    if status == _REFUSED:
        return Health(refusal=_sentence(body))
    return Health()


def _sentence(body: bytes) -> str:
    try:
        failure = msgspec.json.decode(body, type=Failure)
    except msgspec.MsgspecError:
        said = body.decode("utf-8", "replace").strip()[:500]
        return said or "The agent refuses to serve."
    return f"{failure.message} {failure.hint}".strip()
