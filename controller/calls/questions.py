"""Questions to a node that somebody waits for: asked with its orders, answered in a report.

Kept in memory only: whoever asked is gone after a restart.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from devbox.model.errors import Unavailable


class Asked(Protocol):
    """A question, or its answer."""

    @property
    def order_id(self) -> str:
        """What joins the two."""


Question = TypeVar("Question", bound=Asked)
Answer = TypeVar("Answer", bound=Asked)


class Questions(Generic[Question, Answer]):
    """The open questions of one kind. `what` ends the sentence "the node did not ..."."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._open: dict[str, tuple[Question, asyncio.Future[Answer]]] = {}

    @property
    def orders(self) -> tuple[Question, ...]:
        """What is asked now."""
        return tuple(order for order, _ in self._open.values())

    async def ask(self, order: Question, wake: Callable[[], None], patience_s: float) -> Answer:
        """Wait for the answer; `wake` has the node look. Raises Unavailable."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._open[order.order_id] = (order, answer)
        wake()
        try:
            async with asyncio.timeout(patience_s):
                return await answer
        except TimeoutError as error:
            raise Unavailable(
                f"the node did not {self._what} within {patience_s:.0f} s", "Try again."
            ) from error
        finally:
            del self._open[order.order_id]

    def answer(self, told: Answer) -> None:
        """A node answered; nobody may be waiting any more."""
        _, waiting = self._open.get(told.order_id, (None, None))
        if waiting is not None and not waiting.done():
            waiting.set_result(told)
