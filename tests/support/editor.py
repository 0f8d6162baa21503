"""An editor: a client of LSP over byte streams, which keeps all that it is told."""

import asyncio
import json
from typing import Any

from in_box_agent.lsp.framing import Framing, frame

PATIENCE_S = 60.0


class Editor:
    """Asks and tells; answers what servers ask with nothing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._framing = Framing()
        self._last = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.told: list[tuple[str, Any]] = []
        self.asked: list[tuple[str, Any]] = []
        self._news = asyncio.Event()

    async def listen(self) -> None:
        """Take what comes, to the end."""
        while data := await self._reader.read(1 << 16):
            for raw in self._framing.feed(data):
                self._take(json.loads(raw))
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_result({"error": {"message": "the conversation ended"}})

    def _take(self, message: Any) -> None:
        if "method" not in message:
            self._answers[message["id"]].set_result(message)
        elif "id" in message:
            self.asked.append((message["method"], message.get("params")))
            items = (message.get("params") or {}).get("items", [])
            found = [None] * len(items) if message["method"] == "workspace/configuration" else None
            self._send({"id": message["id"], "result": found})
        else:
            self.told.append((message["method"], message.get("params")))
        self._news.set()

    def _send(self, message: dict[str, Any]) -> None:
        self._writer.write(frame(json.dumps({"jsonrpc": "2.0", **message}).encode()))

    def tell(self, method: str, params: Any) -> None:
        """A notification."""
        self._send({"method": method, "params": params})

    def begin(self, method: str, params: Any) -> int:
        """A request; its id."""
        self._last += 1
        self._answers[self._last] = asyncio.get_running_loop().create_future()
        self._send({"id": self._last, "method": method, "params": params})
        return self._last

    async def whole(self, method: str, params: Any) -> Any:
        """A request and its whole response."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._answers[self.begin(method, params)]

    async def ask(self, method: str, params: Any) -> Any:
        """A request and its result."""
        answer = await self.whole(method, params)
        assert "error" not in answer, answer
        return answer["result"]

    async def hear(self, method: str, wanted: Any = lambda params: True) -> Any:
        """The params of the next notification that is wanted."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for name, params in self.told:
                    if name == method and wanted(params):
                        return params
                self._news.clear()
                await self._news.wait()

    async def open(self, root: str) -> Any:
        """`initialize` and `initialized`; the answer."""
        answer = await self.ask(
            "initialize",
            {
                "processId": 1,
                "rootUri": root,
                "workspaceFolders": [{"uri": root, "name": "app"}],
                "capabilities": {
                    "textDocument": {"publishDiagnostics": {}, "completion": {}, "hover": {}},
                    "workspace": {"workspaceFolders": True, "configuration": True},
                    "general": {"positionEncodings": ["utf-8", "utf-16"]},
                },
            },
        )
        self.tell("initialized", {})
        return answer

    def document(self, uri: str, text: str, language: str = "python") -> None:
        """Open a document."""
        item = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": item})
