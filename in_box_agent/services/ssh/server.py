"""The SSH server of a box: one set of options, one connection per stream."""
# ruff: noqa: ARG002 - asyncssh calls back with arguments of its own choice

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncssh

from devbox.edge.links import Stream, StreamTransport
from in_box_agent.services.ssh.agent_socket import AgentSocket
from in_box_agent.services.ssh.guess import guessed_wrong
from in_box_agent.services.ssh.packets import PacketConnection
from in_box_agent.services.ssh.session import Session
from in_box_agent.surroundings import Surroundings

_WINDOW_BYTES = 2 << 20
"""As OpenSSH. Its client holds up to a window of what it cannot send yet, and copies all of that
whenever it reads more: with 16 MiB that takes a second for each 600 MB."""
_PACKET_BYTES = 256 << 10
_KEX = (
    "mlkem768x25519-sha256",
    "sntrup761x25519-sha512@openssh.com",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
)
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
_OLD_CIPHERS = ("chacha20-poly1305@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr")
_MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)


@dataclass
class SshBox:
    """What all SSH connections of a box share."""

    surroundings: Surroundings
    options: asyncssh.SSHServerConnectionOptions
    agent_socket: AgentSocket

    @classmethod
    def make(cls, host_key: str, surroundings: Surroundings) -> "SshBox":
        """`host_key` is OpenSSH's PEM."""
        known = set(asyncssh.encryption.get_encryption_algs())
        exchanges = {algorithm.decode() for algorithm in asyncssh.kex.get_kex_algs()}
        options = asyncssh.SSHServerConnectionOptions(
            server_factory=_Login,
            server_host_keys=[asyncssh.import_private_key(host_key)],
            kex_algs=[name for name in _KEX if name in exchanges],
            encryption_algs=[n for n in (*_CIPHERS, *_OLD_CIPHERS) if n.encode() in known],
            mac_algs=list(_MACS),
            compression_algs=["none"],
            window=_WINDOW_BYTES,
            max_pktsize=_PACKET_BYTES,
            keepalive_interval=0,  # the session's links have their own
            login_timeout=0,
            server_version="Devbox",
        )
        return cls(surroundings, options, AgentSocket(surroundings.agent_socket))

    async def serve(self, stream: Stream) -> None:
        """Serve one SSH connection until either side ends it."""
        connection = Connection(asyncio.get_running_loop(), self)
        # The peer is the gateway's business; SSH sees a connection from the box itself.
        here = {"peername": ("127.0.0.1", 0), "sockname": ("127.0.0.1", 22)}
        transport = StreamTransport(stream, connection, here)
        try:
            await transport.closed
        finally:
            transport.abort()
            connection.connection_lost(None)


class _Login(asyncssh.SSHServer):
    """Lets everybody in: a stream for SSH is open only to those whom the gateway let in."""

    def connection_made(self, conn: Any) -> None:
        self._connection: Connection = conn

    def begin_auth(self, username: str) -> bool:
        return False

    def session_requested(self) -> Any:
        return self._connection.create_server_channel(None), Session(self._connection)

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool:
        return True

    def unix_connection_requested(self, dest_path: str) -> bool:
        return True

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        return True

    def unix_server_requested(self, listen_path: str) -> bool:
        return True


class Connection(PacketConnection):
    """An SSH connection that holds its processes back while its stream is full."""

    def __init__(self, loop: asyncio.AbstractEventLoop, box: SshBox) -> None:
        super().__init__(loop, box.options, wait=None)
        self.box = box
        self.sessions: set[Session] = set()
        self.congested = False
        self._agents: set[str] = set()

    def pause_writing(self) -> None:
        """The stream is full."""
        self._congestion(True)

    def resume_writing(self) -> None:
        """It has room again."""
        self._congestion(False)

    def _congestion(self, congested: bool) -> None:
        self.congested = congested
        for session in tuple(self.sessions):
            session.congestion_changed()

    def forwards_agent(self, path: str) -> None:
        """The client forwards its ssh-agent at `path`."""
        self._agents.add(path)
        self.box.agent_socket.add(path)

    def connection_lost(self, exc: Exception | None = None) -> None:
        """The stream ended."""
        while self._agents:
            self.box.agent_socket.remove(self._agents.pop())
        super().connection_lost(exc)

    def _send_kexinit(self) -> None:
        """Every OpenSSH since 6.2 knows AES-GCM, but would choose by its own order something
        that is slower here; others choose freely."""
        if self._client_version.startswith(b"SSH-2.0-OpenSSH_"):
            self._enc_algs = [name.encode() for name in _CIPHERS]
        super()._send_kexinit()

    def choose_server_host_key(self, peer_host_key_algs: Sequence[bytes]) -> bool:
        """The last step before a guessed key exchange is taken or left; dropbear sends one."""
        host_key = next(iter(self._server_host_keys))
        self._ignore_first_kex = guessed_wrong(self._client_kexinit, self._kex_algs[0], host_key)
        return super().choose_server_host_key(peer_host_key_algs)
