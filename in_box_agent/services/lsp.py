"""Language servers for an editor: the bridge (`in_box_agent.lsp`) in a process of its own.

Parameters: `{"language": "python", "root": "file:///home/me/project"}`; without a root the editor
browses the box itself. The stream is LSP's base protocol in both directions.
"""

import asyncio
import socket
import subprocess
import sys

import msgspec

from devbox.edge.links import Stream, bridge_socket
from devbox.model.errors import BadInput, Unavailable
from devbox.model.nodes import StartRecord
from in_box_agent.lsp.wishes import Around, Wish, places, programs
from in_box_agent.surroundings import Surroundings

_SEND_S = 5.0
_ISOLATED = ("-I", "-S", "-B", "-OO", "-X", "utf8")
_START = """
import sys
sys.path[:] = sys.argv[2:]
from in_box_agent.lsp.process import run
run(int(sys.argv[1]))
"""


class Bridge:
    """The process, started when it is needed and again after it ended."""

    def __init__(self, record: StartRecord, around: Surroundings) -> None:
        self._around = Around(
            env=around.env,
            directory=around.directory,
            home=around.account.home,
            starter=around.starter,
            project=f"{record.project}.{record.namespace}",
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    async def serve(self, stream: Stream) -> None:
        """One editor. Raises BadInput, NotFound when the box has no server for the language."""
        try:
            wish = msgspec.convert(stream.params, Wish)
        except msgspec.ValidationError as error:
            raise BadInput(f"the parameters for lsp are wrong: {error}") from error
        await asyncio.to_thread(programs, wish.language, self._around.env)
        places(wish, self._around)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            self._hand_over(wish, theirs)
        except OSError as error:
            ours.close()
            raise Unavailable("the language servers' bridge does not start", str(error)) from error
        finally:
            theirs.close()
        await bridge_socket(stream, ours)

    def _hand_over(self, wish: Wish, editor: socket.socket) -> None:
        visit = msgspec.json.encode({"wish": wish, "around": self._around})
        if self._control is None or self._process is None or self._process.poll() is not None:
            self._start()
        assert self._control is not None
        try:
            socket.send_fds(self._control, [visit], [editor.fileno()])
        except (BrokenPipeError, ConnectionError):
            self._start()
            socket.send_fds(self._control, [visit], [editor.fileno()])

    def _start(self) -> None:
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_SEND_S)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *_flags(), "-c", _START, str(theirs.fileno()), *sys.path],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
            )
        self._control = ours

    def close(self) -> None:
        """No more editors: the process ends with those it has."""
        if self._control is not None:
            self._control.close()
            self._control = None


def _flags() -> tuple[str, ...]:
    """As the agent itself was started: nothing of the image's gets in."""
    return _ISOLATED if sys.flags.isolated else ()
