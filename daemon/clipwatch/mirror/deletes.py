"""Points without a file, from suspicion to proof to delete, and the hold between.

For one folder. A point comes in as gone (its file is not there, or can no longer be decoded), waits while
a pending file might turn out to be it under a new name, is held while there are too many of its kind, is
proven once more, and only then deleted: store first, belief second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clipwatch.clock import rfc3339
from clipwatch.config import LimitsConfig
from clipwatch.mirror.ledger import Ledger
from clipwatch.mirror.notebook import Notebook
from clipwatch.mirror.plan import hold_reason, must_wait_for_rename


@dataclass(frozen=True, slots=True)
class Gone:
    """One point to delete. *path*: None where the payload tells none that is ours."""

    id: bytes
    path: bytes | None
    rejected: bool = False
    """The file is there, and what is in it now cannot be decoded."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Deletes in doubt since a moment (seconds since the epoch, so that it survives restarts)."""

    since: float
    reason: str


class Deletes:
    """The gone points of one folder."""

    def __init__(
        self,
        folder: str,
        *,
        limits: LimitsConfig,
        notebook: Notebook,
        logger: Any,
        content_points: Callable[[bytes], int],
        now: Callable[[], datetime],
    ) -> None:
        """*content_points*: how many points, of all folders, have the content with a key."""
        self._folder, self._limits, self._notebook, self._logger = folder, limits, notebook, logger
        self._content_points, self._now = content_points, now
        self.gone: dict[bytes, Gone] = {}
        self.busy = False
        """A delete is on its way; its answer decides what is gone next."""
        self._agreed = False
        self._living: set[bytes] = set()
        self._living_of: object = None
        self._judged: object = None
        self._changes = 0
        noted = notebook.hold(folder)
        self.hold = Hold(min(noted[0], now().timestamp()), noted[1]) if noted else None

    @property
    def held(self) -> int:
        """Deletes that wait for a later scan or `confirm`."""
        return len(self.gone) if self.hold else 0

    @property
    def hold_ends(self) -> float | None:
        """When (seconds since the epoch) a scan may agree to what is held."""
        return self.hold.since + self._limits.delete_hold_minutes * 60 if self.hold else None

    @property
    def hold_text(self) -> str:
        """The hold's reason and end, for people."""
        if self.hold is None or self.hold_ends is None:
            return ""
        ends = datetime.fromtimestamp(self.hold_ends, UTC)
        return f"{self.hold.reason}; until a scan after {rfc3339(ends)} agrees, or `clipwatch confirm`"

    def agree(self, look_started: float) -> None:
        """A complete look that began *look_started* (seconds since the epoch) still misses what is gone."""
        if self.hold_ends is not None and look_started >= self.hold_ends:
            self._agreed = True

    def confirm(self) -> None:
        """A person says that the files are really gone."""
        self._agreed = True

    def add(self, gone: Gone) -> None:
        """One more."""
        if gone.id not in self.gone:
            self._changes += 1
        self.gone[gone.id] = gone

    def back(self, point: bytes) -> None:
        """Its file is there after all."""
        if self.gone.pop(point, None) is not None:
            self._changes += 1

    def clear(self) -> None:
        """Forget every suspicion; a new look will find what is left of them."""
        self._changes += 1
        self.gone.clear()

    def due(self, ledger: Ledger, pending_sizes: Collection[int], most: int) -> list[Gone]:
        """Up to *most* that may be deleted now; judges, begins and ends holds on the way."""
        if self.busy:
            return []
        if not self.gone:
            self._end_hold()
            self._agreed = False
            return []
        state = (self._changes, ledger.puts, len(pending_sizes))
        if self.hold and not self._agreed and self._judged == state:
            return []
        self._judged = state
        renamed = self._renamed(ledger)
        if not self._judge(ledger, len(self.gone) - len(renamed)):
            # Renames lose nothing: their vectors live on under another path.
            candidates = [gone for point, gone in self.gone.items() if point in renamed]
        else:
            candidates = list(self.gone.values())
        due: list[Gone] = []
        for gone in candidates:
            known = ledger.get(gone.id)
            if known is None or not pending_sizes or not must_wait_for_rename(known.size, pending_sizes):
                due.append(gone)
                if len(due) == most:
                    break
        return due

    def renamed(self, ledger: Ledger, gone: Collection[Gone]) -> int:
        """How many of *gone* live on under another path."""
        all_renamed = self._renamed(ledger)
        return sum(item.id in all_renamed for item in gone)

    def _renamed(self, ledger: Ledger) -> set[bytes]:
        # Deleting takes one from both sides of the comparison below, so only additions make the answer old.
        state = (self._changes, id(ledger), ledger.puts)
        if self._living_of != state:
            self._living, self._living_of = self._find_renamed(ledger), state
        return self._living & self.gone.keys()

    def _find_renamed(self, ledger: Ledger) -> set[bytes]:
        keys: dict[bytes, bytes] = {}
        for point in self.gone:
            known = ledger.get(point)
            if known is not None and known.model == 0:
                keys[point] = known.content
        leaving = Counter(keys.values())
        living = {key for key, count in leaving.items() if self._content_points(key) > count}
        return {point for point, key in keys.items() if key in living}

    def _judge(self, ledger: Ledger, lost: int) -> bool:
        """Whether *lost* deletes may go on."""
        if self._agreed:
            self._end_hold()
            return True
        now = self._now().timestamp()
        window = self._limits.delete_hold_minutes * 60
        lately = sum(points for at, points in self._notebook.deletions(self._folder, now - window) if at <= now)
        reason = hold_reason(
            points=len(ledger) - (len(self.gone) - lost),
            gone=lost,
            deleted_lately=lately,
            fraction=self._limits.delete_fraction,
        )
        if reason is None:
            self._end_hold()
            return True
        if self.hold is None:
            self.hold = Hold(now, reason)
            self._notebook.set_hold(self._folder, now, reason)
            self._logger.warning(
                "deletes.held",
                folder=self._folder,
                points=lost,
                reason=str(reason),
                hint=f"They are carried out when a scan {self._limits.delete_hold_minutes:g} minutes from now agrees, "
                "or by `clipwatch confirm`.",
            )
        return False

    def _end_hold(self) -> None:
        if self.hold is not None:
            self.hold = None
            self._notebook.end_hold(self._folder)
            self._logger.info("deletes.released", folder=self._folder, points=len(self.gone))

    def done(self, deleted: Collection[Gone], lost: int) -> None:
        """The store no longer has them; *lost* of them were no renames."""
        for gone in deleted:
            self.gone.pop(gone.id, None)
        if lost:
            self._notebook.note_deletion(self._folder, self._now().timestamp(), lost)
