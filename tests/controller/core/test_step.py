"""The core as transcripts: what is observed, and what is ordered."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from controller.core import events as e
from controller.core.phases import MOVES, check_move, diagram
from controller.core.state import (
    Box,
    BoxStep,
    Head,
    Restore,
    State,
    Subject,
    Upper,
    pod_uid,
    status,
)
from controller.core.step import (
    HEALTHY_S,
    SERVE_DEADLINE_S,
    backoff_s,
    source,
    step,
    to_restore,
)
from devbox.model.errors import Internal
from devbox.model.projects import Desired, Image, Phase

UID = str(uuid.UUID(int=7))
NODE = "node-1"


def image(name: str) -> Image:
    return Image(repository=f"projects/{name}", digest=f"sha256:{name}", architecture="amd64")


BASE = image("base")


class Play:
    """One project under the core, with what was ordered."""

    def __init__(self, desired: Desired = Desired.RUNNING) -> None:
        self.desired = desired
        self.state = State()
        self.now = 1000.0
        self.actions: list[e.Action] = []

    def see(self, event: e.Event) -> list[e.Action]:
        subject = Subject(uid=UID, desired=self.desired, node=NODE)
        self.state, actions = step(subject, self.state, event, self.now)
        self.actions += actions
        return list(actions)

    def want(self, desired: Desired) -> list[e.Action]:
        before, self.desired = self.desired, desired
        return self.see(e.Wanted(before))

    def run(self) -> Box:
        """From nothing to a serving box."""
        self.see(e.Prepared(BASE))
        box = self.box
        self.see(e.BoxUp(box.generation, "10.0.0.2"))
        self.see(e.BoxServing(box.generation))
        assert self.state.phase is Phase.RUNNING
        return box

    def is_in(self, phase: Phase) -> bool:
        return self.state.phase is phase

    @property
    def box(self) -> Box:
        assert self.state.box is not None
        return self.state.box


def kinds(actions: list[e.Action]) -> list[str]:
    return [type(action).__name__ for action in actions]


@pytest.mark.smoke
def test_a_project_waits_for_its_runtime_then_starts_stops_and_starts_again() -> None:
    play = Play()
    assert play.see(e.Wanted(Desired.STOPPED)) == []
    assert play.is_in(Phase.PREPARING)
    play.see(e.Preparing("The runtime is being built: 40 %."))
    assert play.state.message == "The runtime is being built: 40 %."
    assert kinds(play.see(e.Prepared(BASE))) == ["StartBox"]
    assert (play.state.phase, play.box.generation) == (Phase.STARTING, 1)
    assert kinds(play.see(e.BoxUp(1, "10.0.0.2"))) == ["Wake"]
    assert status(play.state).box_ip == ""
    play.see(e.BoxServing(1))
    assert status(play.state).box_ip == "10.0.0.2"
    assert kinds(play.want(Desired.STOPPED)) == ["StopBox"]
    assert play.is_in(Phase.STOPPING)
    assert kinds(play.want(Desired.RUNNING)) == []
    assert kinds(play.see(e.BoxGone(1))) == ["StartBox"]
    assert play.box.generation == 2
    assert play.box.image == BASE


def test_a_stopped_project_keeps_its_files_and_says_stopped() -> None:
    play = Play()
    play.run()
    play.want(Desired.STOPPED)
    play.see(e.BoxGone(1))
    assert (play.state.phase, play.state.box) == (Phase.STOPPED, None)
    assert status(play.state).upper_node == NODE


def test_the_upper_goes_with_the_image_it_stands_on_whatever_was_saved_since() -> None:
    play = Play()
    play.run()
    play.see(e.SaveRecorded(1, 1, image("save1")))
    play.want(Desired.STOPPED)
    play.see(e.BoxGone(1))
    assert source(play.state) == (BASE, False)
    play.see(e.UpperSeen(None))
    assert source(play.state) == (image("save1"), True)


def test_an_upper_that_was_given_back_during_a_start_is_missed_at_the_next_one() -> None:
    play = Play()
    play.run()
    play.see(e.SaveRecorded(1, 1, image("save1")))
    play.see(e.UpperSeen(Upper(node=NODE, generation=1, image=BASE, seen=True)))
    play.want(Desired.STOPPED)
    play.see(e.BoxGone(1))
    play.want(Desired.RUNNING)
    assert (play.box.image, play.box.needs_upper) == (BASE, True)
    play.see(e.UpperSeen(None))
    play.see(e.BoxEnded(2, "The files were given back."))
    play.see(e.BoxGone(2))
    play.now = play.state.retry_at
    play.see(e.Tick())
    assert (play.box.image, play.box.needs_upper) == (image("save1"), False)
    # What was written before the new box began its upper says nothing of it.
    play.see(e.UpperSeen(None))
    assert status(play.state).upper_node == NODE


def test_a_box_that_keeps_ending_backs_off_and_says_why() -> None:
    play = Play()
    play.run()
    waits = []
    for generation in range(1, 12):
        play.see(e.BoxEnded(generation, "The box ended with exit code 1: 'no such table'."))
        assert play.is_in(Phase.BACKING_OFF)
        assert "no such table" in play.state.message
        (wake,) = play.see(e.BoxGone(generation))
        assert isinstance(wake, e.Wake)
        waits.append(wake.at - play.now)
        assert kinds(play.see(e.Tick())) == ["Wake"]
        play.now = wake.at
        assert kinds(play.see(e.Tick())) == ["StartBox"]
        play.see(e.BoxUp(generation + 1, "10.0.0.2"))
        play.see(e.BoxServing(generation + 1))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert play.state.restarts == 11
    play.now += HEALTHY_S
    play.see(e.BoxEnded(12, "The box ended with exit code 1."))
    assert play.state.retry_at - play.now == 1


def test_backing_off_ends_when_somebody_stops_and_starts_it() -> None:
    play = Play()
    play.run()
    play.see(e.BoxEnded(1, "It ended."))
    play.see(e.BoxGone(1))
    assert play.want(Desired.STOPPED) == []
    assert play.is_in(Phase.STOPPED)
    assert kinds(play.want(Desired.RUNNING)) == ["StartBox"]


def test_an_agent_that_never_answers_counts_as_an_end() -> None:
    play = Play()
    play.see(e.Prepared(BASE))
    play.see(e.BoxUp(1, "10.0.0.2"))
    play.now += SERVE_DEADLINE_S
    assert kinds(play.see(e.Tick())) == ["StopBox"]
    assert "did not answer" in play.state.message


def test_an_agent_that_refuses_fails_the_project_until_it_is_started_anew() -> None:
    play = Play()
    play.see(e.Prepared(BASE))
    play.see(e.BoxUp(1, "10.0.0.2"))
    play.see(e.BoxRefusing(1, "This box has no kept upper."))
    assert (play.state.phase, play.state.message) == (Phase.FAILED, "This box has no kept upper.")
    assert status(play.state).box_ip == ""
    assert kinds(play.want(Desired.RUNNING)) == ["StopBox"]
    assert kinds(play.see(e.BoxGone(1))) == ["StartBox"]


def test_a_silent_agent_has_no_address_until_it_answers() -> None:
    play = Play()
    play.run()
    play.see(e.BoxSilent(1))
    assert (play.state.phase, status(play.state).box_ip) == (Phase.RUNNING, "")
    play.see(e.BoxServing(1))
    assert status(play.state).box_ip == "10.0.0.2"


def test_a_runtime_that_can_not_be_had_fails_the_project_with_its_sentence() -> None:
    play = Play()
    play.see(e.Refused("The image is for arm64; this machine is amd64."))
    assert play.is_in(Phase.FAILED)
    assert "arm64" in play.state.message
    play.want(Desired.RUNNING)
    assert play.is_in(Phase.PREPARING)


def test_a_full_box_stops_and_no_other_starts_until_somebody_wants_one() -> None:
    play = Play()
    play.run()
    assert kinds(play.see(e.BoxFull(1, "It is full; files are kept."))) == ["StopBox"]
    assert (play.state.phase, play.state.message) == (Phase.STOPPING, "It is full; files are kept.")
    assert play.see(e.BoxFull(1, "told again")) == []
    assert play.see(e.BoxGone(1)) == []
    assert (play.state.phase, play.state.message) == (Phase.FAILED, "It is full; files are kept.")
    assert play.see(e.Restarted()) == []
    assert play.see(e.Tick()) == []
    assert kinds(play.want(Desired.RUNNING)) == ["StartBox"]
    assert play.see(e.BoxFull(1, "old news")) == []
    play.see(e.BoxUp(2, "10.0.0.2"))
    play.see(e.BoxFull(2, "full again"))
    play.want(Desired.STOPPED)
    play.see(e.BoxGone(2))
    assert (play.state.phase, play.state.message) == (Phase.STOPPED, "")


def test_deleting_stops_the_box_then_waits_for_the_node() -> None:
    play = Play()
    play.run()
    assert kinds(play.want(Desired.DELETED)) == ["StopBox"]
    assert play.see(e.Dropped()) == []
    assert play.see(e.BoxGone(1)) == []
    assert play.is_in(Phase.DELETING)
    assert kinds(play.see(e.Dropped())) == ["Forget"]


def test_news_of_an_older_box_changes_nothing() -> None:
    play = Play()
    play.run()
    play.want(Desired.STOPPED)
    play.see(e.BoxGone(1))
    play.want(Desired.RUNNING)
    before = play.state
    for event in (e.BoxEnded(1, "old"), e.BoxGone(1), e.BoxServing(1), e.BoxUp(1, "10.9.9.9")):
        assert play.see(event) == []
        assert play.state == before


@pytest.mark.parametrize(
    ("box_step", "ordered"),
    [
        (BoxStep.STARTING, ["StopBox"]),
        (BoxStep.UP, ["AdoptBox", "Wake"]),
        (BoxStep.SERVING, ["AdoptBox"]),
        (BoxStep.STOPPING, ["StopBox"]),
    ],
)
def test_after_a_restart_every_box_is_found_again_or_cleared_away(
    box_step: BoxStep, ordered: list[str]
) -> None:
    play = Play()
    play.run()
    play.state = replace(play.state, phase=Phase.STARTING, box=replace(play.box, step=box_step))
    assert kinds(play.see(e.Restarted())) == ordered


def test_a_box_lost_while_the_controller_was_away_is_started_without_a_wait() -> None:
    play = Play()
    play.run()
    play.see(e.Restarted())
    assert kinds(play.see(e.BoxGone(1))) == ["StartBox"]
    assert play.state.restarts == 0


def test_the_table_of_phases_refuses_what_it_does_not_hold() -> None:
    with pytest.raises(Internal):
        check_move(Phase.DELETING, Phase.RUNNING)
    assert set(MOVES) == set(Phase)
    assert "backing_off --> starting" in diagram()


def test_the_drawn_phases_are_those_of_the_table() -> None:
    drawn = Path(__file__).parents[3] / "docs" / "architecture.md"
    assert diagram() in drawn.read_text(), "run the generator that the document names"


def test_a_restore_stops_the_box_waits_for_the_node_and_starts_from_the_old_save() -> None:
    play = Play()
    play.run()
    play.see(e.SaveRecorded(1, 1, image("save1")))
    play.see(e.SaveRecorded(1, 2, image("save2")))
    restore = Restore(order_id="r", seq=1)
    assert kinds(play.see(e.RestoreWanted(restore))) == ["StopBox"]
    assert play.is_in(Phase.STOPPING)
    assert to_restore(play.state) is None
    assert play.see(e.BoxGone(1)) == []
    assert play.is_in(Phase.PREPARING)
    assert to_restore(play.state) == restore
    assert play.see(e.Restarted()) == []
    play.see(e.SaveRecorded(1, 3, image("save3")))
    play.see(e.SaveRecorded(2, 4, image("save1")))
    assert kinds(play.see(e.Restored("r"))) == ["StartBox"]
    assert (play.box.generation, play.box.image, play.box.needs_upper) == (2, image("save1"), False)
    assert status(play.state).head_seq == 4
    assert to_restore(play.state) is None


def test_a_stopped_project_is_restored_without_a_box() -> None:
    play = Play()
    play.run()
    play.see(e.SaveRecorded(1, 1, image("save1")))
    play.want(Desired.STOPPED)
    play.see(e.BoxGone(1))
    assert play.see(e.RestoreWanted(Restore(order_id="r", seq=1))) == []
    assert play.is_in(Phase.STOPPED)
    assert play.want(Desired.RUNNING) == []
    play.want(Desired.STOPPED)
    play.see(e.Restored("another"))
    assert to_restore(play.state) is not None
    play.see(e.SaveRecorded(2, 2, image("save1")))
    assert play.see(e.Restored("r")) == []
    assert source(play.state) == (image("save1"), True)


def test_a_restore_that_the_node_refuses_leaves_the_upper_and_starts_again() -> None:
    play = Play()
    play.run()
    play.see(e.RestoreWanted(Restore(order_id="r", seq=1)))
    play.see(e.BoxGone(1))
    assert kinds(play.see(e.RestoreRefused("r"))) == ["StartBox"]
    assert (play.box.generation, play.box.image) == (2, BASE)
    assert status(play.state).upper_node == NODE


@given(st.integers(0, 10_000))
def test_the_wait_grows_to_five_minutes(failures: int) -> None:
    assert 1 <= backoff_s(failures) <= backoff_s(failures + 1) <= 300


class AnyOrder(RuleBasedStateMachine):
    """Any order of events, and a crash of the controller at any action, ends well.

    The world below carries out actions late, twice, or loses them in a crash, as a machine does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.play = Play(Desired.STOPPED)
        self.boxes: set[str] = set()
        self.pending: list[e.Action] = []
        self.forgotten = False
        self.head: tuple[int, int] = (0, 0)
        self.starts: list[int] = []
        self.agents_answer = False

    def send(self, event: e.Event) -> None:
        if self.forgotten:
            return
        self.pending += self.play.see(event)

    @rule(desired=st.sampled_from([Desired.RUNNING, Desired.STOPPED]))
    def want(self, desired: Desired) -> None:
        if self.play.desired is not Desired.DELETED:
            self.pending += self.play.want(desired)

    @rule()
    def delete(self) -> None:
        if self.play.desired is not Desired.DELETED:
            self.pending += self.play.want(Desired.DELETED)

    @rule(prepared=st.booleans())
    def runtime(self, prepared: bool) -> None:
        self.send(e.Prepared(BASE) if prepared else e.Refused("No."))

    @rule()
    def carry_out(self) -> None:
        if self.pending:
            self.perform(self.pending.pop(0))

    def perform(self, action: e.Action) -> None:
        match action:
            case e.StartBox(box):
                # A start that comes after its stop was ordered is void.
                if self.current(box) and self.play.box.step is BoxStep.STARTING:
                    assert not self.boxes, "two boxes"
                    self.boxes.add(box.pod_uid)
                    self.starts.append(box.generation)
                    self.up(box)
            case e.StopBox(box):
                self.boxes.discard(box.pod_uid)
                self.send(e.BoxGone(box.generation))
            case e.AdoptBox(box):
                if box.pod_uid in self.boxes:
                    self.up(box)
                else:
                    self.send(e.BoxGone(box.generation))
            case e.Wake(at):
                self.play.now = max(self.play.now, at)
                self.send(e.Tick())
            case e.Forget():
                assert not self.boxes, "forgotten with a box"
                self.forgotten = True

    def up(self, box: Box) -> None:
        self.send(e.BoxUp(box.generation, "10.0.0.2"))
        if self.agents_answer:
            self.send(e.BoxServing(box.generation))

    def current(self, box: Box) -> bool:
        return self.play.state.box is not None and self.play.state.box.pod_uid == box.pod_uid

    @rule()
    def crash(self) -> None:
        self.pending = []
        self.send(e.Restarted())

    @rule()
    def machine_reboots(self) -> None:
        self.boxes = set()
        self.crash()

    @rule(
        kind=st.sampled_from([e.BoxServing, e.BoxSilent, e.BoxGone]),
        generation=st.integers(0, 4),
    )
    def stale_or_true_news(self, kind: type, generation: int) -> None:
        if pod_uid(UID, generation) in self.boxes and kind is e.BoxGone:
            return
        if self.play.state.box and self.play.state.box.step is BoxStep.STARTING:
            return
        self.send(kind(generation))

    @rule(refuses=st.booleans())
    def box_fails(self, refuses: bool) -> None:
        box = self.play.state.box
        if box and box.pod_uid in self.boxes:
            said = e.BoxRefusing if refuses else e.BoxEnded
            self.send(said(box.generation, "It ended."))

    @rule()
    def box_is_full(self) -> None:
        box = self.play.state.box
        if box and box.pod_uid in self.boxes:
            self.send(e.BoxFull(box.generation, "It is full."))

    @rule(generation=st.integers(1, 4), seq=st.integers(1, 6))
    def save(self, generation: int, seq: int) -> None:
        self.send(e.SaveRecorded(generation, seq, image(f"save{seq}")))

    @rule(kept=st.booleans(), generation=st.integers(1, 4))
    def upper(self, kept: bool, generation: int) -> None:
        seen = Upper(node=NODE, generation=generation, image=BASE) if kept else None
        self.send(e.UpperSeen(seen))

    @rule()
    def restore(self) -> None:
        if self.play.state.restore is None:
            self.send(e.RestoreWanted(Restore(order_id="r", seq=1)))

    @rule(refuses=st.booleans())
    def node_restores(self, refuses: bool) -> None:
        wanted = to_restore(self.play.state)
        if wanted is None:
            return
        assert not self.boxes, "an upper is given up under a box"
        if refuses:
            self.send(e.RestoreRefused(wanted.order_id))
            return
        head = self.play.state.head
        generation = max(self.play.state.generation + 1, head.generation if head else 0)
        self.send(e.SaveRecorded(generation, (head.seq if head else 0) + 1, image("old")))
        self.send(e.Restored(wanted.order_id))
        started = self.play.state.box
        assert started is None or started.image == image("old")

    @rule()
    def dropped(self) -> None:
        self.send(e.Dropped())

    @invariant()
    def at_most_one_box(self) -> None:
        assert len(self.boxes) <= 1

    @invariant()
    def generations_grow(self) -> None:
        assert self.starts == sorted(set(self.starts))

    @invariant()
    def head_never_goes_back(self) -> None:
        head = self.play.state.head
        order = head.order if head else (0, 0)
        assert order >= self.head
        self.head = order

    @invariant()
    def no_box_starts_during_a_restore(self) -> None:
        state = self.play.state
        assert not state.restore or state.box is None or state.box.step is BoxStep.STOPPING

    @invariant()
    def kept_until_dropped(self) -> None:
        assert not self.forgotten or self.play.state.dropped

    def teardown(self) -> None:
        """Left alone, it converges to what is desired."""
        if self.forgotten:
            return
        self.play.now += 1000
        self.agents_answer = True
        self.crash()
        self.send(e.Prepared(BASE))
        for _ in range(20):
            if self.pending:
                self.perform(self.pending.pop(0))
            else:
                self.node_restores(refuses=True)
        state = self.play.state
        match self.play.desired:
            case Desired.RUNNING:
                assert state.box is not None
                assert self.boxes == {state.box.pod_uid}
            case Desired.STOPPED:
                assert state.phase is Phase.STOPPED
                assert not self.boxes
            case Desired.DELETED:
                self.send(e.Dropped())
                assert e.Forget() in self.play.actions


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_heads_are_ordered_by_generation_then_seq() -> None:
    heads = [Head(generation=g, seq=s, image=BASE) for g, s in [(1, 9), (2, 1), (2, 3)]]
    assert sorted(heads, key=lambda head: head.order) == heads
