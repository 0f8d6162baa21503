"""Calls about runtimes, and the watch."""

import asyncio

from controller.calls.context import Calls
from controller.calls.origins import want
from controller.store import changes, projects, runtimes
from controller.store.runtimes import RuntimeRow
from controller.turns import Turn
from devbox.edge.registry.references import Reference
from devbox.model import orchestrator as o
from devbox.model.errors import Conflict
from devbox.model.names import check_label
from devbox.model.runtimes import Runtime


class RuntimeCalls(Calls):
    """List, build, add, remove."""

    async def list_runtimes(self, request: o.Nothing) -> o.Runtimes:  # noqa: ARG002
        """Built-in and added runtimes."""
        rows = runtimes.everything(self._c.db.reader)
        return o.Runtimes(runtimes=tuple(row.runtime for row in rows))

    async def build_runtime(self, request: o.RuntimeKey) -> Runtime:
        """Build or pull it again. Does not wait."""

        def work(turn: Turn) -> Runtime:
            row = runtimes.named(turn.db, request.name)
            return want(turn.db, row, again=not row.wanted).runtime

        return await self._c.turns.take(work)

    async def add_runtime(self, request: o.AddRuntime) -> Runtime:
        """Add an image as a runtime. Does not wait."""
        check_label(request.name, "runtime")
        Reference.parse(request.reference)

        def work(turn: Turn) -> Runtime:
            if runtimes.find(turn.db, request.name):
                raise Conflict(f"there is a runtime {request.name} already", "Choose another name.")
            added = Runtime(name=request.name, source=request.reference)
            return want(turn.db, RuntimeRow(runtime=added)).runtime

        return await self._c.turns.take(work)

    async def remove_runtime(self, request: o.RuntimeKey) -> o.Nothing:
        """Conflict while a project was made from it."""

        def work(turn: Turn) -> None:
            row = runtimes.named(turn.db, request.name)
            if users := projects.of_runtime(turn.db, request.name):
                raise Conflict(
                    f"project {users[0].namespace}/{users[0].name} was made from {request.name}",
                    "Delete the projects made from it first.",
                )
            if row.runtime.source == "built-in":
                raise Conflict(
                    f"runtime {request.name} is built in", "Only added runtimes can be removed."
                )
            runtimes.delete(turn.db, request.name)

        await self._c.turns.take(work)
        return o.Nothing()

    async def watch(self, request: o.Watch) -> o.Changes:
        """Changes since a revision."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.wait_s
        while True:
            changed = self._c.db.next_change
            news = changes.since(self._c.db.reader, request.revision)
            over = self._c.db.ending or loop.time() >= deadline
            if news.entries or not news.complete or over:
                return self._told(news)
            try:
                async with asyncio.timeout_at(deadline):
                    await changed.wait()
            except TimeoutError:
                continue

    def _told(self, news: changes.News) -> o.Changes:
        rows = [projects.by_uid(self._c.db.reader, uid) for uid in news.of("project")]
        return o.Changes(
            revision=news.revision,
            complete=news.complete,
            projects=tuple(row.public for row in rows if row),
            deleted_uids=news.of("deleted"),
            revoked_token_ids=news.of("revoked"),
        )
