"""The owner: one thread that turns differences into points, and knows when the mirror is exact.

`step` never waits: it hears what happened, looks a little, feeds the pipeline, deletes what is proven,
and says how long nothing will need it. Whoever calls it (the daemon, `sync`, a test) does the waiting.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from clipwatch.clock import Clock
from clipwatch.config import Config, WatchConfig
from clipwatch.errors import (
    ClipwatchError,
    CollectionMissing,
    FileNotReady,
    FileRejected,
    OwnedElsewhere,
    StoreRejected,
    StoreUnavailable,
)
from clipwatch.folder.inbox import Dirty, Inbox
from clipwatch.folder.opened import open_file
from clipwatch.memory import give_back
from clipwatch.mirror.contents import ContentIndex
from clipwatch.mirror.deletes import Gone
from clipwatch.mirror.folder_mirror import FolderMirror
from clipwatch.mirror.jobs import Lane, Mailbox
from clipwatch.mirror.ledger import Ledger, content_key
from clipwatch.mirror.notebook import Notebook
from clipwatch.mirror.pauses import TRIES
from clipwatch.mirror.pending import OnTheWay
from clipwatch.mirror.pipeline import (
    Decoder,
    Killed,
    Mismatched,
    NotReady,
    Outcome,
    Pipeline,
    Postponed,
    Rejected,
    Stored,
)
from clipwatch.mirror.state import Counts, StoreState
from clipwatch.mirror.suspects import Suspects
from clipwatch.mirror.unconfirmed import How, Item
from clipwatch.model.contract import Encoder
from clipwatch.records import Candidate, LedgerRow, path_text, point_uuid, uuid_text
from clipwatch.store.contract import Store

LOOK_SLICE_SECONDS: Final = 0.02
"""A look pauses this often, so that a fresh file never waits behind a large folder."""

DELETES_PER_WRITE: Final = 500
PATHS_PER_READ: Final = 1000
T = TypeVar("T")


class Mirror:
    """Everything between the folders and the collection. Not thread-safe but for its `mailbox` and `inbox`."""

    def __init__(
        self,
        config: Config,
        *,
        store: Store,
        encoder: Encoder,
        decoder: Callable[[Callable[[str], bool]], Decoder],
        notebook: Notebook,
        inbox: Inbox,
        clock: Clock,
        logger: Any,
        lock_fallback: Callable[[str], Any],
        random_source: random.Random | None = None,
        crash_report: str = "",
        claim: Callable[[str], None] = lambda _folder: None,
    ) -> None:
        """*decoder* is given "does the collection already have this content?".

        *crash_report*: what `faulthandler` wrote of the last run's death; "" where nothing did. *claim* notes us as the
        owner of a folder's points, or raises `OwnedElsewhere`; it may wait for the store.
        """
        self.config, self.store, self.encoder = config, store, encoder
        self._clock, self._logger, self._notebook = clock, logger, notebook
        self._random = random_source or random.Random()
        self._claim = claim
        self.inbox = inbox
        self.mailbox = Mailbox(inbox.wake)
        self.writer = Lane("store", self.mailbox)
        self.counts = Counts()
        self.store_state = StoreState()
        self.stopping = False
        self.on_folder: Callable[[FolderMirror], None] = lambda _: None
        """Called when a folder is there, before it is looked at: the moment to arm a watch."""
        self.on_exact: Callable[[], None] = self.forget_unused_mounts
        """Called once after each round of looks, when every folder is there and nothing is left to do."""
        self.doubt = ""
        """Rebuild: why the finished new collection has not replaced the old one yet."""
        self._exact_looks: tuple[int, ...] = ()
        self.on_folder_gone: Callable[[str], None] = lambda _: None
        """Called with a folder's name before it is closed by `reconfigure`: the moment to disarm its watch."""
        self._ensuring = False
        self._counted: dict[str, int] = {}
        self._file_bytes = config.limits.file_bytes
        self._suspects = Suspects(notebook, clock=clock, logger=logger, crash_report=crash_report)
        self._on_the_way, self._contents = OnTheWay(), ContentIndex()
        self.failed: ClipwatchError | None = None
        """What the store said when it was given up on, or refused."""
        self.folders: dict[str, FolderMirror] = {}
        for watch in config.watch:
            self.folders[watch.name] = self._new_folder(watch, lock_fallback)
        self._lock_fallback = lock_fallback
        self.pipeline = Pipeline(
            decoder=decoder(self._contents.has),
            encoder=encoder,
            store=store,
            mailbox=self.mailbox,
            writer=self.writer,
            clock=clock,
            logger=logger,
            batch=config.batch,
            contents=self._contents,
            same_point=self._same_point,
            on_outcome=self._take_outcome,
            on_harmless=self._suspects.done,
        )

    def _new_folder(self, watch: WatchConfig, lock_fallback: Callable[[str], Any]) -> FolderMirror:
        return FolderMirror(
            watch,
            limits=self.config.limits,
            notebook=self._notebook,
            model=self.encoder.fingerprint,
            clock=self._clock,
            logger=self._logger,
            contents=self._contents,
            on_the_way=self._on_the_way,
            lock_fallback=partial(lock_fallback, watch.name),
        )

    # -- what the collection already has -----------------------------------------------------------------

    def _same_point(self, candidate: Candidate, content: str) -> bool:
        folder = self.folders.get(candidate.folder)
        ledger = folder.ledger if folder is not None else None
        known = ledger.get(point_uuid(candidate.folder, candidate.path)) if ledger is not None else None
        return known is not None and known.model == 0 and known.content == content_key(content)

    # -- one step ---------------------------------------------------------------------------------------------

    def step(self) -> float:
        """Do what can be done now; the seconds for which nothing more will need doing unless something happens."""
        # What is posted from here on sets the inbox's event again, and is never slept over.
        dirty = self.inbox.drain()
        self.mailbox.deliver()
        now = self._clock.monotonic()
        # First of all: what has been decoded meanwhile keeps the model busy while we look around.
        self._turn(now)
        self._ensure_collection(now)
        busy = False
        for folder in self.folders.values():
            if folder.step_root(now):
                self.on_folder(folder)
            folder.schedule(now)
            self._ask_owner(folder, now)
            self._load_ledger(folder)
            jitter = self._random.uniform(-0.25, 0.25)
            busy |= folder.step_look(now, jitter=jitter, until=now + LOOK_SLICE_SECONDS)
            self._prove_unseen(folder)
        self._hear(dirty, now)
        self._feed(now)
        self._turn(now)
        for folder in self.folders.values():
            self._delete(folder, now)
            self._count_exactly(folder)
        self._tell_exact(now)
        return 0.0 if busy else self._idle_seconds(now)

    def _turn(self, now: float) -> None:
        self.pipeline.turn(more_coming=self._room() > 0 and self._is_any_ready(now))

    def _idle_seconds(self, now: float) -> float:
        may_write, backlog = self._may_write(now), self._room() > 0
        taking = may_write and self._room(fresh=True) > 0
        moments = [folder.next_moment(now, taking=taking, backlog=backlog) for folder in self.folders.values()]
        if now < self.store_state.parked_until:
            moments.append(self.store_state.parked_until)
        moments.append(self.pipeline.retry_at if may_write else None)
        waits = [max(0.0, moment - now) for moment in moments if moment is not None]
        filling = self.pipeline.wait_seconds()
        return min(waits if filling is None else [*waits, filling], default=60.0)

    def _hear(self, dirty: Dirty, now: float) -> None:
        for name, reason in dirty.everywhere.items():
            if name in self.folders:
                self.folders[name].scans.ask(reason)
        for name, directories in dirty.trees.items():
            for directory in directories if name in self.folders else ():
                self.folders[name].look_below(directory)
        for name, paths in dirty.paths.items():
            for path in paths if name in self.folders else ():
                self.folders[name].look_at(path, now, removed=(name, path) in dirty.removed)

    # -- the store: collection, ledger, unmet points ---------------------------------------------------------

    def _may_write(self, now: float) -> bool:
        return self.store_state.ready and now >= self.store_state.parked_until and not self.stopping

    def _ensure_collection(self, now: float) -> None:
        if self.store_state.ready or self._ensuring or now < self.store_state.parked_until or self.stopping:
            return
        self._ensuring = True
        self.writer.run(partial(self._asked, partial(self.store.ensure, self.encoder.width)), self._take_ensured)

    @staticmethod
    def _asked(call: Callable[[], Any]) -> Any:
        """The call's answer, or the store's error as a value."""
        try:
            return call()
        except (StoreUnavailable, StoreRejected, OwnedElsewhere) as error:
            return error

    def _asked_as_owner(self, folder: FolderMirror, call: Callable[[], Any]) -> Any:
        """The same for a call that only the owner of the folder's points may make, or have believed."""

        def owned() -> Any:
            self._claim(folder.name)
            return call()

        return self._asked(owned)

    def _is_refused(self, folder: FolderMirror, answer: object) -> bool:
        """Whether another owns the folder's points; the folder is stopped then."""
        if not isinstance(answer, OwnedElsewhere):
            return False
        self.store_state.answered()
        folder.refuse(answer)
        return True

    def _ask_owner(self, folder: FolderMirror, now: float) -> None:
        """Ask again, for a folder that is stopped, whether its points are another's still."""
        if folder.refused is not None and now >= folder.owner_due and not folder.loading and self._may_write(now):
            folder.loading = True
            self.writer.run(partial(self._asked_as_owner, folder, lambda: None), partial(self._take_owner, folder))

    def _take_owner(self, folder: FolderMirror, answer: ClipwatchError | None) -> None:
        folder.loading = False
        if not self._is_refused(folder, answer) and self._is_well(answer):
            folder.allow()

    def owner_changed(self, name: str) -> None:
        """A person had us take over a folder's points: it need not wait to be asked for again."""
        if name in self.folders:
            self.folders[name].owner_due = 0.0

    def _take_ensured(self, answer: ClipwatchError | None) -> None:
        self._ensuring = False
        if self._is_well(answer):
            self.store_state.ready = True

    def _is_well(self, answer: object) -> bool:
        """Whether the store answered; what it said instead is dealt with."""
        if isinstance(answer, ClipwatchError):
            self._store_failed(answer)
            return False
        self.store_state.answered()
        return True

    def _store_failed(self, error: ClipwatchError, *, writing: bool = False) -> None:
        """A call came back without success even after its retries."""
        now = self._clock.monotonic()
        if not isinstance(error, CollectionMissing):
            self.failed = error
        elif self.store_state.ready:
            self._logger.warning("collection.missing", reason=error.sentence())
            self.store_state.lost(error, now)
            for folder in self.folders.values():
                folder.scans.ask("collection missing", doubt=True)
        if isinstance(error, StoreRejected) and self.store_state.park(error, now, writing=writing):
            self._logger.error("store.rejected", reason=error.message, hint=error.hint)

    def store_changed(self, available: bool, reason: str) -> None:
        """The store went away or came back; to be called on the owner's thread."""
        self.store_state.changed(available, reason)
        if available:
            # What others, or an answer that was lost, did meanwhile is not known: believe nothing.
            for folder in self.folders.values():
                folder.scans.ask("store recovered", doubt=True, thorough=False)

    def note_kills(self) -> None:
        """To be called once in a while: tells whose death the kernel's next one will explain."""
        self._suspects.note_kills()

    def probe_store(self) -> None:
        """Ask for a point that is none, where nothing else is asked: an outage is noticed, and its end.

        A store that refuses writes is asked to delete that point, in case nothing is left to write.
        """
        if self._may_write(self._clock.monotonic()) and not self.writer.queued:
            nothing = [uuid_text(bytes(16))]
            if self.store_state.refused:
                name = next(iter(self.folders))
                self.writer.run(partial(self._asked, partial(self.store.delete, name, nothing)), self._take_write_probe)
            else:
                self.writer.run(partial(self._asked, partial(self.store.rows, nothing)), self._take_probe)

    def _take_probe(self, answer: Mapping[str, Any] | ClipwatchError) -> None:
        self._is_well(answer)

    def _take_write_probe(self, answer: ClipwatchError | None) -> None:
        if answer is not None:
            self._store_failed(answer, writing=True)
        elif not self.pipeline.in_flight and all(self._is_quiet(folder) for folder in self.folders.values()):
            self.store_state.wrote()

    def _load_ledger(self, folder: FolderMirror) -> None:
        if self._may_write(self._clock.monotonic()) and folder.needs_ledger:
            folder.begin_ledger()
            self.writer.run(
                partial(self._asked_as_owner, folder, partial(self._read_ledger, folder.name)),
                partial(self._take_ledger, folder),
            )

    def _read_ledger(self, name: str) -> Ledger:
        started = self._clock.monotonic()
        ledger = Ledger(name, self.encoder.fingerprint)
        ledger.load(self._until_stopped(self.store.ledger(name)))
        give_back()
        self._logger.debug(
            "ledger.read", folder=name, points=len(ledger), seconds=round(self._clock.monotonic() - started, 4)
        )
        return ledger

    def _until_stopped(self, pages: Iterator[Sequence[LedgerRow]]) -> Iterator[Sequence[LedgerRow]]:
        for page in pages:
            if self.stopping:
                raise StoreUnavailable("Reading the collection was given up: the program ends.")
            yield page

    def _take_ledger(self, folder: FolderMirror, answer: Ledger | ClipwatchError) -> None:
        folder.loading = False
        if self._is_refused(folder, answer):
            return
        if self._is_well(answer) and isinstance(answer, Ledger):
            folder.take_ledger(answer)

    def _prove_unseen(self, folder: FolderMirror) -> None:
        if folder.unproven and not folder.loading and self._may_write(self._clock.monotonic()):
            folder.loading = True
            ids = folder.unproven[:PATHS_PER_READ]
            self.writer.run(
                partial(self._asked, partial(self.store.paths, [uuid_text(point) for point in ids])),
                partial(self._take_paths, folder, folder.ledger, ids),
            )

    def _take_paths(
        self,
        folder: FolderMirror,
        ledger: Ledger | None,
        ids: Sequence[bytes],
        answer: Mapping[str, bytes] | ClipwatchError,
    ) -> None:
        folder.loading = False
        if self._is_well(answer) and isinstance(answer, Mapping) and ledger is folder.ledger and folder.unproven:
            texts = {uuid_text(point): point for point in ids}
            folder.take_paths(ids, {texts[text]: path for text, path in answer.items()})

    # -- files to points ------------------------------------------------------------------------------------

    def _feed(self, now: float) -> None:
        """Submit ready files while there is room."""
        if not self._may_write(now):
            return
        self._retry_unconfirmed(now)
        self._feed_alone(now)
        for folder in self.folders.values():
            room, room_for_fresh = self._room(), self._room(fresh=True)
            if not room_for_fresh or not folder.readable:
                continue
            candidates: list[tuple[Candidate, bool]] = []
            for path, fresh in list(folder.work.pending.ready(now, room, room_for_fresh)):
                candidate = folder.candidate(path, now)
                if candidate is not None and self._may_go(folder, candidate, now, fresh=fresh):
                    candidates.append((candidate, fresh))
            self._suspects.begin([candidate for candidate, _ in candidates])
            for candidate, fresh in candidates:
                self._open(folder, candidate, now, fresh=fresh)
        self._feed_alone(now)

    def _retry_unconfirmed(self, now: float) -> None:
        for item in list(self.pipeline.unconfirmed):
            folder = self.folders.get(item.candidate.folder)
            if folder is None or folder.refused is not None or folder.has_moved_on(item.candidate):
                self.pipeline.withdraw(item.candidate)
        self.pipeline.retry(now)

    def _is_any_ready(self, now: float) -> bool:
        return any(
            folder.readable and (moment := folder.work.pending.next_ready()) is not None and moment <= now
            for folder in self.folders.values()
        )

    def _room(self, *, fresh: bool = False) -> int:
        if self._suspects.keep_others_back:
            return 0
        if self.store_state.refused:
            at_work = self.pipeline.in_flight + len(self.pipeline.unconfirmed)
            return max(0, min(self.pipeline.room(), self.config.batch.size - at_work))
        return self.pipeline.room(fresh=fresh)

    def _may_go(self, folder: FolderMirror, candidate: Candidate, now: float, *, fresh: bool) -> bool:
        """Whether it may be taken together with others; a suspect waits to be alone, or is put aside for a while."""
        deaths = self._suspects.deaths(candidate)
        if deaths is None:
            return True
        pause = self._suspects.pause_left(candidate)
        if pause:
            folder.put_aside(candidate, deaths, now, pause)
        else:
            self._suspects.wait_alone(candidate, fresh=fresh)
        return False

    def _feed_alone(self, now: float) -> None:
        while not self.pipeline.in_flight:
            following = self._suspects.next_alone(all_else_done=self._is_all_else_done())
            if following is None:
                return
            candidate, fresh = following
            folder = self.folders.get(candidate.folder)
            if folder is None:
                self._suspects.done([candidate])
            elif not folder.readable:
                self._suspects.not_tried(candidate)
                folder.postpone(candidate, now)
            else:
                self._open(folder, candidate, now, fresh=fresh)

    def _is_all_else_done(self) -> bool:
        """Whether nothing is left but suspects that wait to be tried alone."""
        if not self._suspects.waiting:
            return False
        in_hand = sum(len(folder.work.in_hand) for folder in self.folders.values()) - len(self.pipeline.unconfirmed)
        return in_hand <= self._suspects.waiting and all(
            not folder.available
            or (folder.ledger is not None and not folder.looking and len(folder.work.pending) == len(folder.restless))
            for folder in self.folders.values()
        )

    def _open(self, folder: FolderMirror, candidate: Candidate, now: float, *, fresh: bool) -> None:
        try:
            opened = open_file(
                folder.root,
                candidate,
                follow_symlinks=folder.watch.follow_symlinks,
                max_bytes=self._file_bytes,
            )
        except FileRejected as rejected:
            self._suspects.done([candidate])
            self._take_outcome(Rejected(candidate, rejected.reason, rejected.message))
        except FileNotReady:
            self._suspects.done([candidate])
            folder.again(candidate, now)
        else:
            self.pipeline.submit(opened, fresh=fresh)

    def _take_outcome(self, outcome: Outcome) -> None:
        folder = self.folders.get(outcome.candidate.folder)
        if folder is None:
            return
        now = self._clock.monotonic()
        match outcome:
            case Stored():
                folder.stored(outcome, now)
                self.store_state.wrote()
                self._count(outcome)
            case Rejected():
                folder.reject(outcome, now)
            case NotReady():
                folder.again(outcome.candidate, now)
            case Killed():
                deaths = self._suspects.killed(outcome.candidate)
                self._logger.warning(
                    "decode.killed",
                    folder=folder.name,
                    path=path_text(outcome.candidate.path),
                    deaths=deaths,
                    message=outcome.message,
                )
                folder.postpone(outcome.candidate, now)
            case Mismatched() | Postponed():
                self._take_unstored(folder, outcome, now)

    def _take_unstored(self, folder: FolderMirror, outcome: Mismatched | Postponed, now: float) -> None:
        """The point is not in the store as it should be."""
        if outcome.failures == TRIES:
            folder.work.give_up(outcome.candidate)
        if isinstance(outcome, Mismatched):
            folder.learned(outcome, now)
            if outcome.waiting:
                self._count(outcome)
            return
        if not outcome.waiting:
            folder.postpone(outcome.candidate, now)
        if not outcome.alone:
            self._store_failed(outcome.error, writing=True)

    def _count(self, outcome: Stored | Mismatched) -> None:
        """What the model or a copy made counts once it was written, found right or not."""
        if not outcome.counted:
            self.counts.embedded += outcome.how is How.EMBEDDED
            self.counts.reused += outcome.how is How.REUSED
            self.counts.refreshed += outcome.how is How.REFRESHED

    # -- deletes ----------------------------------------------------------------------------------------------

    def _delete(self, folder: FolderMirror, now: float) -> None:
        ledger = folder.ledger
        if ledger is None or not folder.available or not self._may_write(now):
            return
        if folder.unproven:
            return
        complete = not folder.looking
        due = folder.deletes.due(ledger, self._on_the_way, complete=complete, kept=folder.kept, most=DELETES_PER_WRITE)
        if complete and not folder.deletes.gone:
            folder.nothing_is_missing()
        if not due:
            return
        proven = folder.proven(due, now)
        if not proven:
            return
        renamed = folder.deletes.renamed(ledger, proven)
        folder.deletes.busy = True
        ids = [uuid_text(gone.id) for gone in proven]
        self.writer.run(
            partial(self._asked_as_owner, folder, partial(self.store.delete, folder.name, ids)),
            partial(self._take_deleted, folder, proven, renamed),
        )

    def _take_deleted(
        self, folder: FolderMirror, gone: Sequence[Gone], renamed: int, answer: ClipwatchError | None
    ) -> None:
        if isinstance(answer, ClipwatchError):
            if not self._is_refused(folder, answer):
                self._store_failed(answer, writing=True)
            folder.deletes.failed()
            return
        self.store_state.wrote()
        folder.forget_points(gone, len(gone) - renamed, self._clock.monotonic())
        self.counts.deleted += len(gone)
        if renamed:
            self._logger.info("points.renamed", folder=folder.name, points=renamed)
        if len(gone) > renamed:
            self._logger.info("points.deleted", folder=folder.name, points=len(gone) - renamed)

    # -- being exact --------------------------------------------------------------------------------------------

    def pending(self) -> int:
        """Every known difference not yet true, and paths still to be looked at; held and rejected apart."""
        return sum(
            len(folder.work.pending)
            + len(folder.work.in_hand)
            + len(folder.work.aside)
            + len(folder.unproven)
            + (0 if folder.deletes.hold else len(folder.deletes.gone))
            + (1 if folder.looking or folder.loading else 0)
            for folder in self.folders.values()
        )

    def lag_seconds(self, now: float) -> float:
        """How long the file that has waited longest for its point has stood still, or been worked on."""
        moments = [
            self.pipeline.waiting_since,
            *(folder.work.pending.waiting_since() for folder in self.folders.values()),
        ]
        return max((now - moment for moment in moments if moment is not None), default=0.0)

    def unconfirmed(self, folder: str) -> list[Item]:
        """Points of *folder* that the store does not hold as they were written, or refused without saying why."""
        return [item for item in self.pipeline.unconfirmed if item.candidate.folder == folder and item.failures]

    @property
    def quiet(self) -> bool:
        """Whether nothing is known to be left to do for folders that are there."""
        return not self.pipeline.unconfirmed and self._is_done(patient=True)

    @property
    def has_given_up(self) -> bool:
        """Whether nothing is left to do but what has failed so often that nobody should wait for it; see `TRIES`."""
        return all(item.failures >= TRIES for item in self.pipeline.unconfirmed) and self._is_done(patient=False)

    def _is_done(self, *, patient: bool) -> bool:
        return (
            self.store_state.ready
            and not self.pipeline.in_flight
            and not self.writer.queued
            and all(
                self._is_quiet(folder, patient=patient)
                and (
                    not folder.available
                    or self._counted.get(folder.name, 0) == folder.scans.done
                    or self._gives_up_on(folder, patient)
                )
                for folder in self.folders.values()
            )
        )

    def _gives_up_on(self, folder: FolderMirror, patient: bool) -> int:
        """How many points of *folder* nobody waits for."""
        return 0 if patient else len(self.unconfirmed(folder.name))

    def _is_quiet(self, folder: FolderMirror, *, patient: bool = True) -> bool:
        return not folder.available or (
            folder.ledger is not None
            and not folder.looking
            and not folder.loading
            and len(folder.work.in_hand) == self._gives_up_on(folder, patient)
            and (
                len(folder.work.pending) == len(folder.restless) or (not patient and self.pipeline.unconfirmed.is_full)
            )
            and not folder.unproven
            and (not folder.deletes.gone or folder.deletes.hold is not None)
            and (not folder.scans.is_doubtful or (not patient and folder.scans.doubts >= TRIES))
        )

    def _count_exactly(self, folder: FolderMirror) -> None:
        """After each look, once all of it is done: the store's own exact count must be what we believe."""
        if (
            folder.available
            and folder.scans.done
            and self._counted.get(folder.name) != folder.scans.done
            and self._is_quiet(folder)
            and self._may_write(self._clock.monotonic())
        ):
            self._counted[folder.name] = folder.scans.done
            self._suspects.acquit(folder.name, {*folder.work.pending, *folder.work.aside})
            folder.loading = True
            self.writer.run(
                partial(self._asked_as_owner, folder, partial(self.store.count, folder.name)),
                partial(self._take_count, folder, folder.points),
            )

    def _take_count(self, folder: FolderMirror, believed: int, answer: int | ClipwatchError) -> None:
        folder.loading = False
        if self._is_refused(folder, answer) or not self._is_well(answer):
            self._counted.pop(folder.name, None)
        elif answer != believed:
            self._logger.warning("collection.surprise", folder=folder.name, points=answer, believed=believed)
            folder.scans.doubt(f"the store counts {answer} points, not {believed}", self._clock.monotonic())
        else:
            folder.scans.is_certain()
            self._logger.info("collection.counted", folder=folder.name, points=answer, exact=True)

    def _tell_exact(self, now: float) -> None:
        looks = tuple(folder.scans.done for folder in self.folders.values())
        if (
            looks != self._exact_looks
            and self._may_write(now)
            and self.quiet
            and all(folder.available for folder in self.folders.values())
        ):
            self._exact_looks = looks
            self.on_exact()

    def forget_unused_mounts(self) -> None:
        """For when the collection that is written to is the only one: see `Mounts.forget_unused`."""
        for folder in self.folders.values():
            folder.mounts.forget_unused()

    def ask_store(self, call: Callable[[], T], then: Callable[[T], None]) -> None:
        """Have *call* made where all writes are; *then* hears its answer here, unless the store has none.

        A call that failed is the business of `on_exact` once more.
        """

        def take(answer: T | ClipwatchError) -> None:
            if self._is_well(answer) and not isinstance(answer, ClipwatchError):
                then(answer)
            else:
                self._exact_looks = ()

        self.writer.run(partial(self._asked, call), take)

    def ask_looks(self, reason: str) -> dict[str, int]:
        """Have all folders compared; for each the number its `looks` must reach."""
        self.pipeline.unconfirmed.hurry()
        return {name: folder.scans.ask(reason, doubt=True, urgent=True) for name, folder in self.folders.items()}

    def confirm(self) -> dict[str, int]:
        """A person says that what is held is really gone; a scan finds out once more what is.

        Returns for each folder with a hold the number that its `looks` must reach.
        """
        wanted = {}
        for name, folder in self.folders.items():
            if folder.confirm():
                wanted[name] = folder.scans.ask("confirmed", urgent=True)
        return wanted

    # -- other settings ------------------------------------------------------------------------------------------

    def reconfigure(self, config: Config, *, limits: str) -> None:
        """Take *config*, which has the same store, model and state; what is in hand goes on.

        *limits*: what a rejection depends on beside the file. A folder that is no longer in *config* is let go of
        and keeps its points.
        """
        before, self.config = self.config, config
        judged_anew = (before.limits, before.image) != (config.limits, config.image)
        self._notebook.judge_by(limits)
        if judged_anew:
            self._suspects.forget_deaths()
        self._file_bytes = config.limits.file_bytes
        self.pipeline.reconfigure(config.batch)
        folders: dict[str, FolderMirror] = {}
        for watch in config.watch:
            folder = self.folders.pop(watch.name, None)
            if folder is None or folder.watch != watch or judged_anew:
                folder = self._renewed(watch, folder)
            folders[watch.name] = folder
        for name, folder in self.folders.items():
            self.on_folder_gone(name)
            folder.close()
            folder.disown()
        self.folders = folders
        self._exact_looks = ()

    def _renewed(self, watch: WatchConfig, before: FolderMirror | None) -> FolderMirror:
        if before is not None:
            self.on_folder_gone(before.name)
            before.close()
        folder = self._new_folder(watch, self._lock_fallback)
        folder.patient = True
        if before is not None:
            folder.take_over(before)
        self._counted.pop(watch.name, None)
        return folder

    # -- the end ---------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take no more work; what is in the model or on its way to the store is still finished."""
        self.stopping = True
        self._suspects.end()
        self.pipeline.settle()

    @property
    def finished(self) -> bool:
        """After `stop`: nothing is in hand any more."""
        return self.pipeline.in_hand == 0 and self.writer.queued == 0

    def close(self, wait_seconds: float) -> None:
        """Let go of threads, folders and the notebook."""
        self.pipeline.close(wait_seconds)
        self.writer.close(wait_seconds)
        for folder in self.folders.values():
            folder.close()
        self._notebook.close()
