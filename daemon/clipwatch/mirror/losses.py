"""May what a folder has lost be deleted? One pure decision, for deletes, rebuilds, `--dry-run`, `confirm` and `status`.

A loss is a point that would be deleted and whose content lives on nowhere. Losses are judged by what was in the folder
before the first of them was seen: files that appear later do not prove that the old ones are really gone. A hold lasts
for `limits.delete_hold_minutes` by a clock that nobody can set, across the processes of one boot; across boots there is
only the wall clock, and what it says counts for at most half of the hold time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from clipwatch.clock import Clock, Moment
from clipwatch.config import LimitsConfig

HOLD_POINTS: Final = 50
"""Fewer losses than this within the hold time are never an unusual share (but see `EVERYTHING_GONE`)."""

BOOT_SHARE: Final = 0.5
"""The part of the hold time that the wall clock can account for across a boot: the clock may be wrong, but where no
boot lasts for long, a hold must end too."""


class HoldReason(StrEnum):
    """Why losses wait."""

    UNUSUAL_SHARE = "unusual_share"
    EVERYTHING_GONE = "everything_gone"
    RULES_CHANGED = "rules_changed"
    """The folder's rules, such as `extensions` and `ignore`, no longer let in what has these points."""
    UNREADABLE = "unreadable"
    """Rebuild: some files or directories cannot be read, and the new collection lacks their points."""
    UNMOUNTED = "unmounted"
    """Nothing is mounted any more where these files were. It lasts until something is, or until a person confirms."""


@dataclass(frozen=True, slots=True)
class Now:
    """One moment by both clocks."""

    moment: Moment
    at: float
    """By the wall clock, in seconds since the epoch."""

    @staticmethod
    def of(clock: Clock) -> Now:
        """The present moment of *clock*."""
        return Now(clock.moment(), clock.now().timestamp())


@dataclass(frozen=True, slots=True)
class Hold:
    """Losses that wait. *since*: when the hold began, in seconds since the epoch, for people only."""

    since: float
    reason: str
    points: int
    """How many losses there were when it began."""
    told: int
    """How many points were gone when a person was last told: whoever confirms knows of so many."""
    waited: float = field(compare=False)
    """For how many seconds the hold had lasted at *noted*."""
    noted: Moment = field(compare=False)
    noted_at: float = field(compare=False)
    """*noted* by the wall clock, in seconds since the epoch."""

    @property
    def ends(self) -> bool:
        """Whether a scan after the hold time ends it."""
        return self.reason != HoldReason.UNMOUNTED

    def age(self, now: Moment) -> float:
        """Seconds that the hold has lasted for certain."""
        return self.waited + now.after(self.noted)

    def as_of(self, now: Now, limits: LimitsConfig) -> Hold:
        """The same hold, noted *now*. Since another boot, the wall clock counts up to its share of the hold time."""
        across = 0.0
        if now.moment.boot != self.noted.boot:
            across = min(max(0.0, now.at - self.noted_at), BOOT_SHARE * hold_seconds(limits))
        return replace(self, waited=self.age(now.moment) + across, noted=now.moment, noted_at=now.at)


@dataclass(frozen=True, slots=True)
class HoldState:
    """What is remembered of one folder's losses; the notebook keeps all of it but *confirmed*.

    *points_before*: how many points there were when the first loss was seen, None where there is none.
    *points_at_scan*: the same for losses that the scan under way may find, None between scans.
    *confirmed*: how many losses are real, as a person said, or a scan that began after the hold time.
    """

    hold: Hold | None = None
    points_before: int | None = None
    points_at_scan: int | None = None
    confirmed: int | None = None

    @property
    def is_total(self) -> bool:
        """Whether the hold can end early only by a file that is back at its own path.

        What came after everything was gone, copies included, does not tell whether the rest is gone.
        """
        return self.hold is not None and self.hold.reason == HoldReason.EVERYTHING_GONE


@dataclass(frozen=True, slots=True)
class Losses:
    """What one folder has lost, in numbers of points."""

    points: int
    """In the ledger, without *renamed*."""
    lost: int
    """What would be deleted and lives on nowhere."""
    absent: int
    """Of *lost*: there is no file. The others' files are there and cannot be decoded any more."""
    excluded: int = 0
    """Of *absent*: the folder's rules no longer let the file in, whether it is there or not."""
    witnessed: int = 0
    """Of *absent*: a live watch on the folder reported the delete."""
    waiting: int = 0
    """Gone, and a file on its way may turn out to be the same content: a rename."""
    renamed: int = 0
    """Gone, and their content lives on under another path."""
    kept: int = 0
    """Files without a point that were known before any loss and are still there."""
    unreadable: int = 0
    """Rebuild: of *lost*, those whose file or directory cannot be read."""
    unmounted: int = 0
    """Rebuild: of *lost*, those below a mount point at which nothing is mounted now."""
    lost_lately: int = 0
    """Deleted within the hold time, renames left out."""
    complete: bool = True
    """Whether a scan of the whole folder is accounted for."""

    @property
    def gone(self) -> int:
        """Everything that is gone, renames included: the number that a person is told."""
        return self.lost + self.waiting + self.renamed


class Decision(StrEnum):
    """What becomes of the losses now."""

    ALLOW = "allow"
    HOLD = "hold"
    WAIT = "wait"
    """Not known yet: files on their way may be renames, or the scan under way has not met everything."""


def hold_seconds(limits: LimitsConfig) -> float:
    """The hold time."""
    return limits.delete_hold_minutes * 60


def judge(state: HoldState, losses: Losses, now: Now, limits: LimitsConfig) -> tuple[HoldState, Decision]:
    """Decide about *losses*. The new state says by its hold whether one began, goes on or ended."""
    if state.confirmed is not None:
        beyond = _reason_beyond(losses, state.confirmed, limits)
        if beyond is not None:
            return _begin(replace(state, confirmed=None), beyond, losses, now), Decision.HOLD
        return replace(state, hold=None), Decision.ALLOW
    reason = reason_to_hold(losses, _points_judged_by(state, losses), limits)
    grown = state.hold is not None and _has_grown(state.hold, reason, losses, limits)
    if reason is None:
        # What the scan has yet to find is not in the numbers: only a complete one ends a hold.
        if state.hold is not None and (not losses.complete or losses.waiting):
            return state, Decision.HOLD
        return replace(state, hold=None), Decision.ALLOW
    if state.hold is not None and not grown:
        if losses.complete and state.hold.told != losses.gone:
            state = replace(state, hold=replace(state.hold, told=losses.gone).as_of(now, limits))
        return state, Decision.HOLD
    if reason is HoldReason.EVERYTHING_GONE and not _is_certain(state, losses):
        return state, Decision.HOLD if state.hold is not None else Decision.WAIT
    return _begin(state, reason, losses, now), Decision.HOLD


def reason_to_hold(losses: Losses, points: int, limits: LimitsConfig) -> HoldReason | None:
    """Why *losses* of *points* points are in doubt; None where they are not.

    Everything is gone where none of the files that were there before is left, unless each delete was reported by a
    live watch: a disk that goes away deletes nothing.
    """
    if losses.lost + losses.waiting == 0:
        return None
    if losses.unmounted:
        return HoldReason.UNMOUNTED
    if losses.unreadable:
        return HoldReason.UNREADABLE
    reason = _reason_by_numbers(losses, points, limits)
    if reason is None or not losses.excluded:
        return reason
    # Where the others would not be held by themselves, it is the rules that have to be looked at.
    others = replace(
        losses,
        points=losses.points - losses.excluded,
        lost=losses.lost - losses.excluded,
        absent=losses.absent - losses.excluded,
    )
    may_go = others.lost + others.waiting == 0 or _reason_by_numbers(others, points - losses.excluded, limits) is None
    return HoldReason.RULES_CHANGED if may_go else reason


def _reason_by_numbers(losses: Losses, points: int, limits: LimitsConfig) -> HoldReason | None:
    absent = losses.absent + losses.waiting
    if absent > losses.witnessed and absent >= points and not losses.kept:
        return HoldReason.EVERYTHING_GONE
    if _is_unusual(losses.lost + losses.lost_lately, losses.points + losses.lost_lately, limits.delete_fraction):
        return HoldReason.UNUSUAL_SHARE
    return None


def _points_judged_by(state: HoldState, losses: Losses) -> int:
    if state.points_before is None:
        return losses.points
    return min(state.points_before - (losses.renamed if state.is_total else 0), losses.points)


def _is_certain(state: HoldState, losses: Losses) -> bool:
    """Whether everything is gone even if all that is on its way turns out to be renamed."""
    return losses.complete and losses.absent >= _points_judged_by(state, losses)


def _has_grown(hold: Hold, reason: HoldReason | None, losses: Losses, limits: LimitsConfig) -> bool:
    """Whether the hold starts anew: for another reason, or since so much of the rest has gone that it would be held."""
    if reason is HoldReason.EVERYTHING_GONE and hold.reason != HoldReason.EVERYTHING_GONE:
        return True
    if (reason is HoldReason.UNMOUNTED) == hold.ends:
        return True
    return _is_unusual(losses.lost - hold.points, losses.points - hold.points, limits.delete_fraction)


def _reason_beyond(losses: Losses, confirmed: int, limits: LimitsConfig) -> HoldReason | None:
    """Why the losses beyond those that a person vouched for are in doubt by themselves."""
    beyond = losses.lost - confirmed
    if beyond <= 0:
        return None
    rest = Losses(
        points=losses.points - confirmed,
        lost=beyond,
        absent=min(beyond, losses.absent),
        excluded=min(beyond, losses.excluded),
    )
    return reason_to_hold(rest, rest.points, limits)


def _is_unusual(lost: int, points: int, fraction: float) -> bool:
    return lost > HOLD_POINTS and lost > fraction * points


def _begin(state: HoldState, reason: HoldReason, losses: Losses, now: Now) -> HoldState:
    hold = Hold(now.at, str(reason), losses.lost, losses.gone, 0.0, now.moment, now.at)
    return replace(state, hold=hold)


# -- what happens between two decisions --------------------------------------------------------------------------------


def scan_begins(state: HoldState, points: int) -> HoldState:
    """A scan begins, and there are *points*: what it misses will be missed of so many."""
    known = (before for before in (state.points_before, state.points_at_scan) if before)
    return replace(state, points_at_scan=min([points, *known]) or None)


def scan_ends(state: HoldState, began: Moment, limits: LimitsConfig) -> HoldState:
    """A complete scan that began at *began* is accounted for: one that began after the hold time confirms the hold."""
    state = replace(state, points_at_scan=None)
    hold = state.hold
    agrees = state.confirmed is None and hold is not None and hold.ends and hold.age(began) >= hold_seconds(limits)
    return is_confirmed(state) if agrees else state


def is_missed(state: HoldState, points: int | None) -> HoldState:
    """One more point is gone, of *points*; None: the scan under way missed it."""
    before = (state.points_at_scan or 0) if points is None else points
    if state.points_before is None or before < state.points_before:
        return replace(state, points_before=before)
    return state


def is_deleted(state: HoldState, lost: int, renamed: int) -> HoldState:
    """The store deleted so many that live on nowhere, and so many that live on."""
    before = state.points_before
    if before is not None:
        before = max(0, before - lost - (renamed if state.is_total else 0))
    confirmed = state.confirmed
    if confirmed is not None and lost:
        confirmed = confirmed - lost if confirmed > lost else None
    return replace(state, points_before=before, confirmed=confirmed)


def is_confirmed(state: HoldState) -> HoldState:
    """What is held is really gone: as many as were told of, and no more."""
    if state.hold is None:
        return state
    return replace(state, confirmed=max(state.hold.points, state.hold.told))


def is_vouched_for(state: HoldState, points: int) -> HoldState:
    """A person says that *points* more are really gone, which were told and not held here."""
    return replace(state, confirmed=(state.confirmed or 0) + points)
