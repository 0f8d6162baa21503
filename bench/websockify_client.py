"""A local port that leads through a websockify server, by websockify's own client class.

Debian's Python runs this, the one that has python3-websockify:

    /usr/bin/python3 -m bench.websockify_client PORT URL

The class of version 0.10 cannot send (it adds a number to bytes), so its masking key is made here.
"""

import os
import select
import socket
import ssl
import sys
import threading
import warnings
from typing import Any

from websockify.websocket import WebSocket  # type: ignore[import-not-found]

_BLOCK = 256 << 10


class Client(WebSocket):  # type: ignore[misc]
    """As websockify's, but it sends."""

    def _sendmsg(self, opcode: int, msg: bytes) -> None:
        self._send(self._encode_hybi(opcode, msg, os.urandom(4)))


def _serve(near: socket.socket, url: str) -> None:
    far = Client()
    far.connect(url, protocols=["binary"])
    with near:
        while True:
            both: list[Any] = [near, far]
            readable, _, _ = select.select(both, [], [])
            if near in readable:
                data = near.recv(_BLOCK)
                if not data:
                    break
                far.send(data)
            if far in readable and not _from_far(near, far):
                break
    far.close()


def _from_far(near: socket.socket, far: Client) -> bool:
    while True:
        try:
            data = far.recv()
        except ssl.SSLWantReadError:  # websockify's own error for too few bytes is one, too
            return True
        if data is None:
            return False
        near.sendall(data)
        if not far.pending():
            return True


def main() -> None:
    """Accept until killed."""
    warnings.simplefilter("ignore")
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64) as listener:
        while True:
            near, _ = listener.accept()
            threading.Thread(target=_serve, args=(near, sys.argv[2]), daemon=True).start()


if __name__ == "__main__":
    main()
