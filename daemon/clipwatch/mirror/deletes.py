"""Points without a file, from suspicion to proof to delete, and the hold between.

For one folder. A point comes in as gone (its file is not there, or can no longer be decoded), waits while
a file on its way might turn out to be it under a new name, is held while there are too many of its kind (see
`holds`), is proven once more, and only then deleted: store first, belief second.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from clipwatch.mirror.holds import Holding
from clipwatch.mirror.ledger import Known, Ledger
from clipwatch.mirror.losses import Decision, Hold, Losses
from clipwatch.mirror.pending import OnTheWay

T = TypeVar("T")

SORT_SHARE: Final = 0.05
"""While files are on their way, so much of what is gone must have news before all of it is sorted again."""


@dataclass(frozen=True, slots=True)
class Gone:
    """One point to delete. *path*: None where the payload tells none that is ours."""

    id: bytes
    path: bytes | None
    rejected: bool = False
    """The file is there, and what is in it now cannot be decoded."""
    excluded: bool = False
    """The folder's rules no longer let the file in."""
    witnessed: bool = field(default=False, compare=False)
    """A live watch on the folder reported the delete."""


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
        *,
        folder: str,
        holding: Holding,
        content_points: Callable[[Sequence[bytes]], Sequence[int]],
        logger: Any,
    ) -> None:
        """*content_points*: for each content key, how many points of all folders have such content."""
        self._folder, self._logger = folder, logger
        self.holding = holding
        self._content_points = content_points
        self.gone: dict[bytes, Gone] = {}
        self.away: dict[bytes, bytes] = {}
        """Points that are kept until something is mounted again: by id, where."""
        self.busy = False
        """A delete is on its way; its answer decides what is gone next."""
        self._known: dict[bytes, Known | None] = {}
        self._changes = 0
        self._judged: object = None
        self._progress = 0
        self._queue: deque[Gone] = deque()

    @property
    def hold(self) -> Hold | None:
        """The open hold of what is gone."""
        return self.holding.hold

    @property
    def held(self) -> int:
        """Deletes that wait for a later scan, a disk or `confirm`."""
        return len(self.away) + (len(self.gone) if self.hold else 0)

    def add(self, gone: Gone, points: int | None = None) -> None:
        """One more, of *points*; None: a look missed it."""
        self.away.pop(gone.id, None)
        if self.gone.get(gone.id) != gone:
            self.holding.is_missed(points)
            self._changes += 1
            self.gone[gone.id] = gone

    def set_aside(self, point: bytes, mount: bytes) -> None:
        """Its file lies below *mount*, where nothing is mounted now: it is not gone."""
        self.back(point)
        self.away[point] = mount

    def back(self, point: bytes) -> None:
        """Its file is there after all."""
        self.away.pop(point, None)
        if self.gone.pop(point, None) is not None:
            self._changes += 1
            self._known.pop(point, None)

    def clear(self) -> None:
        """Forget every suspicion; a new look will find what is left of them."""
        self._judged = None
        self.gone.clear()
        self.away.clear()
        self._known.clear()

    def look_ended(self) -> None:
        """What is gone is accounted for: it is sorted by what the ledger says of it now."""
        self._judged = None
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
        if deleted:
            self.holding.is_deleted(lost, len(deleted) - lost)

    def due(
        self, ledger: Ledger, on_the_way: OnTheWay, *, complete: bool, kept: Callable[[], int], most: int
    ) -> list[Gone]:
        """Up to *most* that may be deleted now; begins and ends holds on the way.

        *complete*: a scan of the whole folder is accounted for, so that what is not in `gone` is there. Until
        then a hold stays as it is: after a restart, or when the ledger is read anew, nothing is gone yet.
        *kept* counts the files without a point that were known before any loss and are still there.
        """
        if self.busy:
            return []
        if not self.gone:
            if complete:
                self._told(self.holding.nothing_is_missing)
            return []
        if self._is_out_of_date(ledger, on_the_way, complete):
            kinds = self._sort(ledger, on_the_way)
            losses = Losses(
                points=len(ledger) - len(self.away) - len(kinds.renamed),
                lost=len(kinds.lost),
                absent=sum(not gone.rejected for gone in kinds.lost),
                excluded=sum(gone.excluded for gone in kinds.lost),
                witnessed=sum(gone.witnessed for gone in (*kinds.lost, *kinds.waiting)),
                waiting=len(kinds.waiting),
                renamed=len(kinds.renamed),
                kept=kept(),
                complete=complete,
            )
            decision = self._told(partial(self.holding.judge, losses))
            self._queue = deque([*kinds.renamed, *(kinds.lost if decision is Decision.ALLOW else ())])
        return [self._queue.popleft() for _ in range(min(most, len(self._queue)))]

    def _told(self, change: Callable[[], T]) -> T:
        """Make a *change* of the hold, and log what became of it."""
        before, answer = self.hold, change()
        hold = self.hold
        if hold is not None and (before is None or before.reason != hold.reason or before.points != hold.points):
            self._logger.warning(
                "deletes.held", folder=self._folder, points=hold.points, reason=hold.reason, hint=self.holding.hint
            )
        elif before is not None and hold is None:
            self._logger.info("deletes.released", folder=self._folder, points=len(self.gone))
        return answer

    def _is_out_of_date(self, ledger: Ledger, on_the_way: OnTheWay, complete: bool) -> bool:
        """Whether the gone points must be sorted again. No delete asks for it: of a million, it would take hours."""
        judged = (complete, self.holding.is_confirmed)
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
        # A copy in another folder does not tell that somebody moved all of this one there.
        content_points = ledger.content_points if self._is_everything(ledger) else self._content_points
        living = {key for key, points in zip(contents, content_points(contents), strict=True) if points > leaving[key]}
        return {point for point, key in keys.items() if key in living}

    def _is_everything(self, ledger: Ledger) -> bool:
        """Whether no file is left of those that there were before."""
        before = len(ledger) - len(self.away)
        if self.holding.points_before is not None:
            before = min(before, self.holding.points_before)
        return len(self.gone) >= before and sum(not gone.rejected for gone in self.gone.values()) >= before

    def _known_of(self, ledger: Ledger, point: bytes) -> Known | None:
        if point not in self._known:
            self._known[point] = ledger.get(point)
        return self._known[point]

    def _sort(self, ledger: Ledger, on_the_way: OnTheWay) -> _Sorted:
        living = self._living(ledger)
        # A delete may come about while the look that misses its file goes on.
        for point in [point for point in self.gone if self._known[point] is None]:
            self.back(point)
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
