"""One folder against its part of the collection: what is known, what differs, what is in doubt.

An event says where to look, the folder says what is true, the ledger says what the collection holds.
Looking never writes: it fills `pending` and `deletes`, and the mirror works them off.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final

from clipwatch.clock import Clock, Moment
from clipwatch.config import LimitsConfig, WatchConfig
from clipwatch.errors import FolderUnavailable, LockHeld, OwnedElsewhere, RejectReason
from clipwatch.folder.files import Files
from clipwatch.folder.ignored import add_types, most_common, other_picture
from clipwatch.folder.mounts import silent_file_system
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules, rules_digest
from clipwatch.folder.scan import Absence, Listing, look, walk
from clipwatch.folder.watch import POLL_SECONDS
from clipwatch.mirror.contents import ContentIndex
from clipwatch.mirror.deletes import Deletes, Gone
from clipwatch.mirror.holds import Holding, Kind
from clipwatch.mirror.known_files import KnownFiles, still_there
from clipwatch.mirror.ledger import Ledger
from clipwatch.mirror.mounts import Mounts, sentence
from clipwatch.mirror.notebook import Notebook, Rejection
from clipwatch.mirror.pending import OnTheWay
from clipwatch.mirror.pipeline import Mismatched, Rejected, Stored
from clipwatch.mirror.plan import (
    KEEPS_ITS_POINT,
    RETRY_CRASHED_SECONDS,
    Verdict,
    cut_to_first,
    differs_in_ctime_alone,
    may_have_healed,
    reason_for,
)
from clipwatch.mirror.rejections import Rejections
from clipwatch.mirror.schedule import SCAN_SHARE, ScanSchedule
from clipwatch.mirror.trees import Trees
from clipwatch.mirror.unmet import Judged, judge
from clipwatch.mirror.worklist import WorkList
from clipwatch.records import Candidate, FileStat, Signature, path_text, point_uuid

RETRY_FOLDER_SECONDS: Final = 2.0
"""How often an absent folder is tried again."""

ASK_OWNER_SECONDS: Final = 30.0
"""How often a folder whose points are another's is asked for again."""

LINKED_TURNS: Final = 720
"""A file with several names that differs from its point in ctime alone is read in one of so many scans: within 30 days
at one scan an hour. See docs/decisions/0007."""

COUNTED_PENDING: Final = 10_000
"""With more files pending, the number of images is what the last look saw: counting would take too long."""


@dataclass(slots=True)
class LookCounts:
    """What one complete look saw."""

    images: int = 0
    """Files by their names, and image names that are no files."""
    undecodable: int = 0
    """Of *images*: known to hold a picture in a format that cannot be decoded here."""
    ignored: dict[str, int] = field(default_factory=dict)
    """How many entries were passed over, by type (see `folder.ignored`)."""
    differing: int = 0
    unseen: int = 0
    unreadable: dict[bytes, str] = field(default_factory=dict)
    linked: dict[int, bytes] = field(default_factory=dict)
    """Where followed links lead to another file system: by device, one path of each."""


class FolderMirror:
    """All that is held in memory about one watch table. Owned by one thread."""

    def __init__(
        self,
        watch: WatchConfig,
        *,
        limits: LimitsConfig,
        notebook: Notebook,
        model: str,
        clock: Clock,
        logger: Any,
        contents: ContentIndex,
        on_the_way: OnTheWay,
        lock_fallback: Callable[[], Any],
    ) -> None:
        self.watch = watch
        self.name = watch.name
        self.rules = FileRules.from_config(watch)
        self._rules_digest, self._rules_before = rules_digest(watch), notebook.rules(watch.name)
        self.root = Root(watch)
        self.work = WorkList(watch.settle_seconds, on_the_way)
        self.rebuild_hold = Holding(watch.name, Kind.REBUILD, limits=limits, notebook=notebook, clock=clock)
        """The points that the new collection of a rebuild lacks."""
        self.deletes = Deletes(
            folder=watch.name,
            holding=Holding(watch.name, Kind.DELETES, limits=limits, notebook=notebook, clock=clock),
            content_points=contents.points,
            logger=logger,
        )
        self._known = KnownFiles(watch.name, notebook)
        self.mounts = Mounts(watch, self.root.path, notebook=notebook, logger=logger)
        self._trees = Trees(self.root, self.rules, share=SCAN_SHARE, clock=clock)
        self._rejections = Rejections(watch.name, notebook=notebook, clock=clock, logger=logger)
        self.rejected: Mapping[bytes, Rejection] = self._rejections.by_path
        self._contents = contents
        self._ledger: Ledger | None = None
        self.loading = False
        self.available = False
        self.trouble = ""
        self.refused: OwnedElsewhere | None = None
        """Why the folder is stopped: its points are another's."""
        self.owner_due = 0.0
        """The monotonic moment at which to ask whether they still are."""
        self.counts = LookCounts()
        self.scans = ScanSchedule()
        self.patient = False
        """Whether a lock that another process holds is waited for, rather than an end from the start."""
        self._model, self._clock, self._logger, self._notebook = model, clock, logger, notebook
        self._lock_fallback = lock_fallback
        self._stop = threading.Event()
        self.watched = False
        """Whether the kernel tells of every change made by a path of the folder; set by whoever watches it."""
        self._trusting = False
        """Whether the scan under way leaves files unread that differ in ctime alone."""
        self._turn = 0
        self._look: Iterator[None] | None = None
        self._try_again = 0.0
        self._identity = (0, 0)
        self._unlooked = True
        """No look has begun since the folder was found: what is in it may be another folder's."""
        self.unproven: list[bytes] = []
        """Ids that the last look did not meet and whose paths the store has yet to tell."""
        self.scan_began: Moment = clock.moment()
        """When the last scan began."""
        self.last_look_seconds = 0.0
        self.last_look_finished: float | None = None
        self.scans.ask("start")

    def take_over(self, before: FolderMirror) -> None:
        """Go on for *before*, the same name under other settings: what it believes and has in hand is kept.

        All else is found out by a look, which also keeps the promises of looks that were asked of *before*.
        """
        self.work.take_over(before.work)
        self.ledger = before.ledger
        self.scans.take_over(before.scans)
        # With the ledger the owner is asked for.
        self.scans.ledger_doubted = (before.watch.path, before.watch.owner) != (self.watch.path, self.watch.owner)
        for holding, former in zip(self.holdings, before.holdings, strict=True):
            holding.take_over(former)

    @property
    def ledger(self) -> Ledger | None:
        """What the collection is believed to hold of this folder; None until that was read."""
        return self._ledger

    @ledger.setter
    def ledger(self, ledger: Ledger | None) -> None:
        self._ledger = ledger
        self._contents.publish(self.name, ledger)

    # -- being there -------------------------------------------------------------------------------

    def step_root(self, now: float) -> bool:
        """Find the folder again where it was away; whether it has just been found."""
        if self.available or self.refused is not None or now < self._try_again:
            return False
        try:
            self.root.open()
            self.root.lock(self._lock_fallback())
        except (FolderUnavailable, LockHeld) as error:
            if isinstance(error, LockHeld) and self.scans.done == 0 and not self.patient:
                raise
            self.lose(error.sentence())
            return False
        self.available, self.trouble, self._unlooked = True, "", True
        self._identity = self.root.identity
        self._logger.info("folder.available", folder=self.name, path=self.watch.path)
        self.scans.ask("folder available")
        return True

    def lose(self, sentence: str) -> None:
        """The folder cannot be trusted now: nothing about it is concluded until it is back."""
        if self.trouble != sentence:
            self._logger.warning("folder.unavailable", folder=self.name, reason=sentence)
        self.available, self.trouble = False, sentence
        self._try_again = self._clock.monotonic() + RETRY_FOLDER_SECONDS
        self._look = None
        self._trees.clear()
        self.unproven = []
        self.work.clear()
        self.deletes.clear()

    @property
    def _rules_changed(self) -> bool:
        """Whether the rules are others than when nothing was missing last, as far as is known."""
        return self._rules_before not in ("", self._rules_digest)

    def nothing_is_missing(self) -> None:
        """After a complete scan: each point has its file under the present rules."""
        if self._rules_before != self._rules_digest:
            self._rules_before = self._rules_digest
            self._notebook.note_rules(self.name, self._rules_digest)

    @property
    def holdings(self) -> tuple[Holding, ...]:
        """What may be held of this folder: its deletes, and the end of a rebuild."""
        return self.deletes.holding, self.rebuild_hold

    def _note_known_files(self) -> None:
        """Files without a point prove later that the folder is the same one, unless a loss is open already."""
        if self.deletes.holding.points_before is None:
            rejected = ((path, rejection.signature) for path, rejection in self.rejected.items())
            self._known.note(chain(self.work.signatures(), rejected))

    def kept(self) -> int:
        """How many of the files without a point that were known before any loss are still there."""
        follow = self.watch.follow_symlinks
        return still_there(
            self._known.signatures, lambda path: look(self.root, self.rules, path, follow_symlinks=follow)
        )

    def refuse(self, error: OwnedElsewhere) -> None:
        """The folder's points are another's: nothing is done for it until they no longer are."""
        if self.refused is None:
            self._logger.error("folder.owned_elsewhere", folder=self.name, reason=error.message, hint=error.hint)
        self.refused, self.trouble, self.ledger = error, error.sentence(), None
        self.lose(self.trouble)
        for holding in self.holdings:
            holding.withdraw()
        self.owner_due = self._clock.monotonic() + ASK_OWNER_SECONDS

    def allow(self) -> None:
        """The points are ours now: the folder is found again."""
        self.refused, self.trouble, self._try_again = None, "", 0.0

    def check_root(self) -> bool:
        """Whether the folder is still the one that was opened."""
        try:
            self.root.check(self._identity)
        except FolderUnavailable as error:
            self.lose(error.sentence())
            return False
        return self.available

    # -- looks -------------------------------------------------------------------------------------------

    @property
    def looking(self) -> bool:
        """Whether a look is asked for or under way, or what it found is not yet accounted for."""
        return self._look is not None or self.scans.asked > self.scans.done or bool(self._trees)

    @property
    def readable(self) -> bool:
        """Whether files may be taken now."""
        return self.available and self.ledger is not None and not self._unlooked

    @property
    def needs_ledger(self) -> bool:
        """Whether the ledger must be read before the next look."""
        if not self.available or self.loading:
            return False
        return self.ledger is None or (self.scans.ledger_doubted and self._look is None)

    def begin_ledger(self) -> None:
        """The ledger is read from here on: what is doubted now is settled by that, what is doubted later is not."""
        self.ledger, self.loading, self.scans.ledger_doubted = None, True, False

    def take_ledger(self, ledger: Ledger) -> None:
        """A fresh belief: whatever was deduced from the old one is deduced again."""
        self.ledger, self.loading = ledger, False
        self.unproven = []
        self.deletes.clear()
        if not self.scans.is_asked:
            self.scans.ask("collection read")

    def next_moment(self, now: float, *, taking: bool, backlog: bool) -> float | None:
        """The earliest monotonic moment at which this folder wants a step.

        *taking*: settled files can be taken, and with *backlog* not only fresh ones.
        """
        if self.refused is not None:
            return max(self.owner_due, now + RETRY_FOLDER_SECONDS)
        if not self.available:
            return self._try_again
        moments = self.scans.moments()
        if self.ledger is not None and not self.loading and not self.unproven:
            if taking:
                moments.append(self.work.pending.next_ready(backlog=backlog))
            if self.scans.may_begin(math.inf):
                moments.append(self.scans.allowed_at)
            moments.append(self._trees.next_moment())
            if self.readable:
                moments.append(self.work.next_from_aside())
        if not self.looking:
            wanted = (holding.scan_wanted_in for holding in self.holdings)
            moments += [now + seconds for seconds in wanted if seconds is not None]
        return min((moment for moment in moments if moment is not None), default=None)

    def step_look(self, now: float, *, jitter: float, until: float) -> bool:
        """Go on looking until monotonic *until*; whether there is more to see now."""
        if not self.available or self.ledger is None:
            return False
        more = self._step_full_look(now, jitter=jitter, until=until)
        return self._step_trees(now, until=until) or more

    def _step_full_look(self, now: float, *, jitter: float, until: float) -> bool:
        if self._look is None:
            if self.unproven or not self.scans.may_begin(now):
                return False
            thorough = self.scans.begin()
            self._trusting = self.watched and not thorough
            self._turn += 1
            self._look = self._full_look(jitter)
        for _ in self._look:
            if self._clock.monotonic() >= until:
                return True
        self._look = None
        return False

    def schedule(self, now: float) -> None:
        """Ask for the looks whose time has come."""
        self.scans.ask_what_is_due(now)
        if not self.looking and any(holding.scan_wanted_in == 0 for holding in self.holdings):
            # What it ends with is a delete: whose points they are is asked anew, with the ledger.
            self.scans.ask("hold ended", doubt=True, thorough=False)
        # While a scan goes on, it is not known yet whether the files of before are still there.
        waiting = len(self.work.pending) + len(self.work.in_hand)
        if self.readable and not self.looking and self._known.is_outgrown(waiting):
            self._note_known_files()
        for path in self.work.back_from_aside(now) if self.readable else ():
            self.look_at(path, now)

    def _full_look(self, jitter: float) -> Iterator[None]:
        assert self.ledger is not None  # noqa: S101 - callers look only with a ledger
        started = self._clock.monotonic()
        self.scan_began = self._clock.moment()
        self.deletes.holding.scan_begins(len(self.ledger))
        counts = LookCounts()
        # What is rejected from here on may lie where the look has already been.
        rejected, aside, met = dict(self.rejected), dict(self.work.aside), set[bytes]()
        self._logger.info("scan.started", folder=self.name, reason=self.scans.reason)
        if not self.check_root():
            self.scans.abandon()
            return
        if not self._unlooked:
            self._note_known_files()
        self._unlooked = False
        self.ledger.begin_look()
        self.mounts.look_begins()
        self.work.pending.settle(self._settle_seconds())
        if not self.watch.max_images:
            # Files in hand have no point yet that the scan could miss, and moving a directory changes no file's times:
            # each of them is checked again afterwards.
            self.work.check_again(self.work.in_hand.keys())
        try:
            for files in self._chunks(counts, met):
                counts.images += len(files)
                self._compare(files, counts, met)
                yield
        except FolderUnavailable as error:
            self.lose(error.sentence())
        if not self.check_root():
            self.scans.abandon()
            return
        self.mounts.note(counts.linked.values())
        self._forget_unmet(rejected, aside, met)
        self.unproven = self.ledger.unseen()
        counts.unseen = len(self.unproven)
        self.counts = counts
        for directory, reason in counts.unreadable.items():
            self._logger.warning(
                "directory.unreadable", folder=self.name, path=path_text(directory) or ".", reason=reason
            )
        finished = self._clock.monotonic()
        self.last_look_seconds = finished - started
        self.last_look_finished = self._clock.now().timestamp()
        period = self.watch.rescan_minutes * 60 * (1 + jitter) if self.watch.rescan_minutes else None
        self.scans.finish(finished, finished - started, period=period)
        if self._rejections.has_crashed:
            self.scans.ask_by(finished + RETRY_CRASHED_SECONDS)
        self._logger.info(
            "scan.finished",
            folder=self.name,
            images=counts.images - counts.undecodable,
            differing=counts.differing,
            missing=counts.unseen,
            rejected=self._rejections.by_reason.total(),
            ignored=sum(self.ignored.values()),
            ignored_by_type=most_common(self.ignored),
            seconds=round(self.last_look_seconds, 4),
        )
        if not self.unproven:
            self._accounted()

    def _forget_unmet(
        self, rejected: Mapping[bytes, Rejection], aside: Mapping[bytes, tuple[Signature, float]], met: set[bytes]
    ) -> None:
        """What is left of *rejected* and *aside*, as they were when the scan began, and was not met is no image now."""
        for path in rejected.keys() - met:
            if self.rejected.get(path) is rejected[path]:
                self._rejections.forget(path)
        for path in aside.keys() - met:
            if self.work.aside.get(path) is aside[path]:
                del self.work.aside[path]

    def _settle_seconds(self) -> float:
        """Where others write, the kernel may tell for seconds what was true before: until the next poll."""
        polled = self.watch.backend == "polling" or silent_file_system(self.root.descriptor, self.root.path)
        return max(self.watch.settle_seconds, POLL_SECONDS if polled else 0.0)

    def _accounted(self) -> None:
        self.scans.account()
        self.mounts.tell(self.deletes.away)
        self.deletes.look_ended()
        for holding in self.holdings:
            holding.scan_ends(self.scan_began)

    def _chunks(self, counts: LookCounts, met: set[bytes]) -> Iterator[Files]:
        """The files of the folder as the rules and `max_images` let them be, a directory or so at a time."""
        everything: dict[bytes, FileStat] = {}
        for listing in walk(self.root, self.rules, follow_symlinks=self.watch.follow_symlinks, stop=self._stop):
            self._note(listing, counts, met)
            if self.watch.max_images:
                everything.update(listing.files)
                yield Files()
            else:
                yield listing.files
        if self.watch.max_images:
            first = cut_to_first(everything, self.watch.max_images)
            self.work.keep_first(first)
            yield Files((path, stat) for path, stat in everything.items() if path in first)

    def _note(self, listing: Listing, counts: LookCounts, met: set[bytes]) -> None:
        add_types(counts.ignored, listing.ignored)
        counts.linked |= listing.linked
        if listing.unreadable:
            counts.unreadable[listing.directory] = listing.unreadable
        for path in listing.not_regular:
            counts.images += 1
            met.add(path)
            self._reject(path, b"", RejectReason.NOT_REGULAR, "It is not a regular file.")

    def _compare(self, files: Files, counts: LookCounts, met: set[bytes]) -> None:
        assert self.ledger is not None  # noqa: S101 - callers look only with a ledger
        now, seconds = self._clock.monotonic(), self._clock.now().timestamp()
        comparison = self.ledger.compare(files)
        if self.deletes.gone or self.deletes.away:
            for point in comparison.ids:
                self.deletes.back(point)
        for index in comparison.differing:
            path, stat = files[index]
            rejection = self.rejected.get(path)
            if rejection is not None:
                met.add(path)
                if rejection.signature == stat.signature.pack() and not may_have_healed(rejection, seconds):
                    counts.undecodable += bool(rejection.ignored_as)
                    self._drop_point_of_rejected(comparison.ids[index], rejection)
                    continue
            if self._is_trusted(path, stat, comparison.ids[index]):
                continue
            counts.differing += 1
            if path in self.work.aside:
                met.add(path)
            self.work.differs(path, stat, now, fresh=False)

    def _is_trusted(self, path: bytes, stat: FileStat, point: bytes) -> bool:
        """Whether a file that differs is not read now, since nothing but its number of names is likely to have changed.

        Of a name made or removed elsewhere the kernel tells nothing; of a change made by this name it does, and then
        the file is read. Each such file has its turn all the same: it may have been changed by another of its names.
        """
        if not self._trusting or stat.links < 2 or self.ledger is None:
            return False
        if path in self.work.pending or path in self.work.aside:
            return False
        turn = int.from_bytes(point[:4], "big") * LINKED_TURNS >> 32
        return turn != self._turn % LINKED_TURNS and differs_in_ctime_alone(stat.signature, self.ledger.get(point))

    def take_paths(self, ids: Sequence[bytes], paths: Mapping[bytes, bytes]) -> None:
        """The store told the *paths* of unmet *ids*: decide about each."""
        unproven = set(ids)
        self.unproven = [point for point in self.unproven if point not in unproven]
        missing = []
        for point in ids:
            path = paths.get(point)
            missing.append(Gone(point, path if path is not None and point_uuid(self.name, path) == point else None))
        for gone, judged in zip(missing, self._judge([gone.path for gone in missing]), strict=True):
            if judged.verdict is Verdict.DELETE:
                self.deletes.add(replace(gone, excluded=judged.excluded))
            elif judged.verdict is Verdict.WAIT:
                self.deletes.set_aside(gone.id, judged.mount)
            else:
                self.deletes.away.pop(gone.id, None)
        if not self.unproven:
            self._accounted()

    def _judge(self, paths: Sequence[bytes | None]) -> list[Judged]:
        return judge(
            self.root,
            self.rules,
            self.watch,
            paths,
            unreadable=self.counts.unreadable,
            unmounted=self.mounts.gone,
            rules_changed=self._rules_changed,
        )

    # -- single paths ------------------------------------------------------------------------------------

    def look_at(self, path: bytes, now: float, *, removed: bool = False) -> None:
        """An event named this path. *removed*: the kernel reported that it was deleted or moved away."""
        if self.ledger is None or not self.readable:
            self.scans.ask("events while away")
            return
        if not self.rules.admits(path):
            return
        if self.watch.max_images:
            self.scans.ask("events")
            return
        found = look(self.root, self.rules, path, follow_symlinks=self.watch.follow_symlinks)
        point = point_uuid(self.name, path)
        if isinstance(found, FileStat):
            self.deletes.back(point)
            self._look_at_file(path, found, point, now)
        elif found is Absence.UNREADABLE:
            self.scans.thorough = True
            return
        elif found is Absence.NOT_REGULAR:
            self._reject(path, b"", RejectReason.NOT_REGULAR, "It is not a regular file.")
        else:
            self.work.forget(path)
            self.work.check_again((path,))
            self._rejections.forget(path)
            if self.ledger.get(point) is None or not self.check_root():
                return
            mount = self.mounts.gone_over(path)
            if mount is None:
                self.deletes.add(Gone(point, path, witnessed=removed), len(self.ledger))
            else:
                self.deletes.set_aside(point, mount)

    @property
    def restless(self) -> list[bytes]:
        """Pending files that have been changing for so long that nothing waits for them any more."""
        return self.work.restless(self._clock.monotonic())

    def _look_at_file(self, path: bytes, stat: FileStat, point: bytes, now: float) -> None:
        assert self.ledger is not None  # noqa: S101 - callers look only with a ledger
        rejection = self.rejected.get(path)
        if rejection is not None and rejection.signature == stat.signature.pack():
            self.work.forget(path)
            return
        if reason_for(stat.signature, self.ledger.get(point)) is None and path not in self.work.in_hand:
            self.work.forget(path)
        else:
            self.work.differs(path, stat, now, fresh=True)

    def look_below(self, directory: bytes) -> None:
        """An event named a directory: what is in it may be new, and what was in it may be gone."""
        # By which path a linked directory is entered, and which images are the first, only a whole look can tell.
        if self.readable and not (self.watch.max_images or self.watch.follow_symlinks):
            self._trees.add(directory)
        self.scans.ask("directory changed", thorough=not self._trees)

    def _step_trees(self, now: float, *, until: float) -> bool:
        if not self._trees or not self.readable:
            return False
        try:
            return self._trees.step(now, until, self._take_listing)
        except FolderUnavailable as error:
            self.lose(error.sentence())
            return False

    def _take_listing(self, listing: Listing) -> None:
        now = self._clock.monotonic()
        for path, stat in listing.files:
            self._look_at_file(path, stat, point_uuid(self.name, path), now)

    def candidate(self, path: bytes, now: float) -> Candidate | None:
        """A settled path as a candidate in hand, after one more look; None where there is nothing to do now."""
        assert self.ledger is not None  # noqa: S101 - callers look only with a ledger
        expected = self.work.pending.signature(path)
        found = look(self.root, self.rules, path, follow_symlinks=self.watch.follow_symlinks)
        if not isinstance(found, FileStat):
            self.work.pending.forget(path)
            self.look_at(path, now)
            return None
        if found.signature != expected:
            self.work.changed(path, found, now)
            return None
        reason = reason_for(found.signature, self.ledger.get(point_uuid(self.name, path)))
        if reason is None:
            self.work.forget(path)
            return None
        candidate = Candidate(self.name, path, found, reason)
        self.work.take(candidate)
        return candidate

    # -- outcomes --------------------------------------------------------------------------------------------

    def _let_go(self, candidate: Candidate, now: float) -> None:
        if self.work.leave(candidate):
            self.look_at(candidate.path, now)

    def stored(self, outcome: Stored, now: float) -> None:
        """The collection holds the candidate's point."""
        self._rejections.forget(outcome.candidate.path)
        self.work.is_settled(outcome.candidate.path)
        if self.ledger is not None:
            self.ledger.put(outcome.row)
        self._let_go(outcome.candidate, now)

    def reject(self, outcome: Rejected, now: float) -> None:
        """The candidate cannot have a point as it is."""
        candidate = outcome.candidate
        ignored_as = other_picture(candidate.path, outcome.other_format)
        signature = candidate.stat.signature.pack()
        self._reject(candidate.path, signature, outcome.reason, outcome.message, ignored_as)
        self._let_go(candidate, now)

    def _reject(self, path: bytes, signature: bytes, reason: RejectReason, message: str, ignored_as: str = "") -> None:
        self.work.is_settled(path)
        if reason is RejectReason.CRASHED:
            self.scans.ask_by(self._clock.monotonic() + RETRY_CRASHED_SECONDS)
        rejection = self._rejections.add(path, signature, reason, message, ignored_as)
        if rejection is not None:
            self._drop_point_of_rejected(point_uuid(self.name, path), rejection)

    def _drop_point_of_rejected(self, point: bytes, rejection: Rejection) -> None:
        """A point made of what the file held before is not of its present content."""
        if self.ledger is not None and self.ledger.get(point) is not None and rejection.reason not in KEEPS_ITS_POINT:
            self.deletes.add(Gone(point, rejection.path, rejected=True), len(self.ledger))

    def again(self, candidate: Candidate, now: float) -> None:
        """The candidate changed or went while it was read: look at it again."""
        self.work.moved_on(candidate, now)
        self._let_go(candidate, now)

    def learned(self, outcome: Mismatched, now: float) -> None:
        """The store took the candidate's point and holds something else: that is what is believed from now on.

        One that the pipeline does not keep was believed to be there, and was not: others may be missing too.
        """
        candidate = outcome.candidate
        if self.ledger is not None and outcome.row is not None:
            self.ledger.put(outcome.row)
        elif self.ledger is not None:
            self.ledger.remove(point_uuid(self.name, candidate.path))
        if not outcome.waiting:
            self.scans.doubt("a point is not there", now)
            self.again(candidate, now)

    def has_moved_on(self, candidate: Candidate) -> bool:
        """Whether the file of a *candidate* that waits in the pipeline is another one by now, or gone."""
        if not self.work.must_check_again(candidate.path) or not self.available:
            return False
        if self.watch.max_images:
            return True  # Whether it is among the first is found out by a scan.
        found = look(self.root, self.rules, candidate.path, follow_symlinks=self.watch.follow_symlinks)
        if isinstance(found, FileStat) and found.signature == candidate.stat.signature:
            self.work.is_unchanged(candidate.path)
            return False
        return True

    def postpone(self, candidate: Candidate, now: float) -> None:
        """The store would not take it now."""
        self.work.pending.observe(candidate.path, candidate.stat.signature, now, fresh=False)
        self._let_go(candidate, now)

    def put_aside(self, candidate: Candidate, deaths: int, now: float, seconds: float) -> None:
        """Leave the candidate alone for so many *seconds*, as long as it does not change."""
        self.work.put_aside(candidate, now + seconds)
        self._logger.warning(
            "image.put_aside",
            folder=self.name,
            path=path_text(candidate.path),
            deaths=deaths,
            pause_seconds=round(seconds, 1),
            message=f"The program, or a decoder, was ended {deaths} times while it worked on this file alone.",
        )
        self._let_go(candidate, now)

    def proven(self, gone: Sequence[Gone], now: float) -> list[Gone]:
        """Those of *gone* that are gone at this very moment; the others are looked at again."""
        if not self.check_root():
            return []
        proven: list[Gone] = []
        for item, judged in zip(gone, self._judge([item.path for item in gone]), strict=True):
            is_gone = item.path in self.rejected if item.rejected else judged.verdict is Verdict.DELETE
            if is_gone or item.path is None:
                proven.append(item)
            else:
                self.deletes.back(item.id)
                self.look_at(item.path, now)
        return proven

    def forget_points(self, gone: Sequence[Gone], lost: int, now: float) -> None:
        """The store deleted them; a file that came back while it did is looked at again."""
        for item in gone:
            if self.ledger is not None:
                self.ledger.remove(item.id)
        self.deletes.done(gone, lost)
        for item in gone if self.available else ():
            if item.path is not None and not item.rejected and self._is_file(item.path):
                self.look_at(item.path, now)

    def _is_file(self, path: bytes) -> bool:
        return isinstance(look(self.root, self.rules, path, follow_symlinks=self.watch.follow_symlinks), FileStat)

    # -- telling ------------------------------------------------------------------------------------------------

    @property
    def points(self) -> int:
        """Points believed to be in the collection."""
        return len(self.ledger) if self.ledger is not None else 0

    @property
    def rejected_images(self) -> int:
        """Images that have no point because they were rejected."""
        kept = sum(self._has_point(path) for path in self._rejections.keeping)
        return len(self.rejected) - kept - self.undecodable.total()

    @property
    def rejected_by_reason(self) -> Counter[str]:
        """The same, and those whose point is kept, by reason."""
        return self._rejections.by_reason

    @property
    def undecodable(self) -> Counter[str]:
        """How many files hold a picture in a format that cannot be decoded here, by type; they count as ignored."""
        return self._rejections.ignored

    @property
    def ignored(self) -> dict[str, int]:
        """How many entries of the folder are passed over, by type: by their name at the last scan, or by content."""
        total = dict(self.counts.ignored)
        add_types(total, self.undecodable)
        return total

    @property
    def images(self) -> int:
        """Images believed to be in the folder: with a point that is not gone, pending without one, or rejected."""
        if self.ledger is None or len(self.work.pending) > COUNTED_PENDING:
            return max(0, self.counts.images - self.undecodable.total())
        unpointed = sum(path not in self.rejected and not self._has_point(path) for path in self.work)
        there = len(self.ledger) - len(self.deletes.gone) - len(self.deletes.away)
        return there + unpointed + self.rejected_images

    @property
    def aside_text(self) -> str:
        """A sentence about the files that are put aside; "" where none is."""
        if not self.work.aside:
            return ""
        until, path = min((until, path) for path, (_, until) in self.work.aside.items())
        seconds = max(0.0, until - self._clock.monotonic())
        return (
            f"{len(self.work.aside)} images in folder {self.name} are put aside, since the program or a decoder was "
            f"ended while it worked on each alone; {path_text(path)} is tried again in {seconds:.0f} s."
        )

    def _has_point(self, path: bytes) -> bool:
        point = point_uuid(self.name, path)
        if self.ledger is None or point in self.deletes.gone or point in self.deletes.away:
            return False
        return self.ledger.get(point) is not None

    # -- what is held ------------------------------------------------------------------------------------------

    @property
    def in_doubt(self) -> bool:
        """Whether deletes wait for a later scan, for a disk, or for a person."""
        return self.deletes.hold is not None or bool(self.mounts.waiting)

    @property
    def hold_text(self) -> str:
        """What the deletes that are held wait for, for people."""
        return "; ".join(text for text in (self.deletes.holding.text, sentence(self.mounts.waiting)) if text)

    def confirm(self) -> bool:
        """A person says that what is held is really gone: as much as was told, and no more. Whether anything was."""
        held = [holding for holding in self.holdings if holding.hold is not None]
        was_held = bool(held or self.mounts.waiting)
        for holding in held:
            holding.confirm()
        if away := self.mounts.give_up():
            self.deletes.holding.vouch(away)
        return was_held

    def close(self) -> None:
        """Let go of the folder and its lock; what is in hand goes on."""
        self._stop.set()
        self.available = False
        self.unproven = []
        self.work.pending.clear()
        for holding in self.holdings:
            holding.close()
        self.root.close()

    def disown(self) -> None:
        """What is in hand comes back to nobody."""
        self.work.disown()
        self._contents.publish(self.name, None)
