"""Run in a box's network: `forward.py SOCKET`. Joins each connection to SOCKET to a stream.

Stands for client and gateway at once. A connection begins with one line, `SERVICE PARAMS-AS-JSON
SCOPES [token=ID]`; each has a session of its own, like each client process. The gateway's key comes
on stdin.
"""

import asyncio
import base64
import json
import sys
from collections.abc import Iterator, Mapping

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devbox.edge.links import Target, WriterSink, connect, pump
from devbox.model.errors import DevboxError
from devbox.model.grants import GRANT_HEADER, Scope
from tests.support.box import Gateway

_URL = "http://127.0.0.1:4242/session"


class FreshGrant(Mapping[str, str]):
    """Headers that hold another grant each time they are read."""

    def __init__(self, gateway: Gateway, words: list[str]) -> None:
        self._gateway = gateway
        self._scopes = [Scope(word) for word in words if "=" not in word]
        self._token = next((word[6:] for word in words if word.startswith("token=")), "t1")

    def __getitem__(self, name: str) -> str:
        return self._gateway.grant(*self._scopes, token=self._token)

    def __iter__(self) -> Iterator[str]:
        return iter([GRANT_HEADER])

    def __len__(self) -> int:
        return 1


async def main(path: str, key: bytes) -> None:
    """Until killed."""
    gateway = Gateway(Ed25519PrivateKey.from_private_bytes(key))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        service, params, *words = (await reader.readline()).decode().split()
        headers = FreshGrant(gateway, words)
        try:
            async with connect(_URL, target=Target(_URL, headers=headers)) as session:
                stream = await session.open(service, json.loads(params))
                await pump(stream, reader, WriterSink(writer))
        except DevboxError as error:
            writer.write(f"{error.code}: {error.message}\n".encode())
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, path, limit=1 << 20)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    print("ready", flush=True)  # and nothing more: nobody reads on
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], base64.b64decode(sys.stdin.readline())))
