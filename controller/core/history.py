"""Which saves go, so that a project's history stays within its bounds. Pure.

Invariants: the newest recorded save stays, and so does every image that something stands on or that
a release names. A save that nobody asked for never pushes one out that a person asked for.
"""

from collections.abc import Collection, Iterable

import msgspec

from devbox.model.saves import Save, SaveReason, SaveStep

UNASKED = frozenset(
    {SaveReason.STOPPED, SaveReason.CRASHED, SaveReason.REMOVED, SaveReason.AUTOSAVE}
)
"""Of these only the newest is kept."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What saves that were asked for may take, per project. Releases do not count."""

    saves: int
    bytes: int
    """Compressed, as each save added them."""


def surplus(saves: Iterable[Save], needed: Collection[str], budget: Budget) -> tuple[Save, ...]:
    """Recorded saves that may go, oldest first. `needed` are digests that must stay."""
    recorded = [save for save in saves if save.step is SaveStep.RECORDED]
    recorded.sort(key=lambda save: (save.generation, save.seq), reverse=True)
    going = [*_unasked(recorded), *_over(recorded, needed, budget)]
    gone = {save.seq for save in going}
    kept = {save.digest for save in recorded if save.seq not in gone} | set(needed)
    head = {save.digest for save in recorded[:1]}
    found = [save for save in going if save.digest not in kept | head]
    return tuple(sorted(found, key=lambda save: (save.generation, save.seq)))


def _unasked(recorded: list[Save]) -> list[Save]:
    return [save for save in recorded if save.reason in UNASKED][1:]


def _over(recorded: list[Save], needed: Collection[str], budget: Budget) -> list[Save]:
    asked = [
        save
        for save in recorded
        if save.reason not in UNASKED and save.digest not in needed and save is not recorded[0]
    ]
    taken = 0
    for number, save in enumerate(asked):
        taken += save.new_bytes
        if number >= budget.saves or taken > budget.bytes:
            return asked[number:]
    return []
