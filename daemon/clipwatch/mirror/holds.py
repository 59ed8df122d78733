"""The hold of one folder: keeps its state in the notebook, and asks `losses.judge` at the present moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from clipwatch.clock import Clock, Moment, rfc3339
from clipwatch.config import LimitsConfig
from clipwatch.mirror import losses
from clipwatch.mirror.losses import Decision, Hold, HoldReason, HoldState, Losses, Now
from clipwatch.mirror.notebook import Notebook

_RULES: Final = "extensions, ignore or another rule of the folder no longer lets these files in"
UNTIL_MOUNTED: Final = "until something is mounted there again, or `clipwatch confirm`"


class Kind(StrEnum):
    """What waits while there is a hold."""

    DELETES = "deletes"
    REBUILD = "rebuild"
    """The old collection: with it would go the points that the new one lacks."""


class Holding:
    """One folder's losses of one kind, over restarts."""

    def __init__(self, folder: str, kind: Kind, *, limits: LimitsConfig, notebook: Notebook, clock: Clock) -> None:
        self._folder, self._kind = folder, kind
        self._limits, self._notebook, self._clock = limits, notebook, clock
        noted = notebook.hold_state(folder, kind)
        self._state = self._noted = noted
        if noted.hold is not None:
            now = Now.of(clock)
            hold = replace(noted.hold, since=min(noted.hold.since, now.at)).as_of(now, limits)
            self._set(replace(noted, hold=hold), always=True)

    @property
    def hold(self) -> Hold | None:
        """The open hold."""
        return self._state.hold

    @property
    def points_before(self) -> int | None:
        """How many points there were when the first loss was seen; None where there is none."""
        return self._state.points_before

    @property
    def is_confirmed(self) -> bool:
        """Whether a scan or a person has decided about the hold."""
        return self._state.confirmed is not None

    @property
    def scan_wanted_in(self) -> float | None:
        """Seconds until a scan must begin for the hold to end."""
        return None if self.is_confirmed else self._seconds_left

    @property
    def text(self) -> str:
        """The hold's reason and end, for people; "" where there is none."""
        left = self._seconds_left
        if self.hold is None:
            return ""
        if left is None:
            return f"{self.hold.reason}; {UNTIL_MOUNTED}"
        ends = datetime.fromtimestamp(self._clock.now().timestamp() + left, UTC)
        why = f"{self.hold.reason}: {_RULES}" if self._is_by_rules else self.hold.reason
        return f"{why}; until a scan after {rfc3339(ends)} agrees, or `clipwatch confirm`"

    @property
    def hint(self) -> str:
        """What ends a hold, for the log."""
        if self.hold is not None and not self.hold.ends:
            return f"They are kept {UNTIL_MOUNTED}."
        return (f"{_RULES.capitalize()}. " if self._is_by_rules else "") + (
            f"They are carried out when a scan {self._limits.delete_hold_minutes:g} minutes from now agrees, "
            "or by `clipwatch confirm`."
        )

    @property
    def _is_by_rules(self) -> bool:
        return self.hold is not None and self.hold.reason == HoldReason.RULES_CHANGED

    @property
    def _seconds_left(self) -> float | None:
        if self.hold is None or not self.hold.ends:
            return None
        return max(0.0, losses.hold_seconds(self._limits) - self.hold.age(self._clock.moment()))

    def judge(self, loss: Losses) -> Decision:
        """Decide about *loss* now. Recent deletes are added to it from the notebook."""
        now = Now.of(self._clock)
        lately = self._notebook.deleted_lately(self._folder, now.at, now.moment, losses.hold_seconds(self._limits))
        state, decision = losses.judge(self._state, replace(loss, lost_lately=lately), now, self._limits)
        self._set(state)
        return decision

    def scan_begins(self, points: int) -> None:
        """A scan begins, and there are *points*."""
        self._set(losses.scan_begins(self._state, points))

    def scan_ends(self, began: Moment) -> None:
        """The complete scan that began at *began* is accounted for."""
        self._set(losses.scan_ends(self._state, began, self._limits))

    def is_missed(self, points: int | None) -> None:
        """One more point is gone, of *points*; None: the scan under way missed it."""
        self._set(losses.is_missed(self._state, points))

    def is_deleted(self, lost: int, renamed: int) -> None:
        """The store deleted so many that live on nowhere, and so many that live on."""
        if lost:
            now = Now.of(self._clock)
            self._notebook.note_deletion(self._folder, now.at, now.moment, lost)
        self._set(losses.is_deleted(self._state, lost, renamed))

    def confirm(self) -> None:
        """A person says that what is held is really gone."""
        self._set(losses.is_confirmed(self._state))

    def vouch(self, points: int) -> None:
        """A person says so of *points* more, which were told and not held here."""
        self._set(losses.is_vouched_for(self._state, points))

    def nothing_is_missing(self) -> None:
        """A complete scan misses nothing."""
        self._set(HoldState())

    def take_over(self, before: Holding) -> None:
        """What a person has confirmed under other settings still holds."""
        self._set(replace(self._state, confirmed=before._state.confirmed))

    def withdraw(self) -> None:
        """What a scan or a person has decided was about points that are not ours."""
        self._set(replace(self._state, confirmed=None))

    def close(self) -> None:
        """Note for how long there has been a hold: another boot goes on from there."""
        if self.hold is not None:
            self._set(replace(self._state, hold=self.hold.as_of(Now.of(self._clock), self._limits)), always=True)

    def _set(self, state: HoldState, *, always: bool = False) -> None:
        self._state = state
        if always or replace(state, confirmed=None) != self._noted:
            self._noted = replace(state, confirmed=None)
            self._notebook.set_hold_state(self._folder, self._kind, self._noted)
