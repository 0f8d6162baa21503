"""What a person hears of a broken connection."""

from typing import Any

from devbox.cli.sessions import Dial, Notice, target_of_address
from devbox.edge.links import SessionEvent, SessionState

LINKED, LINKLESS = SessionEvent(SessionState.LINKED), SessionEvent(SessionState.LINKLESS, "cut")


class Clock:
    """A loop's timers, by hand."""

    def __init__(self) -> None:
        self.due: list[Any] = []

    def call_later(self, delay: float, *call: Any) -> Any:
        self.due.append(call)
        return self

    def cancel(self) -> None:
        self.due.clear()

    def ring(self) -> None:
        for function, *arguments in self.due:
            function(*arguments)


def test_a_short_break_is_nobodys_business() -> None:
    said: list[str] = []
    clock = Clock()
    notice = Notice(clock.call_later, said.append)
    for event in (LINKED, LINKLESS, LINKED):
        notice.hear(event)
    clock.ring()
    assert said == []


def test_a_long_break_is_told_once_and_so_is_its_end() -> None:
    said: list[str] = []
    clock = Clock()
    notice = Notice(clock.call_later, said.append)
    for event in (LINKED, LINKLESS, LINKLESS):
        notice.hear(event)
    clock.ring()
    notice.hear(LINKED)
    notice.hear(LINKED)
    assert said == ["reconnecting (cut); nothing is lost", "connected again"]


def test_no_secret_is_shown() -> None:
    wanted = target_of_address("wss://devbox.test/home/here/team/hello/" + "a" * 32, "")
    assert "a" * 32 not in repr(wanted)
    assert "a" * 32 not in repr(Dial("https://devbox.test", "a" * 32))
    assert wanted.context.url == "https://devbox.test"
