"""SFTP and scp on the box's files: asyncssh's server, with paths as OpenSSH's server has them."""

import posixpath

from asyncssh import SFTPServer, SSHServerChannel

from in_box_agent.surroundings import Surroundings


class BoxFiles(SFTPServer):
    """Relative paths begin in the home: clients send `~/file` as `file`."""

    def __init__(self, channel: "SSHServerChannel[bytes]", surroundings: Surroundings) -> None:
        super().__init__(channel)
        self._home = surroundings.env["HOME"].encode()

    def map_path(self, path: bytes) -> bytes:
        """From the client's path to the box's."""
        if path == b"~" or path.startswith(b"~/"):
            path = path[2:]
        return posixpath.join(self._home, path) if path else self._home

    def exit(self) -> None:
        """The client is done. Scp's new protocol fails without an exit status."""
        if self.channel.get_subsystem() == "sftp":
            self.channel.exit(0)
