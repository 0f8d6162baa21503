"""SFTP and scp on the box's files: asyncssh's server, with paths as a shell of the box has them."""

import posixpath

from asyncssh import SFTPServer, SSHServerChannel

from in_box_agent.surroundings import Surroundings


class BoxFiles(SFTPServer):
    """Relative paths begin where shells begin; `~` is the home."""

    def __init__(self, channel: "SSHServerChannel[bytes]", surroundings: Surroundings) -> None:
        super().__init__(channel)
        self._start = surroundings.directory.encode()
        self._home = surroundings.env["HOME"].encode()

    def map_path(self, path: bytes) -> bytes:
        """From the client's path to the box's."""
        if path == b"~" or path.startswith(b"~/"):
            return self._home + path[1:]
        return posixpath.join(self._start, path) if path else self._start
