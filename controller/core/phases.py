"""The phases a project moves through: one table.

Owns which phase may follow which. Knows nothing of what causes a move; `step` does.
`docs/architecture.md` draws its diagram from `MOVES` through `diagram`.
"""

from devbox.model.errors import Internal
from devbox.model.projects import Phase

_P = Phase

MOVES: dict[Phase, frozenset[Phase]] = {
    _P.STOPPED: frozenset({_P.PREPARING, _P.STARTING, _P.FAILED, _P.DELETING}),
    _P.PREPARING: frozenset({_P.STARTING, _P.STOPPED, _P.FAILED, _P.DELETING}),
    _P.STARTING: frozenset({_P.RUNNING, _P.STOPPING, _P.BACKING_OFF, _P.FAILED, _P.DELETING}),
    _P.RUNNING: frozenset({_P.STARTING, _P.STOPPING, _P.BACKING_OFF, _P.FAILED, _P.DELETING}),
    _P.STOPPING: frozenset({_P.STOPPED, _P.STARTING, _P.PREPARING, _P.FAILED, _P.DELETING}),
    _P.BACKING_OFF: frozenset({_P.STARTING, _P.PREPARING, _P.STOPPING, _P.STOPPED, _P.DELETING}),
    _P.FAILED: frozenset(set(_P) - {_P.FAILED}),
    _P.DELETING: frozenset(),
}


def check_move(before: Phase, after: Phase) -> Phase:
    """Return `after` if it may follow `before`. Raises Internal when the table has no such move."""
    if before is not after and after not in MOVES[before]:
        raise Internal(f"a project cannot move from {before.value} to {after.value}")
    return after


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> stopped"]
    for before, afters in MOVES.items():
        lines += [f"    {_name(before)} --> {_name(after)}" for after in sorted(afters)]
    return "\n".join([*lines, f"    {_name(_P.DELETING)} --> [*]", ""])


def _name(phase: Phase) -> str:
    return phase.value.replace("-", "_")
