"""The state machines of session, link and stream: one table each, and nothing else decides.

`docs/protocol.md` shows the same tables as diagrams, generated from here.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from devbox.wire.errors import IllegalMove

S = TypeVar("S", bound=enum.StrEnum)
M = TypeVar("M", bound=enum.StrEnum)


@dataclass(frozen=True)
class Table(Generic[S, M]):
    """All legal moves of one machine."""

    name: str
    start: S
    moves: Mapping[tuple[S, M], S]


class Machine(Generic[S, M]):
    """A state, and the only way to change it."""

    __slots__ = ("_table", "state")

    def __init__(self, table: Table[S, M]) -> None:
        self._table = table
        self.state: S = table.start

    def can(self, move: M) -> bool:
        """Whether the table has this move here."""
        return (self.state, move) in self._table.moves

    def move(self, move: M) -> S:
        """Change state. Raises IllegalMove, and then nothing has changed."""
        try:
            self.state = self._table.moves[self.state, move]
        except KeyError:
            raise IllegalMove(f"{self._table.name}: no move '{move}' in '{self.state}'") from None
        return self.state


class SessionState(enum.StrEnum):
    """Of a session, at either side."""

    NEW = "new"
    LINKED = "linked"
    LINKLESS = "linkless"
    ENDED = "ended"


class SessionMove(enum.StrEnum):
    """What happens to a session."""

    LINK_UP = "link up"
    LAST_LINK_LOST = "last link lost"
    GOODBYE = "goodbye"
    GIVE_UP = "give up"


SESSION = Table(
    "session",
    SessionState.NEW,
    {
        (SessionState.NEW, SessionMove.LINK_UP): SessionState.LINKED,
        (SessionState.NEW, SessionMove.GOODBYE): SessionState.ENDED,
        (SessionState.NEW, SessionMove.GIVE_UP): SessionState.ENDED,
        (SessionState.LINKED, SessionMove.LINK_UP): SessionState.LINKED,
        (SessionState.LINKED, SessionMove.LAST_LINK_LOST): SessionState.LINKLESS,
        (SessionState.LINKED, SessionMove.GOODBYE): SessionState.ENDED,
        (SessionState.LINKLESS, SessionMove.LINK_UP): SessionState.LINKED,
        (SessionState.LINKLESS, SessionMove.GOODBYE): SessionState.ENDED,
        (SessionState.LINKLESS, SessionMove.GIVE_UP): SessionState.ENDED,
    },
)


class LinkState(enum.StrEnum):
    """Of one websocket."""

    UPGRADING = "upgrading"
    GREETING = "greeting"
    OPEN = "open"
    CLOSED = "closed"


class LinkMove(enum.StrEnum):
    """What happens to a link."""

    UPGRADED = "upgraded"
    GREETED = "greeted"
    LOST = "lost"
    TAKEN_OVER = "taken over"
    GOODBYE = "goodbye"


LINK = Table(
    "link",
    LinkState.UPGRADING,
    {
        (LinkState.UPGRADING, LinkMove.UPGRADED): LinkState.GREETING,
        (LinkState.UPGRADING, LinkMove.LOST): LinkState.CLOSED,
        (LinkState.GREETING, LinkMove.GREETED): LinkState.OPEN,
        (LinkState.GREETING, LinkMove.LOST): LinkState.CLOSED,
        (LinkState.GREETING, LinkMove.GOODBYE): LinkState.CLOSED,
        (LinkState.OPEN, LinkMove.LOST): LinkState.CLOSED,
        (LinkState.OPEN, LinkMove.TAKEN_OVER): LinkState.CLOSED,
        (LinkState.OPEN, LinkMove.GOODBYE): LinkState.CLOSED,
    },
)


class StreamState(enum.StrEnum):
    """Of a stream, as one side sees it."""

    OPEN = "open"
    WE_ENDED = "we ended"
    THEY_ENDED = "they ended"
    CLOSED = "closed"


class StreamMove(enum.StrEnum):
    """What happens to a stream."""

    SEND_END = "send END"
    TAKE_END = "take END"
    SEND_RESET = "send RESET"
    TAKE_RESET = "take RESET"
    SESSION_ENDED = "session ended"


STREAM = Table(
    "stream",
    StreamState.OPEN,
    {
        (StreamState.OPEN, StreamMove.SEND_END): StreamState.WE_ENDED,
        (StreamState.OPEN, StreamMove.TAKE_END): StreamState.THEY_ENDED,
        (StreamState.OPEN, StreamMove.SEND_RESET): StreamState.CLOSED,
        (StreamState.OPEN, StreamMove.TAKE_RESET): StreamState.CLOSED,
        (StreamState.OPEN, StreamMove.SESSION_ENDED): StreamState.CLOSED,
        (StreamState.WE_ENDED, StreamMove.TAKE_END): StreamState.CLOSED,
        (StreamState.WE_ENDED, StreamMove.SEND_RESET): StreamState.CLOSED,
        (StreamState.WE_ENDED, StreamMove.TAKE_RESET): StreamState.CLOSED,
        (StreamState.WE_ENDED, StreamMove.SESSION_ENDED): StreamState.CLOSED,
        (StreamState.THEY_ENDED, StreamMove.SEND_END): StreamState.CLOSED,
        (StreamState.THEY_ENDED, StreamMove.SEND_RESET): StreamState.CLOSED,
        (StreamState.THEY_ENDED, StreamMove.TAKE_RESET): StreamState.CLOSED,
        (StreamState.THEY_ENDED, StreamMove.SESSION_ENDED): StreamState.CLOSED,
    },
)


def diagram(table: Table[Any, Any]) -> str:
    """A table as a Mermaid state diagram."""
    name = {state: state.replace(" ", "_") for state in type(table.start)}
    lines = ["stateDiagram-v2", f"    [*] --> {name[table.start]}"]
    lines += [
        f"    {name[one]} --> {name[two]}: {move}" for (one, move), two in table.moves.items()
    ]
    lasting = {one for one, _ in table.moves}
    lines += [f"    {name[state]} --> [*]" for state in name if state not in lasting]
    return "\n".join([*lines, ""])


def session_diagram() -> str:
    """For docs/protocol.md."""
    return diagram(SESSION)


def link_diagram() -> str:
    """For docs/protocol.md."""
    return diagram(LINK)


def stream_diagram() -> str:
    """For docs/protocol.md."""
    return diagram(STREAM)
