"""Brings the journal to what containerd really runs: boxes that ended behind everybody's back.

Pure but for the journal: what runs is an argument.
"""

from collections.abc import Mapping, Sequence

from devbox.model.saves import SaveReason
from node_agent.journal import Box, Journal


def observe(journal: Journal, boxes: Sequence[Box], live: Mapping[str, bool], now: float) -> bool:
    """`live`: container id -> its processes run. Returns whether a save is wanted now.

    `boxes` must have been read before `live` was: a box linked in between is not missing.
    """
    wanted = False
    for box in boxes:
        running = live.get(box.container_id)
        if running:
            continue
        if box.may_write:
            journal.box_ended(box.container_id)
            seq = journal.want_save(
                box.project_uid, generation=box.generation, reason=SaveReason.CRASHED, now=now
            )
            wanted = wanted or seq is not None
        if running is None:
            journal.forget_box(box.container_id)
    return wanted
