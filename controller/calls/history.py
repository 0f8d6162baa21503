"""Keeps a project's history within its budget: what goes is no save any more, and is ordered away.

The row of a save that goes is deleted in the transaction that orders its image away, so nobody can
come to need the image in between.
"""

import sqlite3

from controller.core.history import Budget, surplus
from controller.store import projects, runtimes, saves
from controller.store.projects import ProjectRow
from devbox.edge.layout import ServerSettings
from devbox.model.nodes import ForgetOrder


def budget_of(settings: ServerSettings) -> Budget:
    """As the server's settings say."""
    return Budget(saves=settings.history_saves, bytes=settings.history_bytes)


def shorten(db: sqlite3.Connection, row: ProjectRow, node: str, budget: Budget) -> None:
    """After a save was recorded: order away what is too much."""
    needed = _needed(db, row, node)
    for save in surplus(saves.of_project(db, row.uid), needed, budget):
        saves.forget(db, row.uid, save.seq)
        order = ForgetOrder(project_uid=row.uid, digest=save.digest, seq=save.seq)
        saves.order_away(db, order)


def _needed(db: sqlite3.Connection, row: ProjectRow, node: str) -> set[str]:
    """Digests of what boxes and uppers stand on, of the head, the releases, what is being restored,
    and what projects that are being made of this one still have to copy."""
    state = row.state
    images = [image for image in (state.base, row.image) if image]
    images += [holder.image for holder in (state.head, state.upper, state.box) if holder]
    images += [u.image for u in runtimes.uppers(db, node) if u.project_uid == row.uid]
    images += [
        other.image
        for other in projects.everyone(db)
        if other.state.base is None and other.image.repository == f"projects/{row.uid}"
    ]
    if state.restore and (wanted := saves.image(db, row.uid, state.restore.seq)):
        images.append(wanted)
    found = {image.digest for image in images}
    return found | {release.digest for release in saves.releases(db, row.uid)}
