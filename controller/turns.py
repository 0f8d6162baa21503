"""Joins the pure core to the store: one turn is one transaction.

Owns the order of things: state is on disk before its actions begin. Knows no CRI; whoever carries
boxes is given as `Pods`.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import structlog
from msgspec.structs import replace

from controller.core import events as e
from controller.core.state import Box, Subject
from controller.core.step import step
from controller.store import projects
from controller.store.database import Database
from controller.store.projects import ProjectRow
from devbox.edge.tasks import Tasks

T = TypeVar("T")
_log = structlog.get_logger()


class Pods(Protocol):
    """Carries boxes out. Calls return at once; news comes back as events. All may come twice."""

    def start(self, project: ProjectRow, box: Box) -> None:
        """Make the box."""

    def stop(self, project: ProjectRow, box: Box) -> None:
        """Stop it and remove all that is there of it."""

    def adopt(self, project: ProjectRow, box: Box) -> None:
        """Find it again after a restart of the controller."""

    def forget(self, project: ProjectRow) -> None:
        """The project is gone: remove what its boxes left, such as logs."""


class Turn:
    """What happens in one transaction."""

    def __init__(self, db: sqlite3.Connection, node: str, now: float) -> None:
        self.db = db
        self.now = now
        self.actions: list[tuple[ProjectRow, e.Action]] = []
        self._node = node

    def feed(self, row: ProjectRow, event: e.Event, **changes: Any) -> ProjectRow:
        """Give the core an event, after `changes` to the project's other columns."""
        changed = replace(row, **changes)
        subject = Subject(uid=row.uid, desired=changed.desired, node=self._node)
        state, actions = step(subject, changed.state, event, self.now)
        after = replace(changed, state=state)
        if any(isinstance(action, e.Forget) for action in actions):
            projects.delete(self.db, row.uid)
        else:
            projects.update(self.db, row, after)
        self.actions += [(after, action) for action in actions]
        return after


class Turns:
    """Runs turns and begins their actions."""

    def __init__(
        self, db: Database, tasks: Tasks, *, node: str, clock: Callable[[], float]
    ) -> None:
        self._db = db
        self._tasks = tasks
        self._node = node
        self._clock = clock
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.pods: Pods | None = None
        """Set before the first turn that starts a box."""

    async def take(self, work: Callable[[Turn], T], *, durable: bool = True) -> T:
        """Run `work` in a transaction, then begin the actions. Raises what `work` raises.

        A caller that goes away does not keep the actions from beginning.
        """
        result, error = await asyncio.shield(
            self._tasks.start(self._take(work, durable=durable), "turn")
        )
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    async def _take(
        self, work: Callable[[Turn], Any], *, durable: bool
    ) -> tuple[Any, Exception | None]:
        turns: list[Turn] = []

        def transaction(db: sqlite3.Connection) -> Any:
            turns.append(Turn(db, self._node, self._clock()))
            return work(turns[0])

        try:
            result = await self._db.write(transaction, durable=durable)
        except Exception as error:  # raised again where it is waited for
            return None, error
        for row, action in turns[0].actions:
            self._begin(row, action)
        return result, None

    async def see(self, project_uid: str, event: e.Event) -> None:
        """News of a box. A power cut may take it: it is observed again at the next start."""

        def work(turn: Turn) -> None:
            if row := projects.by_uid(turn.db, project_uid):
                turn.feed(row, event)

        await self.take(work, durable=False)

    async def restart(self) -> None:
        """Take up again what an earlier run of the controller left."""

        def work(turn: Turn) -> None:
            for row in projects.everyone(turn.db):
                turn.feed(row, e.Restarted())

        await self.take(work)

    def _begin(self, row: ProjectRow, action: e.Action) -> None:
        pods = self.pods
        assert pods is not None
        if isinstance(action, e.StartBox | e.StopBox | e.AdoptBox):
            _log.info(
                "box_ordered",
                project=f"{row.namespace}/{row.name}",
                action=type(action).__name__,
                generation=action.box.generation,
                pod_uid=action.box.pod_uid,
            )
        match action:
            case e.StartBox(box):
                pods.start(row, box)
            case e.StopBox(box):
                pods.stop(row, box)
            case e.AdoptBox(box):
                pods.adopt(row, box)
            case e.Wake(at):
                self._wake(row.uid, at)
            case e.Forget():
                self._unwake(row.uid)
                pods.forget(row)

    def _wake(self, uid: str, at: float) -> None:
        self._unwake(uid)
        loop = asyncio.get_running_loop()
        wait = max(0.0, at - self._clock())
        self._timers[uid] = loop.call_later(wait, self._tick, uid)

    def _tick(self, uid: str) -> None:
        self._timers.pop(uid, None)
        self._tasks.start(self.see(uid, e.Tick()), "tick")

    def _unwake(self, uid: str) -> None:
        if timer := self._timers.pop(uid, None):
            timer.cancel()

    def close(self) -> None:
        """Set no more alarms."""
        for uid in list(self._timers):
            self._unwake(uid)
