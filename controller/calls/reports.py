"""What a node reports, into the store. One report is one transaction.

Reports may come twice and late; nothing in here goes backwards for them.
"""

from msgspec.structs import replace

from controller.calls.history import shorten
from controller.calls.origins import check_architecture, waiting_for
from controller.core import events as e
from controller.core.history import Budget
from controller.core.saves import merge, settles
from controller.core.state import Upper
from controller.store import projects, runtimes, saves
from controller.store.projects import ProjectRow
from controller.store.runtimes import RuntimeRow
from controller.turns import Turn
from devbox.model.nodes import OverQuota, Report, UpperReport
from devbox.model.projects import Desired, Image
from devbox.model.runtimes import Runtime, RuntimeState
from devbox.model.saves import Release, Save, SaveReason, SaveStep

_GIB = 1 << 30


def take_in(turn: Turn, report: Report, architecture: str, budget: Budget) -> None:
    """Store everything that a report says."""
    runtimes.see_node(turn.db, report.node, turn.now)
    for runtime in report.runtimes:
        _runtime(turn, runtime, architecture)
    for uid, image in report.prepared:
        _feed(turn, uid, e.Prepared(image))
    _saves(turn, report, budget)
    if report.uppers is not None:
        _uppers(turn, report.node, report.uppers)
    for subject, sentence in report.refused:
        _refused(turn, subject, sentence)
    for over in report.full:
        _feed(turn, over.project_uid, e.BoxFull(over.generation, _full(over)))
    for uid in report.dropped:
        _feed(turn, uid, e.Dropped())


def _saves(turn: Turn, report: Report, budget: Budget) -> None:
    images = {(uid, seq): image for uid, seq, image in report.images}
    for save in report.saves:
        _save(turn, save, images.pop((save.project_uid, save.seq), None))
    for (uid, seq), image in images.items():
        if known := saves.find(turn.db, uid, seq):
            _save(turn, known, image)
    for order in report.forgotten:
        saves.went_away(turn.db, order)
    moved = {save.project_uid for save in report.saves} | {uid for uid, _, _ in report.images}
    for uid in sorted(moved):
        if row := projects.by_uid(turn.db, uid):
            shorten(turn.db, row, report.node, budget)


def _feed(turn: Turn, uid: str, event: e.Event) -> None:
    if row := projects.by_uid(turn.db, uid):
        turn.feed(row, event)


def _uppers(turn: Turn, node: str, uppers: tuple[UpperReport, ...]) -> None:
    runtimes.replace_uppers(turn.db, node, uppers)
    for upper in uppers:
        _feed(turn, upper.project_uid, e.UpperSeen(_seen(node, upper)))
    kept = {upper.project_uid for upper in uppers}
    for row in projects.everyone(turn.db):
        if row.state.upper and row.state.upper.node == node and row.uid not in kept:
            turn.feed(row, e.UpperSeen(None))


def _full(over: OverQuota) -> str:
    return (
        f"The box was stopped: it has written {over.used_bytes / _GIB:.2f} GiB, and may write "
        f"{over.quota_bytes / _GIB:.2f} GiB. Every file is kept and saved. Raise it with `devbox "
        "edit NAME --quota SIZE` and start it; or start it and delete files, for which it gets "
        "a little more."
    )


def _seen(node: str, report: UpperReport) -> Upper:
    return Upper(
        node=node,
        generation=report.generation,
        image=report.image,
        bytes=report.bytes,
        seen=True,
    )


def _save(turn: Turn, news: Save, image: Image | None) -> None:
    row = projects.by_uid(turn.db, news.project_uid)
    if row is None:
        return
    known = saves.find(turn.db, news.project_uid, news.seq)
    image = image or saves.image(turn.db, news.project_uid, news.seq)
    save = merge(known, news, has_image=image is not None, state=row.state)
    saves.put(turn.db, save)
    if image:
        saves.set_image(turn.db, save.project_uid, save.seq, image)
    recorded = save.step is SaveStep.RECORDED
    if image and recorded and save.reason is not SaveReason.RECOVERY:
        row = turn.feed(row, e.SaveRecorded(save.generation, save.seq, image))
    if save.reason is SaveReason.RESTORED:
        row = _restore(turn, row, save)
    if recorded or save.step is SaveStep.DROPPED:
        _settle(turn, row)
    if save.step is SaveStep.DROPPED and not save.order_id:
        saves.forget(turn.db, save.project_uid, save.seq)


def _restore(turn: Turn, row: ProjectRow, save: Save) -> ProjectRow:
    if save.step is SaveStep.RECORDED:
        return turn.feed(row, e.Restored(save.order_id))
    if save.step is SaveStep.DROPPED:
        return turn.feed(row, e.RestoreRefused(save.order_id))
    return row


def _settle(turn: Turn, row: ProjectRow) -> None:
    """End the orders that are carried out, and write the releases that waited for them."""
    known = saves.of_project(turn.db, row.uid)
    for entry in saves.orders(turn.db, row.uid):
        order_id = entry.order.order_id
        own = next((save for save in known if save.order_id == order_id), None)
        done = next((save for save in known if settles(save, order_id, own)), None)
        if done:
            _release(turn, order_id, done)
            saves.end_order(turn.db, order_id)


def _release(turn: Turn, order_id: str, save: Save) -> None:
    reserved = saves.reserved(turn.db, order_id)
    image = saves.image(turn.db, save.project_uid, save.seq)
    if reserved is None or image is None:
        return
    version, notes = reserved
    release = Release(
        project_uid=save.project_uid,
        version=version,
        notes=notes,
        save_seq=save.seq,
        digest=image.digest,
        total_bytes=save.total_bytes,
        created_at=turn.now,
    )
    saves.write_release(turn.db, release, image)


def _refused(turn: Turn, subject: str, sentence: str) -> None:
    if saves.order(turn.db, subject) is None:
        row = projects.by_uid(turn.db, subject)
        if row and row.desired is not Desired.DELETED and row.state.base is None:
            turn.feed(row, e.Refused(sentence))
        return
    if saves.reserved(turn.db, subject):
        saves.refuse_order(turn.db, subject, sentence)
    else:
        saves.end_order(turn.db, subject)


def _runtime(turn: Turn, news: Runtime, architecture: str) -> None:
    row = runtimes.find(turn.db, news.name)
    if row is None and news.source != "built-in":
        # It was removed while the node worked on it.
        return
    known = row or RuntimeRow(runtime=news)
    over = news.state in {RuntimeState.READY, RuntimeState.FAILED}
    # KNOWN tells that the registry has no image of the recipe as it is now: it changed, or the
    # image is lost. What is being made, or could not be made, stays as it is.
    stale = known.runtime.state is RuntimeState.READY and not known.wanted
    merged = news if stale or news.state is not RuntimeState.KNOWN else known.runtime
    merged = replace(
        merged, title=news.title, ports=news.ports, run_image_command=news.run_image_command
    )
    runtimes.put(
        turn.db,
        RuntimeRow(runtime=merged, attempt=known.attempt, wanted=known.wanted and not over),
    )
    for project in projects.of_runtime(turn.db, news.name):
        if not project.image.repository:
            _waiting(turn, project, merged, architecture)


def _waiting(turn: Turn, row: ProjectRow, runtime: Runtime, architecture: str) -> None:
    if runtime.state is RuntimeState.FAILED:
        said = f"Runtime {runtime.name} could not be had: {runtime.message}"
        turn.feed(row, e.Refused(f"{said} Start the project again to try once more."))
    elif runtime.state is RuntimeState.READY and runtime.image:
        _resolved(turn, row, runtime, runtime.image, architecture)
    else:
        turn.feed(row, e.Preparing(waiting_for(runtime)))


def _resolved(
    turn: Turn, row: ProjectRow, runtime: Runtime, image: Image, architecture: str
) -> None:
    if said := check_architecture(image, architecture, f"Runtime {runtime.name}"):
        turn.feed(row, e.Refused(said))
        return
    spec = replace(
        row.spec,
        run_image_command=row.spec.run_image_command or runtime.run_image_command,
    )
    preparing = e.Preparing("The runtime is being copied for the project.")
    turn.feed(row, preparing, image=image, spec=spec)
