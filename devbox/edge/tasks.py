"""Every task has an owner, a name and an end. Nothing else in the project starts tasks."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from devbox.edge.log import get_logger

_log = get_logger()


class Tasks:
    """Owns background tasks: cancels and awaits them when it is closed.

    A task that ends with an error is logged at once and, if it was `vital`, the error is kept and
    `failed` is set, so that the owner can end.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: set[asyncio.Task[Any]] = set()
        self.failed: asyncio.Event = asyncio.Event()
        self.error: BaseException | None = None

    def start(
        self, work: Coroutine[Any, Any, Any], name: str, *, vital: bool = False
    ) -> asyncio.Task[Any]:
        """Run `work` as a task named `<owner>/<name>`."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self._name}/{name}")
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, vital=vital))
        return task

    def _ended(self, task: asyncio.Task[Any], *, vital: bool) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        _log.error("task_failed", task=task.get_name(), error=repr(error), exc_info=error)
        if vital and self.error is None:
            self.error = error
            self.failed.set()

    async def close(self) -> None:
        """Cancel what still runs and wait for it."""
        running = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
