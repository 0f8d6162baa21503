"""A client, plain or TLS, whose every byte on the wire the test sees, and whose ends are apart."""

import asyncio
import contextlib
import socket
import ssl
from typing import Self


class Client:
    """Without a context it is plain."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        self.sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = (
            context.wrap_bio(self._in, self._out, server_hostname="127.0.0.1")
            if context is not None
            else None
        )
        self._rest = b""

    @classmethod
    async def dial(cls, host: str, port: int, context: ssl.SSLContext | None) -> Self:
        """Connect, and shake hands."""
        client = await cls.connect(host, port, context)
        await client.shake()
        return client

    @classmethod
    async def connect(cls, host: str, port: int, context: ssl.SSLContext | None) -> Self:
        """Connect and say nothing."""
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        return cls(sock, context)

    async def flush(self, step: int = 1 << 20) -> None:
        wire = self._out.read()
        for at in range(0, len(wire), step):
            await asyncio.get_running_loop().sock_sendall(self.sock, wire[at : at + step])

    async def hear(self) -> bool:
        """Encrypted bytes; False at the connection's end."""
        data = await asyncio.get_running_loop().sock_recv(self.sock, 1 << 16)
        self._in.write(data)
        return bool(data)

    async def shake(self, step: int = 1 << 20) -> None:
        while self._tls is not None:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.flush(step)
                await self.hear()
            else:
                await self.flush(step)
                return

    async def send(self, data: bytes, step: int = 1 << 20) -> None:
        if self._tls is None:
            await asyncio.get_running_loop().sock_sendall(self.sock, data)
            return
        self._tls.write(data)
        await self.flush(step)

    async def end(self) -> None:
        """Say that no more comes; go on reading."""
        if self._tls is None:
            self.sock.shutdown(socket.SHUT_WR)
            return
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        await self.flush()

    async def more(self) -> bytes:
        """What comes next; nothing at the end. A break raises ConnectionResetError."""
        if self._tls is None:
            return await asyncio.get_running_loop().sock_recv(self.sock, 1 << 16)
        while True:
            try:
                return self._tls.read(1 << 16)
            except ssl.SSLWantReadError:
                if not await self.hear():
                    raise ConnectionResetError from None
            except ssl.SSLZeroReturnError:
                return b""

    async def exactly(self, count: int) -> bytes:
        """So many bytes, or all until the end."""
        pieces, left = [self._rest[:count]], count - len(self._rest)
        self._rest = self._rest[count:]
        while left > 0 and (data := await self.more()):
            pieces.append(data[:left])
            self._rest = data[left:]
            left -= len(data)
        return b"".join(pieces)

    async def until(self, mark: bytes) -> bytes:
        """All up to and with `mark`."""
        data = self._rest
        while mark not in data:
            data += await self.more()
        head, mark, self._rest = data.partition(mark)
        return head + mark
