"""One step of a project: (desired, observed, event, now) to (new observed, actions). Pure.

Invariants that every step keeps, in any order of events and after a crash at any action:
- at most one box: a box is ordered only when none is there, and one that ended is removed first;
- generations only grow, by one for each box;
- the head never goes back: a restored save is a new head with an old image;
- an upper is given up only by the node's word that its newest state is recorded, and for a restore
  that is asked only while no box is there;
- a project is forgotten only when its box is gone and the node said that all else is.

Every action may be carried out twice. State is stored before its actions are carried out, and
`Restarted` orders again what may have been lost.
"""

from msgspec.structs import replace

from controller.core import events as e
from controller.core.phases import check_move
from controller.core.state import (
    Box,
    BoxStep,
    Head,
    Restore,
    State,
    Subject,
    Upper,
    pod_uid,
)
from devbox.model.projects import Desired, Image, Phase

MAX_BACKOFF_S = 300.0
HEALTHY_S = 600.0
"""A box that served for this long starts the back-off anew."""
SERVE_DEADLINE_S = 120.0
"""From the first process of the box to the agent's first answer."""

Outcome = tuple[State, tuple[e.Action, ...]]


def step(subject: Subject, state: State, event: e.Event, now: float) -> Outcome:
    """Take an event in, then bring the state nearer to what is desired. `now` is Unix seconds."""
    return _decide(subject, _absorb(subject, state, event, now), event, now)


def source(state: State) -> tuple[Image, bool] | None:
    """The image to start from, and whether the upper will be a fresh one. None: not there yet."""
    upper, head = state.upper, state.head
    if upper and (head is None or upper.generation >= head.generation):
        return upper.image, False
    if head:
        return head.image, True
    return (state.base, True) if state.base else None


def to_restore(state: State) -> Restore | None:
    """The restore that the node may carry out now: it gives up the upper, so no box may use it."""
    return state.restore if state.box is None else None


def backoff_s(failures: int) -> float:
    """Seconds to wait after so many ends in a row: 1, 2, 4 … 300."""
    return min(2.0 ** min(failures, 20), MAX_BACKOFF_S)


def _decide(subject: Subject, state: State, event: e.Event, now: float) -> Outcome:
    actions: tuple[e.Action, ...] = ()
    if isinstance(event, e.Restarted) and state.box:
        state, actions = _again(state, state.box)
    state, more = _with_box(subject, state) if state.box else _without(subject, state, now)
    return state, (*actions, *more)


def _again(state: State, box: Box) -> Outcome:
    if box.step is BoxStep.STOPPING:
        return state, (e.StopBox(box),)
    if box.step is BoxStep.STARTING:
        return replace(state, box=replace(box, step=BoxStep.ENDED)), ()
    return state, (e.AdoptBox(box),)


def _with_box(subject: Subject, state: State) -> Outcome:
    box = state.box
    assert box is not None
    actions: tuple[e.Action, ...] = ()
    ended = box.step is BoxStep.ENDED
    unwanted = ended or subject.desired is not Desired.RUNNING or state.restore is not None
    unwanted = unwanted or bool(state.full)
    if unwanted and box.step is not BoxStep.STOPPING:
        box = replace(box, step=BoxStep.STOPPING, ip="")
        state = replace(state, box=box)
        actions = (e.StopBox(box),)
    phase, message = _phase_with_box(subject.desired, state, box)
    if box.step is BoxStep.UP:
        actions = (*actions, e.Wake(box.up_at + SERVE_DEADLINE_S))
    return _move(state, phase, message), actions


_DOWN = {
    Desired.DELETED: (Phase.DELETING, "It is being deleted: its box is stopping."),
    Desired.STOPPED: (Phase.STOPPING, "The box is stopping; its files are kept."),
}
_SAID = {
    BoxStep.STARTING: (Phase.STARTING, "The box is starting."),
    BoxStep.UP: (Phase.STARTING, "The box runs; its agent is starting."),
    BoxStep.SERVING: (Phase.RUNNING, ""),
    BoxStep.SILENT: (
        Phase.RUNNING,
        "The agent in the box does not answer; init starts it again. Files are safe.",
    ),
}


def _phase_with_box(desired: Desired, state: State, box: Box) -> tuple[Phase, str]:
    if desired in _DOWN:
        return _DOWN[desired]
    if state.restore:
        return Phase.STOPPING, f"{_restoring(state.restore)} The box is stopping."
    if state.full:
        return Phase.STOPPING, state.full
    if box.step is BoxStep.REFUSING:
        return Phase.FAILED, state.why
    if box.step is BoxStep.STOPPING and state.why:
        return Phase.BACKING_OFF, _why(state)
    if box.step is BoxStep.STOPPING:
        return Phase.STOPPING, "The box is stopping and will be started again; its files are kept."
    return _SAID[box.step]


def _without(subject: Subject, state: State, now: float) -> Outcome:
    if subject.desired is Desired.DELETED:
        gone: tuple[e.Action, ...] = (e.Forget(),) if state.dropped else ()
        return _move(state, Phase.DELETING, "The node is removing its files and saves."), gone
    if state.restore:
        stopped = subject.desired is Desired.STOPPED
        phase = Phase.STOPPED if stopped else Phase.PREPARING
        return _move(state, phase, _restoring(state.restore)), ()
    if subject.desired is Desired.STOPPED:
        return _move(state, Phase.STOPPED, state.refusal), ()
    if state.full:
        return _move(state, Phase.FAILED, state.full), ()
    if state.why and now < state.retry_at:
        return _move(state, Phase.BACKING_OFF, _why(state)), (e.Wake(state.retry_at),)
    found = source(state)
    if found is None and state.refusal:
        return _move(state, Phase.FAILED, state.refusal), ()
    if found is None:
        waiting = state.preparing or "Its runtime is being prepared."
        return _move(state, Phase.PREPARING, waiting), ()
    return _start(subject, state, *found)


def _start(subject: Subject, state: State, image: Image, fresh: bool) -> Outcome:
    generation = state.generation + 1
    box = Box(
        pod_uid=pod_uid(subject.uid, generation),
        generation=generation,
        image=image,
        needs_upper=not fresh and state.upper is not None and state.upper.seen,
        step=BoxStep.STARTING,
    )
    # The node reports the upper later than a next start may need to know of it.
    upper = replace(
        state.upper if state.upper and not fresh else _fresh(subject, image), generation=generation
    )
    state = replace(
        state,
        box=box,
        generation=generation,
        lineage=generation if fresh else state.lineage,
        upper=upper,
        last_pod_uid=box.pod_uid,
        why="",
    )
    return _move(state, *_SAID[BoxStep.STARTING]), (e.StartBox(box),)


def _fresh(subject: Subject, image: Image) -> Upper:
    return Upper(node=subject.node, generation=0, image=image)


def _move(state: State, phase: Phase, message: str) -> State:
    return replace(state, phase=check_move(state.phase, phase), message=message)


def _restoring(restore: Restore) -> str:
    return f"Save {restore.seq} is being restored; the files of now are saved before."


def _why(state: State) -> str:
    wait = backoff_s(state.failures - 1)
    return f"{state.why} It is started again after {wait:.0f} s; its files are safe."


# What each event changes. `_decide` then moves on from there.


def _absorb(subject: Subject, state: State, event: e.Event, now: float) -> State:
    match event:
        case e.Wanted():
            return _wanted(subject, state, event)
        case e.Tick():
            return _tick(state, now)
        case e.Preparing() | e.Prepared() | e.Refused():
            return _absorb_of_runtime(state, event)
        case e.UpperSeen():
            return _upper_seen(subject, state, event)
        case e.SaveRecorded():
            return _recorded(state, event)
        case e.RestoreWanted() | e.Restored() | e.RestoreRefused():
            return _absorb_of_restore(state, event)
        case e.Dropped():
            settled = subject.desired is Desired.DELETED and state.box is None
            return replace(state, dropped=True) if settled else state
        case e.Restarted():
            return state
    return _absorb_of_box(state, event, now)


def _absorb_of_runtime(state: State, event: e.RuntimeEvent) -> State:
    match event:
        case e.Preparing(sentence):
            return replace(state, preparing=sentence, refusal="")
        case e.Prepared(image):
            return replace(state, base=image, refusal="", preparing="")
        case e.Refused(sentence):
            return replace(state, refusal=sentence)


def _wanted(subject: Subject, state: State, event: e.Wanted) -> State:
    if subject.desired is not Desired.RUNNING:
        return replace(state, failures=0, why="", retry_at=0.0, full="")
    if event.before is Desired.RUNNING and state.phase is not Phase.FAILED:
        return state
    box = state.box
    if box and box.step is BoxStep.REFUSING:
        box = replace(box, step=BoxStep.ENDED)
    fresh = replace(state, box=box, failures=0, restarts=0, why="", retry_at=0.0)
    return replace(fresh, refusal="", preparing="", full="")


def _tick(state: State, now: float) -> State:
    box = state.box
    if box and box.step is BoxStep.UP and now >= box.up_at + SERVE_DEADLINE_S:
        said = f"The agent in the box did not answer within {SERVE_DEADLINE_S:.0f} s."
        return _fail(state, box, said, now)
    return state


def _upper_seen(subject: Subject, state: State, event: e.UpperSeen) -> State:
    if event.upper is None:
        # A report that was written before the box got its upper says nothing of it.
        begun = state.box is not None and state.upper is not None and not state.upper.seen
        return state if begun else replace(state, upper=None)
    known = state.upper.generation if state.upper else 0
    if event.upper.generation < known and event.upper.node != subject.node:
        return state
    return replace(state, upper=replace(event.upper, generation=max(known, event.upper.generation)))


def _recorded(state: State, event: e.SaveRecorded) -> State:
    head = Head(generation=event.generation, seq=event.seq, image=event.image)
    if state.head and head.order <= state.head.order:
        return state
    return replace(state, head=head)


def _absorb_of_restore(state: State, event: e.RestoreEvent) -> State:
    """Once it is done the upper is no more, and the head, recorded before, is what comes next."""
    if isinstance(event, e.RestoreWanted):
        return replace(state, restore=event.restore, failures=0, why="", retry_at=0.0)
    if state.restore is None or state.restore.order_id != event.order_id:
        return state
    if isinstance(event, e.RestoreRefused):
        return replace(state, restore=None)
    return replace(state, restore=None, upper=None) if state.box is None else state


def _absorb_of_box(state: State, event: e.BoxEvent, now: float) -> State:
    """News of a box counts only for the box that is there, and not once it is being removed."""
    box = state.box
    if box is None or box.generation != event.generation:
        return state
    if isinstance(event, e.BoxGone):
        return replace(state, box=None, stopped_at=now)
    if box.step in {BoxStep.STOPPING, BoxStep.ENDED}:
        return state
    return _news_of_box(state, box, event, now)


def _news_of_box(state: State, box: Box, event: e.BoxEvent, now: float) -> State:
    match event:
        case e.BoxUp():
            return _box_up(state, box, event, now)
        case e.BoxServing():
            serving = replace(box, step=BoxStep.SERVING, served_at=box.served_at or now)
            return replace(state, box=serving, why="")
        case e.BoxSilent() if box.step is BoxStep.SERVING:
            return replace(state, box=replace(box, step=BoxStep.SILENT))
        case e.BoxRefusing():
            refusing = replace(box, step=BoxStep.REFUSING)
            return replace(state, box=refusing, why=event.sentence)
        case e.BoxFull():
            return replace(state, full=event.sentence, why="", retry_at=0.0)
        case e.BoxEnded():
            return _fail(state, box, event.sentence, now)
    return state


def _box_up(state: State, box: Box, event: e.BoxUp, now: float) -> State:
    if box.step is not BoxStep.STARTING:
        # An adopted box: all else of it is known.
        return replace(state, box=replace(box, ip=event.ip))
    up = replace(box, step=BoxStep.UP, ip=event.ip, up_at=now)
    return replace(state, box=up, started_at=now)


def _fail(state: State, box: Box, sentence: str, now: float) -> State:
    healthy = box.served_at > 0 and now - box.served_at >= HEALTHY_S
    failures = 0 if healthy else state.failures
    return replace(
        state,
        box=replace(box, step=BoxStep.ENDED, ip=""),
        failures=failures + 1,
        restarts=state.restarts + 1,
        retry_at=now + backoff_s(failures),
        why=sentence,
    )
