"""Makes the saves that the journal wants, one per upper at a time, a few at once."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import structlog

from devbox.edge.tasks import Tasks
from devbox.model.errors import DevboxError, Internal, NotFound, Unavailable
from devbox.model.nodes import AutosaveRule
from devbox.model.projects import WhenBusy
from devbox.model.saves import SaveReason, SaveStep
from node_agent.agent.parts import (
    CannotRelease,
    Containers,
    SavedImage,
    SaveWork,
    SaveWriter,
    UpperKeeper,
)
from node_agent.agent.planning import autosaves_due, plan, retry_delay
from node_agent.faults import Fault, no_fault
from node_agent.journal import Journal, PendingSave, Upper
from node_agent.journal.rows import WAITS_FOR_NOBODY
from node_agent.saver.freezing import thaw

_log = structlog.get_logger()
_AT_ONCE = 2
_PROGRESS_EVERY_S = 0.3
_AUTOSAVE_LOOK_S = 5.0
_JOURNAL_AGAIN_S = 1.0
"""Before the journal is used again, when it could not be: a full disk, mostly."""


class Saving:
    """Owns the running saves. `changed` is called when there is news for the controller."""

    def __init__(
        self,
        journal: Journal,
        writer: SaveWriter,
        containers: Containers,
        uppers: UpperKeeper,
        changed: Callable[[], None],
        fault: Fault = no_fault,
    ) -> None:
        self._journal = journal
        self._fault = fault
        self._writer = writer
        self._containers = containers
        self._uppers = uppers
        self._changed = changed
        self._running: dict[str, asyncio.Task[None]] = {}
        self._left: set[str] = set()
        self._held: set[str] = set()
        self._wake = asyncio.Event()
        self._when_busy: dict[str, WhenBusy] = {}
        self._maybe_frozen = {box.container_id for box in journal.boxes()}
        """Boxes that a node agent before this one may have left frozen."""
        self._looking = asyncio.Lock()
        self._tasks = Tasks("saving")

    def kick(self) -> None:
        """The journal may want a save."""
        self._wake.set()

    def remember(self, project_uid: str, when_busy: WhenBusy) -> None:
        """What the project chose for saves that find it too busy."""
        self._when_busy[project_uid] = when_busy

    @contextlib.contextmanager
    def hold(self, project_uid: str) -> Iterator[bool]:
        """No save of the project begins meanwhile; False when one runs, which goes on."""
        if project_uid in self._running or project_uid in self._held:
            yield False
            return
        self._held.add(project_uid)
        try:
            yield True
        finally:
            self._held.discard(project_uid)
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._wake.clear()
                try:
                    wake_at = self._step()
                except DevboxError as error:
                    _log.warning("no_saves_begun", error=error.message)
                    wake_at = time.time() + _JOURNAL_AGAIN_S
                wait_s = None if wake_at is None else max(0.0, wake_at - time.time())
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            await self._tasks.close()

    def _step(self) -> float | None:
        rows = [row for row in self._journal.open_saves() if row.save.project_uid not in self._left]
        room = _AT_ONCE - len(self._running)
        busy = self._running.keys() | self._held
        todo = plan(rows, busy=busy, room=room, now=time.time())
        for row in todo.drop:
            if row.save.project_uid not in self._running:
                self._move(row, SaveStep.DROPPED, note="a newer save holds the same files")
        for row in todo.begin:
            uid = row.save.project_uid
            self._running[uid] = self._tasks.start(self._make(row), f"{uid}/{row.save.seq}")
        return todo.wake_at

    async def _make(self, row: PendingSave) -> None:
        uid, seq = row.save.project_uid, row.save.seq
        try:
            await self._try(row)
            self._want_the_rest(uid)
        except DevboxError as error:
            _log.error("journal_not_written", project=uid, seq=seq, error=error.message)
            await self._recover(uid)
        finally:
            self._running.pop(uid, None)
            self._changed()
            self._wake.set()
        _log.info("save_ended", project=uid, seq=seq)

    async def _recover(self, uid: str) -> None:
        """As after a crash: the journal is true, and what was not pushed is made again."""
        while True:
            await asyncio.sleep(_JOURNAL_AGAIN_S)
            with contextlib.suppress(DevboxError):
                return self._journal.recover(uid)

    async def _try(self, row: PendingSave) -> None:
        """One attempt. Raises DevboxError only when the journal cannot be written."""
        try:
            await self._attempt(row)
        except CannotRelease as error:
            self._refuse(row, error.message)
        except (DevboxError, OSError) as error:
            self._failed(row, error)
        except Exception as error:  # one bad save must not be tried again without a pause
            _log.exception("save_broke", project=row.save.project_uid, seq=row.save.seq)
            self._failed(row, Internal(f"the save failed: {type(error).__name__}"))

    async def _attempt(self, row: PendingSave) -> None:
        started = time.clock_gettime(time.CLOCK_BOOTTIME)
        if row.save.step is SaveStep.FAILED:
            self._move(row, SaveStep.INTENT)
        upper = self._journal.upper(row.save.project_uid)
        if row.save.reason is SaveReason.RESTORED:
            await self._restore(row, upper)
        elif upper is None:
            await self._save_without_upper(row)
        else:
            saved = await self._write(row, upper)
            took = time.clock_gettime(time.CLOCK_BOOTTIME) - started
            self._finish(row, saved, round(took, 3))

    def _refuse(self, row: PendingSave, sentence: str) -> None:
        """Nothing was written for it, and what it was to hold is dirty again."""
        self._journal.keep_dirty(row.save.project_uid)
        self._journal.add_news("refused", row.save.order_id, sentence.encode())
        self._move(row, SaveStep.DROPPED, note=sentence)

    def _want_the_rest(self, uid: str) -> None:
        """A box that ended while its save was written: its end wanted no second save then."""
        upper = self._journal.upper(uid)
        if upper is None or self._may_be_written(uid):
            return
        self._journal.want_save(
            uid, generation=upper.generation, reason=SaveReason.STOPPED, now=time.time()
        )

    async def _write(self, row: PendingSave, upper: Upper) -> SavedImage:
        uid, seq = row.save.project_uid, row.save.seq
        self._journal.begin(uid)
        self._fault("begun")
        work = SaveWork(
            upper=upper,
            seq=seq,
            tags=row.tags,
            cgroup=await self._cgroup(uid),
            when_busy=self._when_busy.get(uid, WhenBusy.RETRY),
            only_changes=row.save.reason in WAITS_FOR_NOBODY,
            known=self._journal.newest_digest(uid),
        )

        def on_step(step: SaveStep) -> None:
            if step is SaveStep.WRITTEN:
                self._move(row, step)
            self._fault(step)

        return await self._writer.save(work, on_step, self._meter(row))

    async def thaw_boxes(self) -> None:
        """Let boxes run that were left frozen. Raises Unavailable when containerd is down."""
        for container_id in tuple(self._maybe_frozen):
            await self._cgroup_of(container_id)

    async def _cgroup(self, uid: str) -> Path | None:
        for box in self._journal.boxes_of_project(uid):
            if box.may_write and (path := await self._cgroup_of(box.container_id)):
                return path
        return None

    async def _cgroup_of(self, container_id: str) -> Path | None:
        """Thawed before its first save, so that no freeze of ours is ever undone."""
        async with self._looking:
            path = await self._containers.cgroup(container_id)
            if path is not None and container_id in self._maybe_frozen:
                await asyncio.to_thread(thaw, str(path))
            self._maybe_frozen.discard(container_id)
        return path

    async def _save_without_upper(self, row: PendingSave) -> None:
        """The head is the newest state there is: only its tags may be new."""
        last = self._journal.last_recorded(row.save.project_uid)
        if last is None or last.image is None:
            sentence = "this node keeps no files of the project, and no save of it"
            if row.save.order_id:
                self._journal.add_news("refused", row.save.order_id, sentence.encode())
            self._move(row, SaveStep.DROPPED, note=sentence)
            return
        await self._writer.tag(last.image, row.tags)
        saved = SavedImage(
            image=last.image,
            changed=False,
            layers=last.save.layers,
            new_bytes=0,
            total_bytes=last.save.total_bytes,
            upper_bytes=0,
        )
        self._finish(row, saved, 0.0)

    async def _restore(self, row: PendingSave, upper: Upper | None) -> None:
        """Record an old image as the newest save, and give up the upper, whose files are recorded.

        The image is asked for first: without it the upper stays.
        """
        assert row.image is not None
        if upper is not None and upper.dirty and not self._may_be_written(row.save.project_uid):
            # `_want_the_rest` has it saved, and saves come before this.
            return
        try:
            await self._writer.tag(row.image, row.tags)
        except NotFound as error:
            sentence = f"the save cannot be restored, its image is gone: {error.message}"
            self._move(row, SaveStep.DROPPED, note=f"{sentence}; nothing was changed")
            return
        if upper is not None:
            await self.give_back(row.save.project_uid)
        self._move(row, SaveStep.WRITTEN, note=row.save.note)
        self._move(row, SaveStep.PUSHED, note=row.save.note)

    async def give_back(self, uid: str) -> None:
        """Remove the project's upper, once the registry has confirmed its newest save.

        Raises Unavailable while the upper holds what no recorded save does. When the registry has
        lost something, the upper is saved again, whole.
        """
        last = self._journal.last_recorded(uid)
        if last is not None and last.image is not None:
            try:
                await self._writer.confirm(last.image)
            except (NotFound, Internal) as error:
                self._save_again(uid)
                raise Unavailable(
                    f"save {last.save.seq} is not whole in the registry: {error.message}",
                    "The files are kept on the node and saved again.",
                ) from error
        await self._uppers.collect(uid)

    def _save_again(self, uid: str) -> None:
        upper = self._journal.upper(uid)
        if upper is not None:
            self._journal.keep_dirty(uid)
            self._journal.want_save(
                uid, generation=upper.generation, reason=SaveReason.REMOVED, now=time.time()
            )
            self._wake.set()

    def _may_be_written(self, uid: str) -> bool:
        return any(box.may_write for box in self._journal.boxes_of_project(uid))

    def _finish(self, row: PendingSave, saved: SavedImage, took_s: float) -> None:
        uid, seq = row.save.project_uid, row.save.seq
        if saved.upper_bytes:
            self._journal.count_upper(uid, saved.upper_bytes)
        if not saved.changed and row.save.reason in WAITS_FOR_NOBODY:
            self._move(row, SaveStep.DROPPED, note="nothing changed since the save before")
            return
        if saved.partial:
            # Before it is pushed: the upper must outlive the newest save, which lacks some of it.
            self._journal.keep_dirty(uid)
        now = self._journal.save(uid, seq)
        if now is not None and now.save.step is SaveStep.INTENT:
            self._move(row, SaveStep.WRITTEN)
        self._journal.move(
            uid,
            seq,
            SaveStep.PUSHED,
            image=saved.image,
            digest=saved.image.digest,
            layers=saved.layers,
            new_bytes=saved.new_bytes,
            total_bytes=saved.total_bytes,
            frozen_ms=saved.frozen_ms,
            duration_s=took_s,
            note=saved.note,
        )
        self._fault("told")

    def _failed(self, row: PendingSave, error: DevboxError | OSError) -> None:
        said = error.message if isinstance(error, DevboxError) else str(error)
        again_s = retry_delay(row.attempts)
        note = f"{said}; the files are kept on the node, next try in {again_s:.0f} s"
        _log.warning("save_failed", project=row.save.project_uid, seq=row.save.seq, error=said)
        self._journal.fail(
            row.save.project_uid, row.save.seq, note=note, retry_at=time.time() + again_s
        )
        self._fault(SaveStep.FAILED)

    def _move(self, row: PendingSave, step: SaveStep, note: str = "") -> None:
        self._journal.move(row.save.project_uid, row.save.seq, step, note=note)
        self._changed()

    def _meter(self, row: PendingSave) -> Callable[[int, int], None]:
        next_at = 0.0

        def progress(done: int, expected: int) -> None:
            nonlocal next_at
            now = time.monotonic()
            if now < next_at:
                return
            next_at = now + _PROGRESS_EVERY_S
            with contextlib.suppress(DevboxError):  # a figure that is missing harms nobody
                self._journal.tell(
                    row.save.project_uid, row.save.seq, done_bytes=done, expected_bytes=expected
                )
            self._changed()

        return progress

    async def leave(self, project_uid: str) -> None:
        """Make no save of the project any more, and end a running one: it is being deleted."""
        self._left.add(project_uid)
        task = self._running.get(project_uid)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def autosave(
    journal: Journal, rules: Callable[[], Sequence[AutosaveRule]], wanted: Callable[[], None]
) -> None:
    """Want a save of every running project whose minutes are over. Until cancelled."""
    last: dict[str, float] = {}
    while True:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        current = rules()
        due, last = autosaves_due(current, last, now)
        for rule in due:
            try:
                seq = journal.want_save(
                    rule.project_uid,
                    generation=rule.generation,
                    reason=SaveReason.AUTOSAVE,
                    now=time.time(),
                )
            except DevboxError as error:
                # Its minutes are over still.
                last[rule.project_uid] = -math.inf
                _log.warning("no_autosave", project=rule.project_uid, error=error.message)
                continue
            if seq is not None:
                wanted()
        await asyncio.sleep(_AUTOSAVE_LOOK_S)
