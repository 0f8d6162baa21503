"""One editor's conversation with the language servers behind the bridge, as a pure state machine.

    editor <-> Conversation <-> server 0, 1, ...

Towards the editor there is one server that can do what all of them can. Ids are the bridge's own on
both sides, so that two servers may ask with the same one. What passes between one server and the
editor keeps its bytes but for the id and the names of files.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from devbox.model.errors import BadInput
from in_box_agent.lsp import rewriting
from in_box_agent.lsp.diagnosing import Diagnoses
from in_box_agent.lsp.envelope import (
    METHOD_NOT_FOUND,
    REQUEST_FAILED,
    Id,
    Message,
    decode,
    encode,
    failure,
    raw,
)
from in_box_agent.lsp.features import MERGES, RESOLVES
from in_box_agent.lsp.fleet import Fleet
from in_box_agent.lsp.places import Places

_NULL = Raw(b"null")
_TAG = "devboxServer"


class ToEditor(NamedTuple):
    """A message for the editor."""

    message: bytes


class ToServer(NamedTuple):
    """A message for one server."""

    server: int
    message: bytes


Action = ToEditor | ToServer


class _Document(msgspec.Struct, frozen=True):
    uri: str


class _About(msgspec.Struct, frozen=True, rename="camel"):
    text_document: _Document


@dataclass
class _Question:
    """A request of the editor, asked of some servers."""

    id: Id
    method: str
    parts: dict[Id, int]
    """Our id -> server, of parts that are not answered."""
    order: tuple[int, ...]
    answers: dict[int, Raw] = field(default_factory=dict)
    error: Raw | UnsetType = UNSET


class Conversation:
    """Messages in, actions out. Raises BadInput on what is no message of LSP."""

    def __init__(self, places: Places, servers: Sequence[str]) -> None:
        self._places = places
        self._fleet = Fleet(servers)
        self._diagnoses = Diagnoses()
        self._last = 0
        self._questions: dict[Id, _Question] = {}
        self._asking: dict[Id, _Question] = {}
        self._backward: dict[Id, tuple[int, Id, str]] = {}
        """Our id -> a server, its own id, and the method of what it asked the editor."""

    # -- from the editor ------------------------------------------------------------------------

    def from_editor(self, data: bytes) -> list[Action]:
        """A message of the editor."""
        with _understood():
            return self._from_editor(decode(data))

    def _from_editor(self, message: Message) -> list[Action]:
        if isinstance(message.method, UnsetType):
            return self._answered_by_editor(message)
        if message.method == "textDocument/didOpen":
            self._places.opened(_document(message.params))
        params = self._renamed(rewriting.params, message.method, message.params, to_box=True)
        if isinstance(message.id, UnsetType):
            return self._told_by_editor(message.method, params)
        return self._asked_by_editor(message.asked, message.method, params)

    def _told_by_editor(self, method: str, params: Raw | UnsetType) -> list[Action]:
        if method == "$/cancelRequest":
            return self._cancelled(params)
        if method == "window/workDoneProgress/cancel":
            server, token = self._fleet.progress_of(_field(params, "token"))
            return [self._to(server, Message(method=method, params=raw({"token": token})))]
        if method == "textDocument/didClose":
            self._diagnoses.closed(_document(params))
            self._places.closed(_document(params))
        body = encode(Message(method=method, params=params))
        return [ToServer(server, body) for server in self._fleet.alive]

    def _cancelled(self, params: Raw | UnsetType) -> list[Action]:
        question = self._asking.get(_field(params, "id"))
        if question is None:
            return []
        return [
            self._to(server, Message(method="$/cancelRequest", params=raw({"id": number})))
            for number, server in question.parts.items()
        ]

    def _asked_by_editor(self, asked: Id, method: str, params: Raw | UnsetType) -> list[Action]:
        if asked in self._asking:
            return [_say(failure(asked, REQUEST_FAILED, "this id is in use"))]
        if method in RESOLVES:
            servers, params = self._resolved_by(method, params)
        else:
            servers = self._fleet.who(method, params)
        if not servers:
            return [_say(failure(asked, METHOD_NOT_FOUND, f"no server here answers {method}"))]
        question = _Question(asked, method, {}, servers)
        self._asking[asked] = question
        if method == "initialize":
            params = self._fleet.introduction(params)
        actions: list[Action] = []
        for server in servers:
            number = self._number()
            question.parts[number] = server
            self._questions[number] = question
            part = self._fleet.part(params, first=server == servers[0], alone=len(servers) == 1)
            actions.append(self._to(server, Message(id=number, method=method, params=part)))
        return actions

    def _resolved_by(
        self, method: str, params: Raw | UnsetType
    ) -> tuple[tuple[int, ...], Raw | UnsetType]:
        """An item goes back to the server that it came from."""
        servers = self._fleet.who(RESOLVES[method], params)
        if len(servers) < 2 or isinstance(params, UnsetType):
            return servers, params
        item = msgspec.json.decode(params)
        tag = item.get("data")
        if not isinstance(tag, dict) or tag.get(_TAG) not in servers:
            return servers[:1], params
        item.pop("data")
        return (tag[_TAG],), raw({**item, **tag["own"]})

    def _answered_by_editor(self, message: Message) -> list[Action]:
        server, own, method = self._backward.pop(message.asked, (-1, 0, ""))
        if server not in self._fleet.alive:
            return []
        result = self._renamed(rewriting.result, method, message.result, to_box=True)
        return [self._to(server, Message(id=own, result=result, error=message.error))]

    # -- from a server --------------------------------------------------------------------------

    def from_server(self, server: int, data: bytes) -> list[Action]:
        """A message of a server."""
        with _understood():
            return self._from_server(server, decode(data))

    def _from_server(self, server: int, message: Message) -> list[Action]:
        if isinstance(message.method, UnsetType):
            return self._answered_by_server(message)
        if isinstance(message.id, UnsetType):
            return self._told_by_server(server, message.method, message.params)
        params = self._fleet.asks(server, message.method, message.params)
        params = self._renamed(rewriting.params, message.method, params, to_box=False)
        number = self._number()
        self._backward[number] = (server, message.asked, message.method)
        return [_say(Message(id=number, method=message.method, params=params))]

    def _told_by_server(self, server: int, method: str, params: Raw | UnsetType) -> list[Action]:
        if method == "$/cancelRequest":
            return self._withdrawn(server, _field(params, "id"))
        if method == "$/progress":
            params = self._fleet.progress(server, params)
        elif method == "textDocument/publishDiagnostics" and len(self._fleet.alive) > 1:
            params = self._diagnoses.published(server, params)
        params = self._renamed(rewriting.params, method, params, to_box=False)
        return [_say(Message(method=method, params=params))]

    def _withdrawn(self, server: int, own: Id) -> list[Action]:
        for number, (asker, its, _) in self._backward.items():
            if (asker, its) == (server, own):
                return [_say(Message(method="$/cancelRequest", params=raw({"id": number})))]
        return []

    def _answered_by_server(self, message: Message) -> list[Action]:
        question = self._questions.pop(message.asked, None)
        if question is None:
            return []
        server = question.parts.pop(message.asked)
        if isinstance(message.error, UnsetType):
            result = _NULL if isinstance(message.result, UnsetType) else message.result
            question.answers[server] = result
        else:
            question.error = message.error
        return [] if question.parts else self._finish(question)

    def _finish(self, question: _Question) -> list[Action]:
        del self._asking[question.id]
        if not question.answers:
            return [_say(Message(id=question.id, error=question.error))]
        result = self._merged(question)
        result = self._known(rewriting.result, question.method, result, to_box=False)
        return [_say(Message(id=question.id, result=result))]

    def _merged(self, question: _Question) -> Raw:
        answers = question.answers
        if question.method == "initialize":
            return self._fleet.introduced(answers)
        told = {server: answers[server] for server in question.order if server in answers}
        full = {server: one for server, one in told.items() if bytes(one) != b"null"}
        merge = MERGES.get(question.method)
        if len(question.order) == 1 or not full or merge is None:
            return next(iter(full.values()), _NULL)
        values = [_tagged(server, msgspec.json.decode(one)) for server, one in full.items()]
        return raw(merge(values))

    def ended(self, server: int, said: str) -> list[Action]:
        """A server is gone: what was asked of it has no answer, and what it found is no news."""
        self._fleet.lost(server)
        actions: list[Action] = []
        for number, question in list(self._questions.items()):
            if question.parts.get(number) == server:
                error = raw({"code": REQUEST_FAILED, "message": said})
                actions += self._answered_by_server(Message(id=number, error=error))
        for number, (asker, _, _) in list(self._backward.items()):
            if asker == server:
                del self._backward[number]
        return actions

    # -- small things ---------------------------------------------------------------------------

    def _number(self) -> int:
        self._last += 1
        return self._last

    def _renamed(
        self,
        rewrite: Callable[..., bytes],
        method: str,
        value: Raw | UnsetType,
        *,
        to_box: bool,
    ) -> Raw | UnsetType:
        if isinstance(value, UnsetType):
            return value
        return self._known(rewrite, method, value, to_box=to_box)

    def _known(
        self, rewrite: Callable[..., bytes], method: str, value: Raw, *, to_box: bool
    ) -> Raw:
        names = self._places.to_box if to_box else self._places.to_editor
        return Raw(rewrite(method, bytes(value), names))

    def _to(self, server: int, message: Message) -> ToServer:
        return ToServer(server, encode(message))


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """What a message has in other places than LSP says is one error. Raises BadInput."""
    try:
        yield
    except (msgspec.MsgspecError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise BadInput(f"this is no message of LSP: {error}", "Nothing was changed.") from error


def _say(message: Message) -> ToEditor:
    return ToEditor(encode(message))


def _tagged(server: int, value: Any) -> Any:
    """Items with a note whose they are, for `resolve`."""
    if isinstance(value, dict) and isinstance(value.get("items"), list):
        return {**value, "items": [_tag(server, item) for item in value["items"]]}
    if isinstance(value, list):
        return [_tag(server, item) for item in value]
    return value


def _tag(server: int, item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    own = {"data": item["data"]} if "data" in item else {}
    return {**item, "data": {_TAG: server, "own": own}}


def _field(params: Raw | UnsetType, name: str) -> Any:
    return None if isinstance(params, UnsetType) else msgspec.json.decode(params).get(name)


def _document(params: Raw | UnsetType) -> str:
    """The URI of the document that a notification is about; its text is not looked at."""
    if isinstance(params, UnsetType):
        return ""
    return msgspec.json.decode(params, type=_About).text_document.uri
