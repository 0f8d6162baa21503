"""`join.py SOCKET LINE`: standard input and output joined to a unix socket; an ssh ProxyCommand.

Nothing is imported that takes time, because every ssh of a test starts one.
"""

import os
import socket
import sys
import threading

_BYTES = 1 << 18


def _copy(source: int, sink: int) -> None:
    try:
        while data := os.read(source, _BYTES):
            while data:
                data = data[os.write(sink, data) :]
    except OSError:
        return


def main() -> None:
    """Until the socket's end."""
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(sys.argv[1])
        end.sendall(sys.argv[2].encode() + b"\n")

        def upward() -> None:
            _copy(0, end.fileno())
            try:
                end.shutdown(socket.SHUT_WR)
            except OSError:
                return

        threading.Thread(target=upward, daemon=True).start()
        _copy(end.fileno(), 1)
    os._exit(0)


main()
