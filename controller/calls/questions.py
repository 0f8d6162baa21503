"""Questions to a node that somebody waits for: asked with its orders, answered in a report.

Kept in memory only: whoever asked is gone after a restart.
"""

import asyncio
from collections.abc import Callable

from devbox.model.errors import Unavailable
from devbox.model.nodes import DiffAnswer, DiffOrder
from devbox.model.saves import SaveDiff


class Questions:
    """The open questions."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[DiffOrder, asyncio.Future[DiffAnswer]]] = {}

    @property
    def orders(self) -> tuple[DiffOrder, ...]:
        """What is asked now."""
        return tuple(order for order, _ in self._open.values())

    async def ask(self, order: DiffOrder, wake: Callable[[], None], patience_s: float) -> SaveDiff:
        """Wait for the answer; `wake` has the node look. Raises Unavailable."""
        answer: asyncio.Future[DiffAnswer] = asyncio.get_running_loop().create_future()
        self._open[order.order_id] = (order, answer)
        wake()
        try:
            async with asyncio.timeout(patience_s):
                told = await answer
        except TimeoutError as error:
            raise Unavailable(
                f"the node did not compare the saves within {patience_s:.0f} s", "Try again."
            ) from error
        finally:
            del self._open[order.order_id]
        if told.diff is None:
            raise Unavailable(f"the saves could not be compared: {told.failure}", "Try again.")
        return told.diff

    def answer(self, told: DiffAnswer) -> None:
        """A node answered; nobody may be waiting any more."""
        _, waiting = self._open.get(told.order_id, (None, None))
        if waiting is not None and not waiting.done():
            waiting.set_result(told)
