"""Whether what a folder has lost may be deleted: its hold, from the first doubt to the end that comes by itself.

Judged by how many points there were when the loss was first seen: files that appear since are no proof that
the old ones are gone. Time is counted by a clock that nobody can set, across processes of one boot; across boots
there is only the wall clock, and it is believed but half.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from clipwatch.clock import Clock, Moment, rfc3339
from clipwatch.config import LimitsConfig
from clipwatch.mirror.notebook import Hold, Notebook
from clipwatch.mirror.plan import HoldReason, has_grown, hold_reason

BOOT_SHARE: Final = 0.5
"""What the wall clock says of the time across a boot counts for at most so much of the hold time: it may be wrong, but
where nothing runs for long in one boot, a hold must end too."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What is gone of one folder.

    *points*: of all that are there now, without the *renamed*, which live on elsewhere. *lost*: what would be deleted.
    *absent*: lost or waiting to be, because there is no file. *missing*: everything gone, renames included.
    """

    points: int
    renamed: int
    lost: int
    absent: int
    missing: int
    waiting: bool


class Holding:
    """The hold of one folder, and what it is judged by."""

    def __init__(self, folder: str, *, limits: LimitsConfig, notebook: Notebook, logger: Any, clock: Clock) -> None:
        self._folder, self._limits, self._notebook = folder, limits, notebook
        self._logger, self._clock = logger, clock
        self._agreed = False
        self._vouched: int | None = None
        self._before = self._noted = notebook.points_before(folder)
        self._at_look: int | None = None
        self._sorting = False
        """What was on its way when the hold began may yet turn out to be what is gone."""
        self.hold: Hold | None = None
        noted = notebook.hold(folder)
        if noted is not None:
            self._keep(replace(noted, since=min(noted.since, clock.now().timestamp())))

    # -- time --------------------------------------------------------------------------------------

    @property
    def _hold_seconds(self) -> float:
        return self._limits.delete_hold_minutes * 60

    @property
    def _seconds_left(self) -> float | None:
        return None if self.hold is None else max(0.0, self._hold_seconds - self.hold.age(self._clock.moment()))

    @property
    def look_wanted_in(self) -> float | None:
        """Seconds until a look must be made for a hold to end."""
        return None if self.is_settled else self._seconds_left

    @property
    def text(self) -> str:
        """The hold's reason and end, for people."""
        left = self._seconds_left
        if self.hold is None or left is None:
            return ""
        ends = datetime.fromtimestamp(self._clock.now().timestamp() + left, UTC)
        return f"{self.hold.reason}; until a scan after {rfc3339(ends)} agrees, or `clipwatch confirm`"

    def agree(self, look_started: Moment) -> None:
        """A complete look that began at *look_started* still misses what is gone."""
        if self.hold is not None and self.hold.age(look_started) >= self._hold_seconds:
            self._agreed = True

    def confirm(self) -> None:
        """A person says that the files are really gone: as many as were told of, and no more."""
        if self.hold is not None:
            self._vouched = max(self.hold.points, self.hold.told)

    def take_over(self, before: Holding) -> None:
        """What a person has vouched for under other settings still holds."""
        self._vouched = before._vouched

    @property
    def is_settled(self) -> bool:
        """Whether a look or a person has decided about the hold."""
        return self._agreed or self._vouched is not None

    # -- what there was before -----------------------------------------------------------------------

    @property
    def points_before(self) -> int | None:
        """How many points there were when the loss was first seen; None where there is none."""
        return self._before

    def look_begins(self, points: int) -> None:
        """A look begins, and there are *points*: what it misses will be missed of those."""
        self._at_look = min([points, *(before for before in (self._before, self._at_look) if before)]) or None
        self._note()

    def look_ended(self) -> None:
        """What the look missed is known."""
        self._at_look = None
        self._note()

    def missed(self, points: int | None) -> None:
        """One more is gone, of *points*; None: the look missed it."""
        before = (self._at_look or 0) if points is None else points
        if self._before is None or before < self._before:
            self._before = before
            self._note()

    def deleted(self, lost: int) -> None:
        """So many were deleted that live on nowhere."""
        now = self._clock.now().timestamp()
        self._notebook.note_deletion(self._folder, now, self._clock.moment(), lost)
        if self._before is not None:
            self._before = max(0, self._before - lost)
            self._note()
        if self._vouched is not None:
            self._vouched = self._vouched - lost if self._vouched > lost else None

    def renamed(self, points: int) -> None:
        """So many were deleted that live on."""
        if self._is_total and self._before is not None:
            self._before = max(0, self._before - points)
            self._note()

    def all_is_there(self) -> None:
        """A complete look misses nothing."""
        self._end(0)
        self._agreed, self._vouched, self._before = False, None, None
        self._note()

    def _note(self) -> None:
        """So that a restart, too, judges by what there was before."""
        known = min((before for before in (self._before, self._at_look) if before is not None), default=None)
        if known != self._noted:
            self._noted = known
            self._notebook.note_points_before(self._folder, known)

    # -- judging ---------------------------------------------------------------------------------------

    @property
    def _is_total(self) -> bool:
        """Whether only a file that is back at its own path ends the hold early.

        What came after all was gone, a copy of it too, does not tell whether the rest is.
        """
        return self.hold is not None and self.hold.reason == HoldReason.EVERYTHING_GONE and not self._sorting

    def _points(self, loss: Loss) -> int:
        """Of how many points the loss is one."""
        if self._before is None:
            return loss.points
        return min(self._before - (loss.renamed if self._is_total else 0), loss.points)

    def allows(self, loss: Loss, *, complete: bool) -> bool:
        """Whether the lost ones may be deleted; begins and ends the hold. *complete*: see `Deletes.due`."""
        fraction = self._limits.delete_fraction
        if self._vouched is not None:
            beyond = _beyond(loss, self._vouched, fraction)
            if beyond is not None:
                self._vouched = None
                self._begin(beyond, loss)
                return False
            self._end(loss.missing)
            return True
        reason = hold_reason(
            points=self._points(loss),
            gone=loss.lost,
            absent=loss.absent,
            deleted_lately=self._deleted_lately(),
            fraction=fraction,
        )
        grown = self.hold is not None and has_grown(
            self.hold, reason, gone=loss.lost, points=loss.points, fraction=fraction
        )
        if self._agreed and not grown:
            self._end(loss.missing)
            return True
        if reason is None:
            # What a look has yet to find is not in the count: only a complete one ends a hold.
            if self.hold is not None and (not complete or loss.waiting):
                return False
            self._end(loss.missing)
            return True
        if self.hold is None or grown:
            self._sorting = not self._is_total
            self._begin(reason, loss)
        elif complete and self.hold.told != loss.missing:
            self._keep(replace(self.hold, told=loss.missing))
        self._sorting = self._sorting and (loss.waiting or not complete)
        return False

    def _deleted_lately(self) -> int:
        now = self._clock.now().timestamp()
        return self._notebook.deleted_lately(self._folder, now, self._clock.moment(), self._hold_seconds)

    def _begin(self, reason: HoldReason, loss: Loss) -> None:
        self._agreed = False
        now = self._clock.now().timestamp()
        self._keep(Hold(now, str(reason), loss.lost, loss.missing, 0.0, self._clock.moment(), now))
        self._logger.warning(
            "deletes.held",
            folder=self._folder,
            points=loss.lost,
            reason=str(reason),
            hint=f"They are carried out when a scan {self._limits.delete_hold_minutes:g} minutes from now agrees, "
            "or by `clipwatch confirm`.",
        )

    def _keep(self, hold: Hold) -> None:
        most = BOOT_SHARE * self._hold_seconds
        self.hold = hold.as_of(self._clock.moment(), self._clock.now().timestamp(), most)
        self._notebook.set_hold(self._folder, self.hold)

    def _end(self, missing: int) -> None:
        self._sorting = False
        if self.hold is not None:
            self.hold = None
            self._notebook.end_hold(self._folder)
            self._logger.info("deletes.released", folder=self._folder, points=missing)

    def close(self) -> None:
        """Note for how long there has been a hold: another boot goes on from there."""
        if self.hold is not None:
            self._keep(self.hold)


def _beyond(loss: Loss, vouched: int, fraction: float) -> HoldReason | None:
    """Why what is lost beyond those that a person vouched for is in doubt by itself."""
    beyond = loss.lost - vouched
    if beyond <= 0:
        return None
    rest = loss.points - vouched
    return hold_reason(points=rest, gone=beyond, absent=min(beyond, loss.absent), deleted_lately=0, fraction=fraction)
