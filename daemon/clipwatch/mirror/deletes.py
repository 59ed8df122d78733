"""Points without a file, from suspicion to proof to delete, and the hold between.

For one folder. A point comes in as gone (its file is not there, or can no longer be decoded), waits while
a file on its way might turn out to be it under a new name, is held while there are too many of its kind, is
proven once more, and only then deleted: store first, belief second.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from clipwatch.clock import rfc3339
from clipwatch.config import LimitsConfig
from clipwatch.mirror.ledger import Known, Ledger
from clipwatch.mirror.notebook import Hold, Notebook
from clipwatch.mirror.pending import OnTheWay
from clipwatch.mirror.plan import has_grown, hold_reason

SORT_SHARE: Final = 0.05
"""While files are on their way, so much of what is gone must have news before all of it is sorted again."""


@dataclass(frozen=True, slots=True)
class Gone:
    """One point to delete. *path*: None where the payload tells none that is ours."""

    id: bytes
    path: bytes | None
    rejected: bool = False
    """The file is there, and what is in it now cannot be decoded."""


@dataclass(slots=True)
class _Sorted:
    """What becomes of the gone points, as far as is known."""

    renamed: list[Gone]
    """Their content lives on under another path: nothing is lost with them."""
    waiting: list[Gone]
    """A file of their size is on its way."""
    lost: list[Gone]


class Deletes:
    """The gone points of one folder."""

    def __init__(
        self,
        folder: str,
        *,
        limits: LimitsConfig,
        notebook: Notebook,
        logger: Any,
        content_points: Callable[[Sequence[bytes]], Sequence[int]],
        now: Callable[[], datetime],
    ) -> None:
        """*content_points*: for each content key, how many points of all folders have such content."""
        self._folder, self._limits, self._notebook, self._logger = folder, limits, notebook, logger
        self._content_points, self._now = content_points, now
        self.gone: dict[bytes, Gone] = {}
        self.busy = False
        """A delete is on its way; its answer decides what is gone next."""
        self._agreed = self._confirmed = False
        self._known: dict[bytes, Known | None] = {}
        self._changes = 0
        self._judged: object = None
        self._progress = 0
        self._queue: deque[Gone] = deque()
        noted = notebook.hold(folder)
        self.hold = Hold(min(noted.since, now().timestamp()), noted.reason, noted.points) if noted else None

    @property
    def held(self) -> int:
        """Deletes that wait for a later scan or `confirm`."""
        return len(self.gone) if self.hold else 0

    @property
    def hold_ends(self) -> float | None:
        """When (seconds since the epoch) a scan may agree to what is held."""
        return self.hold.since + self._limits.delete_hold_minutes * 60 if self.hold else None

    @property
    def look_wanted_at(self) -> float | None:
        """When (seconds since the epoch) a look must be made for a hold to end."""
        return None if self._agreed or self._confirmed else self.hold_ends

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
        self._confirmed = True

    def add(self, gone: Gone) -> None:
        """One more."""
        if self.gone.get(gone.id) != gone:
            self._changes += 1
            self.gone[gone.id] = gone

    def back(self, point: bytes) -> None:
        """Its file is there after all."""
        if self.gone.pop(point, None) is not None:
            self._changes += 1
            self._known.pop(point, None)

    def clear(self) -> None:
        """Forget every suspicion; a new look will find what is left of them."""
        self._judged = None
        self.gone.clear()
        self._known.clear()

    def failed(self) -> None:
        """The store did not delete what was due: it is due again."""
        self.busy, self._judged = False, None

    def done(self, deleted: Collection[Gone], lost: int) -> None:
        """The store no longer has them; *lost* of them were no renames."""
        self.busy = False
        for gone in deleted:
            self.gone.pop(gone.id, None)
            self._known.pop(gone.id, None)
        if lost:
            self._notebook.note_deletion(self._folder, self._now().timestamp(), lost)

    def due(self, ledger: Ledger, on_the_way: OnTheWay, *, complete: bool, most: int) -> list[Gone]:
        """Up to *most* that may be deleted now; begins and ends holds on the way.

        *complete*: a look at the whole folder is accounted for, so that what is not in `gone` is there. Until
        then a hold stays as it is: after a restart, or when the ledger is read anew, nothing is gone yet.
        """
        if self.busy:
            return []
        if not self.gone:
            if complete:
                self._end_hold()
                self._agreed = self._confirmed = False
            return []
        if self._is_out_of_date(ledger, on_the_way, complete):
            kinds = self._sort(ledger, on_the_way)
            may_go = kinds.lost if self._judge(ledger, kinds, complete) else []
            self._queue = deque([*kinds.renamed, *may_go])
        return [self._queue.popleft() for _ in range(min(most, len(self._queue)))]

    def _is_out_of_date(self, ledger: Ledger, on_the_way: OnTheWay, complete: bool) -> bool:
        """Whether the gone points must be sorted again. No delete asks for it: of a million, it would take hours."""
        judged = (complete, self._agreed, self._confirmed)
        progress = self._changes + ledger.puts + on_the_way.departures
        news = progress - self._progress
        if judged == self._judged and (not news or (on_the_way and news < len(self.gone) * SORT_SHARE)):
            return False
        self._judged, self._progress = judged, progress
        return True

    def renamed(self, ledger: Ledger, gone: Collection[Gone]) -> int:
        """How many of *gone* live on under another path."""
        living = self._living(ledger)
        return sum(item.id in living for item in gone)

    def _living(self, ledger: Ledger) -> set[bytes]:
        keys: dict[bytes, bytes] = {}
        for point in self.gone:
            known = self._known_of(ledger, point)
            if known is not None and known.model == 0:
                keys[point] = known.content
        leaving = Counter(keys.values())
        contents = list(leaving)
        living = {
            key for key, points in zip(contents, self._content_points(contents), strict=True) if points > leaving[key]
        }
        return {point for point, key in keys.items() if key in living}

    def _known_of(self, ledger: Ledger, point: bytes) -> Known | None:
        if point not in self._known:
            self._known[point] = ledger.get(point)
        return self._known[point]

    def _sort(self, ledger: Ledger, on_the_way: OnTheWay) -> _Sorted:
        living = self._living(ledger)
        kinds = _Sorted([], [], [])
        for point, gone in self.gone.items():
            known = self._known[point]
            if point in living:
                kinds.renamed.append(gone)
            elif known is not None and known.model == 0 and known.size in on_the_way:
                # Its vector is wanted if that file is it: the point stays until the file has been read.
                kinds.waiting.append(gone)
            else:
                kinds.lost.append(gone)
        return kinds

    def _judge(self, ledger: Ledger, kinds: _Sorted, complete: bool) -> bool:
        """Whether the lost ones may be deleted."""
        if self._confirmed:
            self._end_hold()
            return True
        points, lost = len(ledger) - len(kinds.renamed), len(kinds.lost)
        now = self._now().timestamp()
        window = self._limits.delete_hold_minutes * 60
        lately = sum(deleted for at, deleted in self._notebook.deletions(self._folder, now - window) if at <= now)
        reason = hold_reason(
            points=points,
            gone=lost,
            absent=sum(not gone.rejected for gone in (*kinds.lost, *kinds.waiting)),
            deleted_lately=lately,
            fraction=self._limits.delete_fraction,
        )
        fraction = self._limits.delete_fraction
        grown = self.hold is not None and has_grown(self.hold, reason, gone=lost, points=points, fraction=fraction)
        if self._agreed and not grown:
            self._end_hold()
            return True
        if reason is None:
            # What a look has yet to find is not in the count: only a complete one ends a hold.
            if self.hold is not None and (not complete or kinds.waiting):
                return False
            self._end_hold()
            return True
        if self.hold is None or grown:
            self._begin_hold(Hold(now, str(reason), lost))
        return False

    def _begin_hold(self, hold: Hold) -> None:
        self.hold, self._agreed = hold, False
        self._notebook.set_hold(self._folder, hold)
        minutes = self._limits.delete_hold_minutes
        self._logger.warning(
            "deletes.held",
            folder=self._folder,
            points=hold.points,
            reason=hold.reason,
            hint=f"They are carried out when a scan {minutes:g} minutes from now agrees, or by `clipwatch confirm`.",
        )

    def _end_hold(self) -> None:
        if self.hold is not None:
            self.hold = None
            self._notebook.end_hold(self._folder)
            self._logger.info("deletes.released", folder=self._folder, points=len(self.gone))
