"""The one decision about losses, over values: every sequence of losses, scans, restarts and confirmations."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from clipwatch.clock import Moment
from clipwatch.config import LimitsConfig
from clipwatch.mirror.losses import (
    HOLD_POINTS,
    Decision,
    Hold,
    HoldReason,
    HoldState,
    Losses,
    Now,
    hold_seconds,
    is_confirmed,
    is_deleted,
    is_missed,
    judge,
    reason_to_hold,
    scan_begins,
    scan_ends,
)

LIMITS = LimitsConfig()
START = Now(Moment("boot", 0.0), 0.0)


@given(points=st.integers(1, 500), lost=st.integers(0, 500), lately=st.integers(0, 500), fraction=st.floats(0, 1))
def test_when_losses_are_in_doubt(points: int, lost: int, lately: int, fraction: float) -> None:
    lost = min(lost, points)
    limits = LimitsConfig(delete_fraction=fraction)
    reason = reason_to_hold(Losses(points, lost, lost, lost_lately=lately), points, limits)
    if lost == 0:
        assert reason is None
    elif lost == points:
        assert reason is HoldReason.EVERYTHING_GONE
    elif lost + lately <= HOLD_POINTS:
        assert reason is None
    else:
        assert (reason is HoldReason.UNUSUAL_SHARE) == (lost + lately > fraction * (points + lately))


@given(points=st.integers(1, 300), lost=st.integers(1, 300), excluded=st.integers(0, 300))
def test_the_rules_are_named_only_where_nothing_else_would_be_held(points: int, lost: int, excluded: int) -> None:
    lost = min(lost, points)
    excluded = min(excluded, lost)
    losses = Losses(points, lost, lost, excluded=excluded)
    reason = reason_to_hold(losses, points, LIMITS)
    without = reason_to_hold(replace(losses, excluded=0), points, LIMITS)
    assert (reason is None) == (without is None), "which rule excludes what does not change whether it is held"
    rest = Losses(points - excluded, lost - excluded, lost - excluded)
    by_itself = reason_to_hold(rest, points - excluded, LIMITS)
    if without is not None:
        assert reason is (HoldReason.RULES_CHANGED if excluded and by_itself is None else without)


@pytest.mark.parametrize(
    "losses",
    [
        Losses(points=1, lost=1, absent=0),
        Losses(points=3, lost=3, absent=3, witnessed=3),
        Losses(points=3, lost=3, absent=3, kept=1),
    ],
    ids=["the file is there and broken", "each delete was reported", "a file without a point is still there"],
)
def test_not_everything_is_gone_where(losses: Losses) -> None:
    assert reason_to_hold(losses, losses.points, LIMITS) is None


def test_one_delete_that_nobody_reported_is_enough_to_doubt_all_of_them() -> None:
    losses = Losses(points=3, lost=3, absent=3, witnessed=2)
    assert judge(HoldState(), losses, START, LIMITS)[1] is Decision.HOLD


@pytest.mark.parametrize(
    "losses",
    [Losses(points=10, lost=2, absent=2, waiting=8), Losses(points=3, lost=3, absent=3, complete=False)],
    ids=["eight files on their way may be renames", "the scan goes on"],
)
def test_no_hold_begins_before_it_is_certain_that_everything_is_gone(losses: Losses) -> None:
    state, decision = judge(HoldState(), losses, START, LIMITS)
    assert (state.hold, decision) == (None, Decision.WAIT)


@pytest.mark.parametrize(
    ("losses", "anew"),
    [
        (Losses(points=180, lost=150, absent=150), False),
        (Losses(points=180, lost=160, absent=160), True),
        (Losses(points=101, lost=101, absent=101), True),
        (Losses(points=300, lost=10, absent=10), False),
    ],
)
def test_a_hold_begins_anew_only_for_as_much_again(losses: Losses, anew: bool) -> None:
    hold = Hold(0.0, HoldReason.UNUSUAL_SHARE, 100, 100, 0.0, START.moment, START.at)
    later = Now(Moment("boot", 60.0), 60.0)
    state, _ = judge(HoldState(hold), losses, later, LIMITS)
    assert (state.hold is not None and state.hold.since == 60.0) == anew


@given(
    before=st.sampled_from([None, *HoldReason]),
    losses=st.builds(
        lambda unmounted, more, rest: Losses(unmounted + more + rest, unmounted + more, unmounted, unmounted=unmounted),
        st.integers(1, 200),
        st.integers(0, 200),
        st.integers(0, 200),
    ),
    hours=st.lists(st.floats(0, 1000), max_size=5),
)
def test_what_is_not_mounted_is_held_over_any_number_of_scans_until_a_person_confirms(
    before: HoldReason | None, losses: Losses, hours: list[float]
) -> None:
    hold = None if before is None else Hold(0.0, before, losses.lost, losses.gone, 0.0, START.moment, START.at)
    state, now = judge(HoldState(hold), losses, START, LIMITS)[0], START
    for passed in hours:
        state = scan_begins(state, losses.points)
        now = Now(Moment("boot", now.moment.seconds + passed * 3600), now.at + passed * 3600)
        state, decision = judge(scan_ends(state, now.moment, LIMITS), losses, now, LIMITS)
        assert decision is Decision.HOLD
    assert state.hold is not None
    assert state.hold.reason == HoldReason.UNMOUNTED
    assert judge(is_confirmed(state), losses, now, LIMITS)[1] is Decision.ALLOW
    mounted = replace(losses, unmounted=0, lost=losses.lost - losses.unmounted, absent=0)
    assert judge(state, mounted, now, LIMITS)[0].hold != state.hold


class Folder(RuleBasedStateMachine):
    """A folder of files with points, the disk that it lies on, and the state as the mirror drives it.

    The disk may go away for less than the hold time, at any moment. No point of a file on it may be deleted then,
    whatever else happens, unless a person confirmed what was held.
    """

    def __init__(self) -> None:
        super().__init__()
        self.state = HoldState()
        self.now = START
        self.there = 5
        self.gone = 0
        """Really deleted, and not yet deleted from the collection."""
        self.away_since: float | None = None
        self.confirmed = False
        """A person vouched for what was held, and no scan has found everything there since."""
        self.wrongly_deleted = 0

    @property
    def points(self) -> int:
        return self.there + self.gone

    def _pass_time(self, seconds: float) -> None:
        boot, moment = self.now.moment.boot, self.now.moment.seconds
        self.now = Now(Moment(boot, moment + seconds), self.now.at + seconds)

    @rule(number=st.integers(1, 200))
    def arrive(self, number: int) -> None:
        if self.away_since is None:
            self.there += number

    @precondition(lambda self: self.away_since is None and self.there > 1)
    @rule(data=st.data())
    def delete_some(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, self.there - 1))
        self.there -= number
        self.gone += number

    @precondition(lambda self: self.away_since is None)
    @rule()
    def disk_goes(self) -> None:
        self.away_since = self.now.moment.seconds

    @precondition(lambda self: self.away_since is not None)
    @rule()
    def disk_comes_back(self) -> None:
        """A folder that is found again is scanned."""
        self.away_since = None
        self.scan()

    @rule(minutes=st.integers(1, 58))
    def time_passes(self, minutes: int) -> None:
        if self.away_since is not None:
            left = hold_seconds(LIMITS) - 60 - (self.now.moment.seconds - self.away_since)
            self._pass_time(max(0.0, min(minutes * 60.0, left)))
        else:
            self._pass_time(minutes * 60.0)

    @rule()
    def restart(self) -> None:
        self.state, self.confirmed = replace(self.state, confirmed=None), False

    @rule()
    def confirm(self) -> None:
        self.confirmed = self.confirmed or self.state.hold is not None
        self.state = is_confirmed(self.state)

    @rule()
    def scan(self) -> None:
        self.state = scan_begins(self.state, self.points)
        lost = self.gone + (self.there if self.away_since is not None else 0)
        if lost:
            self.state = is_missed(self.state, None)
        self.state = scan_ends(self.state, self.now.moment, LIMITS)
        if not lost:
            self.state, self.confirmed = HoldState(), False
            return
        self.state, decision = judge(self.state, Losses(self.points, lost, lost), self.now, LIMITS)
        if decision is Decision.ALLOW:
            if self.away_since is not None:
                self.wrongly_deleted += 0 if self.confirmed else self.there
                self.there = 0
            self.gone, self.confirmed = 0, False
            self.state = is_deleted(self.state, lost, 0)

    @invariant()
    def nothing_is_deleted_because_a_disk_was_away(self) -> None:
        assert self.wrongly_deleted == 0

    def teardown(self) -> None:
        """When nothing changes any more, everything that is really gone is deleted after two scans."""
        self.away_since = None
        self.scan()
        self._pass_time(hold_seconds(LIMITS))
        self.scan()
        self.scan()
        assert (self.gone, self.state.hold) == (0, None)


def test_no_sequence_of_events_deletes_because_a_disk_was_away_and_every_hold_ends() -> None:
    run_state_machine_as_test(Folder, settings=settings(max_examples=200, stateful_step_count=30, deadline=None))
