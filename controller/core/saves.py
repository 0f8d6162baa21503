"""How news of a save joins what is known of it: forward only.

Owns the reading of `SAVE_MOVES` for reports, which may come twice, late, or skip steps.
"""

from msgspec.structs import replace

from controller.core.state import State, is_stray
from devbox.model.saves import SAVE_MOVES, Save, SaveReason, SaveStep


def reachable(before: SaveStep) -> frozenset[SaveStep]:
    """Every step that a save may be reported in after `before`, skipping some."""
    found: set[SaveStep] = set()
    waiting = [before]
    while waiting:
        for after in SAVE_MOVES[waiting.pop()] - found:
            found.add(after)
            waiting.append(after)
    return frozenset(found)


_REACHABLE = {step: reachable(step) for step in SaveStep}


def merge(known: Save | None, news: Save, *, has_image: bool, state: State) -> Save:
    """The save as it is to be stored.

    A pushed save whose image is known is recorded; a node alone cannot record one.
    """
    if known and news.step is not known.step and news.step not in _REACHABLE[known.step]:
        return known
    if known and known.step is SaveStep.RECORDED:
        return known
    if news.step not in {SaveStep.PUSHED, SaveStep.RECORDED}:
        return news
    if not has_image:
        return replace(news, step=SaveStep.PUSHED)
    reason = SaveReason.RECOVERY if is_stray(state, news) else news.reason
    return replace(news, step=SaveStep.RECORDED, reason=reason)


def settles(save: Save, order_id: str, joined: Save | None) -> bool:
    """Whether a save settles an order: its own, or a newer one that its own was joined with."""
    if save.step is not SaveStep.RECORDED:
        return False
    if save.order_id == order_id:
        return True
    if save.reason is SaveReason.RESTORED:
        # It holds other files than the one that was asked for.
        return False
    dropped = joined is not None and joined.step is SaveStep.DROPPED
    return dropped and joined is not None and _order(save) > _order(joined)


def _order(save: Save) -> tuple[int, int]:
    return (save.generation, save.seq)
