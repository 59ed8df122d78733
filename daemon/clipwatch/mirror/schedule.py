"""When a folder is scanned, and why: what was asked for, what may begin, and what is done. No clock and no file."""

from __future__ import annotations

from typing import Final

from clipwatch.mirror.pauses import pause_seconds

SCAN_SHARE: Final = 0.2
"""Scans asked for by events take at most this share of the time: the next waits four times as long as one took."""


class ScanSchedule:
    """The scans of one folder, counted. All moments are monotonic seconds."""

    def __init__(self) -> None:
        self.asked = 0
        """Scans asked for: `started` catches up with it when one begins."""
        self.started = 0
        self.done = 0
        """Complete scans whose missing points were all accounted for."""
        self.reason = ""
        """Why the next scan, or the one under way, was asked for."""
        self.thorough = True
        """Whether the next scan reads everything that differs, since a change may not have been told."""
        self.ledger_doubted = False
        """Whether the ledger is read again before the next scan begins."""
        self.doubts = 0
        """How often in a row the collection turned out to be another than was believed."""
        self.doubt_text = ""
        """What was found the last time, for people."""
        self.allowed_at = 0.0
        self._periodic_at: float | None = None
        self._doubtful_at: float | None = None

    # -- asking ------------------------------------------------------------------------------------------

    def ask(self, reason: str, *, doubt: bool = False, urgent: bool = False, thorough: bool = True) -> int:
        """Have the whole folder compared soon; the number that `done` must reach for that.

        *doubt*: the ledger is read again first. *urgent*: somebody waits for the scan. *thorough*: a change may not
        have been told, so that all that differs is read, too what differs in ctime alone.
        """
        if urgent:
            self.allowed_at = 0.0
        if not self.is_asked:
            self.asked += 1
            self.reason = reason
        self.ledger_doubted = self.ledger_doubted or doubt
        self.thorough = self.thorough or thorough
        return self.asked

    def ask_by(self, moment: float) -> None:
        """Have the next periodic scan at *moment* at the latest."""
        self._periodic_at = moment if self._periodic_at is None else min(self._periodic_at, moment)

    def doubt(self, text: str, now: float) -> None:
        """Have everything read and compared again, after a pause that grows until `is_certain`."""
        self.doubts += 1
        self.doubt_text = text
        self._doubtful_at = now + pause_seconds(self.doubts)

    def is_certain(self) -> None:
        """The store's own count is what is believed."""
        self.doubts, self.doubt_text, self._doubtful_at = 0, "", None

    def ask_what_is_due(self, now: float) -> None:
        """Ask for the scans whose time has come."""
        if self._doubtful_at is not None and now >= self._doubtful_at:
            self._doubtful_at = None
            self.ask(self.doubt_text, doubt=True)
        if self._periodic_at is not None and now >= self._periodic_at:
            self._periodic_at = None
            # Others may have changed the collection too: a periodic scan believes nothing.
            self.ask("periodic", doubt=True, thorough=False)

    @property
    def is_asked(self) -> bool:
        """Whether a scan is asked for that has not begun."""
        return self.asked > self.started

    @property
    def is_doubtful(self) -> bool:
        """Whether everything is going to be read and compared again for a doubt."""
        return self._doubtful_at is not None

    # -- scanning ----------------------------------------------------------------------------------------

    def may_begin(self, now: float) -> bool:
        """Whether a scan that is asked for may begin *now*."""
        return self.is_asked and now >= self.allowed_at and not self.ledger_doubted

    def begin(self) -> bool:
        """A scan begins; whether it is a thorough one."""
        self.started = self.asked
        thorough, self.thorough = self.thorough, False
        return thorough

    def abandon(self) -> None:
        """The folder went away under the scan: what the scan saw proves nothing."""
        self.asked, self.thorough = max(self.asked, self.started + 1), True

    def finish(self, now: float, took: float, *, period: float | None) -> None:
        """The scan saw everything, in *took* seconds; the next periodic one is due in *period* seconds."""
        self.allowed_at = now + took * (1 / SCAN_SHARE - 1)
        self._periodic_at = None if period is None else now + period

    def account(self) -> None:
        """What the scan missed is accounted for."""
        self.done = self.started

    def take_over(self, before: ScanSchedule) -> None:
        """Keep the promises of scans that were asked of *before*, by one more scan."""
        self.done, self.started, self.asked = before.done, before.started, before.asked + 1
        self.reason = "settings changed"

    def moments(self) -> list[float | None]:
        """When the folder wants a step for what is due by time."""
        return [self._periodic_at, self._doubtful_at]
