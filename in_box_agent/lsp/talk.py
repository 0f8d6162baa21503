"""One editor at the bridge: its bytes in and out, and the processes of its language servers.

Owns the processes; what to say to whom is `conversation`'s.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import NamedTuple

from devbox.edge.tasks import Tasks
from devbox.model.errors import DevboxError
from in_box_agent.lsp.conversation import Action, Conversation, ToEditor
from in_box_agent.lsp.envelope import Message, encode, raw
from in_box_agent.lsp.framing import Framing, frame
from in_box_agent.lsp.languages import Program
from in_box_agent.lsp.wishes import Around, Wish, places, programs

_READ_BYTES = 256 << 10
_END_S = 2.0
_PIPE_LIMIT = 1 << 20


class _Server(NamedTuple):
    number: int
    name: str
    process: asyncio.subprocess.Process

    @property
    def output(self) -> asyncio.StreamReader:
        assert self.process.stdout is not None
        return self.process.stdout

    @property
    def input(self) -> asyncio.StreamWriter:
        assert self.process.stdin is not None
        return self.process.stdin


class Talk:
    """A conversation, from its first byte to its last."""

    def __init__(
        self,
        wish: Wish,
        around: Around,
        editor: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._around = around
        self._programs = programs(wish.language, around.env)
        names = [program.name for _, program in self._programs]
        self._conversation = Conversation(places(wish, around), names)
        self._reader, self._writer = editor
        self._servers: list[_Server] = []

    async def run(self) -> None:
        """Talk until the editor is gone."""
        async with Tasks("lsp") as tasks:
            try:
                for number, (path, program) in enumerate(self._programs):
                    server = await self._start(number, path, program)
                    self._servers.append(server)
                    tasks.start(self._listen(server), f"server-{number}")
                await self._hear_editor()
            except ConnectionError:
                pass  # the editor is gone, and did not say so
            except DevboxError as error:
                await self._act([_shown(error)])
            finally:
                self._writer.close()
                await self._end()

    async def _start(self, number: int, path: str, program: Program) -> _Server:
        around = self._around
        process = await asyncio.create_subprocess_exec(
            around.starter,
            *("pipe", around.directory, around.home, path),
            *program.argv,
            env=dict(around.env),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_PIPE_LIMIT,
        )
        return _Server(number, program.name, process)

    async def _hear_editor(self) -> None:
        framing = Framing()
        while data := await self._reader.read(_READ_BYTES):
            for message in framing.feed(data):
                await self._act(self._conversation.from_editor(message))

    async def _listen(self, server: _Server) -> None:
        framing = Framing()
        said = f"the language server {server.name} has ended"
        try:
            while data := await server.output.read(_READ_BYTES):
                for message in framing.feed(data):
                    await self._act(self._conversation.from_server(server.number, message))
        except DevboxError as error:
            said = f"the language server {server.name} does not speak LSP: {error.message}"
        await self._act([*self._conversation.ended(server.number, said), _warning(said)])

    async def _act(self, actions: Iterable[Action]) -> None:
        touched = set()
        for action in actions:
            to = (
                self._writer if isinstance(action, ToEditor) else self._servers[action.server].input
            )
            to.write(frame(action.message))
            touched.add(to)
        for to in touched:
            with contextlib.suppress(ConnectionError):
                await to.drain()

    async def _end(self) -> None:
        for server in self._servers:
            with contextlib.suppress(ProcessLookupError):
                server.process.terminate()
        for server in self._servers:
            try:
                async with asyncio.timeout(_END_S):
                    await server.process.wait()
            except TimeoutError:
                server.process.kill()
                await server.process.wait()


def _shown(error: DevboxError) -> ToEditor:
    return _warning(f"{error.message}. {error.hint}")


def _warning(text: str) -> ToEditor:
    params = raw({"type": 1, "message": f"devbox: {text}"})
    return ToEditor(encode(Message(method="window/showMessage", params=params)))
