"""Calls about saves and releases."""

import asyncio
import uuid

from controller.calls.context import Calls
from controller.calls.origins import recorded_image
from controller.calls.projects import alive
from controller.core import events as e
from controller.core.state import Restore
from controller.store import projects, saves
from controller.store.projects import ProjectRow
from controller.turns import Turn
from devbox.model import orchestrator as o
from devbox.model.errors import BadInput, Conflict, NotFound, Unavailable
from devbox.model.names import check_version
from devbox.model.nodes import DiffOrder, SaveOrder
from devbox.model.runtimes import no_save
from devbox.model.saves import Release, SaveDiff, SaveReason, SaveStep

MOST_PATHS = 10_000
"""In one page of a comparison."""
_DIFF_S = 300.0


class SaveCalls(Calls):
    """Ask for saves, list them, make releases."""

    async def ask_save(self, request: o.AskSave) -> o.AskedSave:
        """Ask for a save. Does not wait."""

        def work(turn: Turn) -> str:
            row = alive(projects.named(turn.db, request.namespace, request.name))
            if row.state.upper is None:
                raise Conflict(
                    "there is nothing to save",
                    "No node keeps changed files of it: it never ran, or all is saved already.",
                )
            return _order(turn, row, request.reason)

        return o.AskedSave(order_id=await self._c.turns.take(work))

    async def ask_restore(self, request: o.AskRestore) -> o.AskedSave:
        """Save the present state, then have the node make an earlier save the newest one."""

        def save(turn: Turn) -> tuple[str, str]:
            row = self._restorable(turn, request)
            kept = row.state.upper is not None
            return row.uid, _order(turn, row, SaveReason.ASKED) if kept else ""

        uid, save_order = await self._c.turns.take(save)
        if save_order:
            await self._until_saved(uid, save_order)

        def restore(turn: Turn) -> str:
            row = self._restorable(turn, request)
            wanted = Restore(order_id=str(uuid.uuid4()), seq=request.seq)
            turn.feed(row, e.RestoreWanted(wanted))
            return wanted.order_id

        return o.AskedSave(order_id=await self._c.turns.take(restore))

    def _restorable(self, turn: Turn, request: o.AskRestore) -> ProjectRow:
        row = alive(projects.named(turn.db, request.namespace, request.name))
        if recorded_image(turn.db, row.uid, request.seq) is None:
            raise no_save(f"{request.name}@save-{request.seq}")
        if row.state.restore:
            raise Conflict(
                f"save {row.state.restore.seq} is being restored already", "Wait until it is there."
            )
        return row

    async def _until_saved(self, uid: str, order_id: str) -> None:
        """Wait for the save of an order. Raises Unavailable at its first failure."""
        while True:
            changed = self._c.db.next_change
            if saves.order(self._c.db.reader, order_id) is None:
                return
            known = saves.of_project(self._c.db.reader, uid)
            failed = (save for save in known if save.step is SaveStep.FAILED)
            if own := next((save for save in failed if save.order_id == order_id), None):
                raise Unavailable(
                    f"the present state could not be saved, so nothing was restored: {own.note}",
                    "Nothing is changed. The save is tried again by itself; restore once it is "
                    "recorded.",
                )
            if self._c.db.ending:
                raise Unavailable(
                    "the controller is being stopped", "Nothing was restored; try again then."
                )
            await changed.wait()

    async def list_saves(self, request: o.ProjectKey) -> o.Saves:
        """In progress and recorded."""
        db = self._c.db.reader
        row = projects.named(db, request.namespace, request.name)
        return o.Saves(saves=saves.of_project(db, row.uid))

    async def diff_saves(self, request: o.DiffSaves) -> SaveDiff:
        """Ask the node, which reads the saves' layers."""
        if not 1 <= request.limit <= MOST_PATHS:
            raise BadInput(f"limit {request.limit} is out of range", f"It is 1 to {MOST_PATHS}.")
        db = self._c.db.reader
        row = alive(projects.named(db, request.namespace, request.name))
        newer = request.newer or (row.state.head.seq if row.state.head else 0)
        images = []
        for seq in (request.older, newer):
            image = recorded_image(db, row.uid, seq)
            if image is None:
                raise no_save(f"{request.name}@save-{seq}")
            images.append(image)
        order = DiffOrder(
            order_id=str(uuid.uuid4()),
            older_seq=request.older,
            newer_seq=newer,
            older=images[0],
            newer=images[1],
            after=request.after,
            limit=request.limit,
        )
        told = await self._c.diffs.ask(order, self._c.db.wake, _DIFF_S)
        if told.diff is None:
            raise Unavailable(f"the saves could not be compared: {told.failure}", "Try again.")
        return told.diff

    async def make_release(self, request: o.MakeRelease) -> Release:
        """Save and give the save a version. The report of the save writes the release."""
        check_version(request.version)

        def work(turn: Turn) -> tuple[str, str]:
            row = alive(projects.named(turn.db, request.namespace, request.name))
            return row.uid, self._reserve(turn, row, request)

        uid, order_id = await self._c.turns.take(work)
        while True:
            changed = self._c.db.next_change
            # In this order: what ends the order writes the release in the same transaction.
            said = self._refused(uid, order_id)
            if release := self._made(uid, request.version):
                return release
            if said:
                await self._give_up(uid, order_id, request.version)
                raise Conflict(said, "Nothing was released, and nothing is lost.")
            if self._c.db.ending:
                raise Unavailable(
                    "the controller is being stopped",
                    "The release is made once it is back; `devbox releases` shows it then.",
                )
            await changed.wait()

    def _reserve(self, turn: Turn, row: ProjectRow, request: o.MakeRelease) -> str:
        if row.state.upper is None and row.state.head is None:
            raise Conflict(
                "there is nothing to release: the project never ran", "Start it, then release it."
            )
        tags = (f"release-{request.version}",)
        order_id = _order(turn, row, SaveReason.RELEASE, tags)
        if not saves.reserve(turn.db, row.uid, request.version, order_id, request.notes):
            raise Conflict(
                f"release {request.version} exists already, or is being made",
                "A release never changes: choose another version.",
            )
        return order_id

    def _made(self, uid: str, version: str) -> Release | None:
        known = saves.releases(self._c.db.reader, uid)
        return next((release for release in known if release.version == version), None)

    def _refused(self, uid: str, order_id: str) -> str:
        row = projects.by_uid(self._c.db.reader, uid)
        if row is None:
            raise NotFound("the project was deleted before the release was made")
        order = saves.order(self._c.db.reader, order_id)
        return order.refused if order else "the save for the release was given up"

    async def _give_up(self, uid: str, order_id: str, version: str) -> None:
        def work(turn: Turn) -> None:
            saves.end_order(turn.db, order_id)
            saves.unreserve(turn.db, uid, version)

        await asyncio.shield(self._c.turns.take(work))

    async def list_releases(self, request: o.ProjectKey) -> o.Releases:
        """A project's releases."""
        db = self._c.db.reader
        row = projects.named(db, request.namespace, request.name)
        return o.Releases(releases=saves.releases(db, row.uid))


def _order(turn: Turn, row: ProjectRow, reason: SaveReason, tags: tuple[str, ...] = ()) -> str:
    order = SaveOrder(
        order_id=str(uuid.uuid4()),
        project_uid=row.uid,
        generation=row.state.generation,
        reason=reason,
        when_busy=row.spec.when_busy,
        tags=tags,
    )
    saves.add_order(turn.db, order)
    return order.order_id
