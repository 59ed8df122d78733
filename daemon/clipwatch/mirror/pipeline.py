"""Decode → encode → store → verify: bounded stages that overlap, owned by one thread.

Decoding happens in worker processes, inference on one lane, writing on another. Batches are built from
decoded images, never from names, so that one bad file costs one file. Each stage is full at a small,
known number of images, and a full stage stops the one before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Protocol

import numpy as np

from clipwatch.clock import Clock, rfc3339
from clipwatch.config import BatchConfig
from clipwatch.errors import (
    ClipwatchError,
    DecoderKilled,
    FileNotReady,
    FileRejected,
    RejectReason,
    StoreRejected,
    StoreUnavailable,
    UpsertRefused,
)
from clipwatch.mirror.contents import ContentIndex
from clipwatch.mirror.jobs import Lane, Mailbox
from clipwatch.mirror.pauses import pause_seconds
from clipwatch.mirror.unconfirmed import READ_ONLY_FAILURES, How, Item, Unconfirmed, difference
from clipwatch.model.contract import Encoder
from clipwatch.payload import embedded_point, refreshed_payload, reused_point, row_of
from clipwatch.records import (
    Candidate,
    DecodedImage,
    Embedding,
    KnownContent,
    LedgerRow,
    OpenedFile,
    Point,
    Vector,
    path_text,
    uuid_text,
)
from clipwatch.store.contract import Refusal, Store

LOOK_AHEAD_BATCHES: Final = 3
WRITES_AHEAD: Final = 2
"""Of points that need no inference. Those that do are one batch: it is all that a kill may have to make again."""

REUSE_POINTS_PER_WRITE: Final = 500
"""Points that need no inference travel in larger writes: a renamed tree should not take minutes."""

KNOWN_AHEAD: Final = 4 * REUSE_POINTS_PER_WRITE
"""Files without pixels in hand: they weigh little, so they do not take the room of those that have some."""


class Decoder(Protocol):
    """What the pipeline asks of `image.pool.DecodePool`."""

    def submit(self, opened: OpenedFile, *, first: bool = False) -> Future[DecodedImage | KnownContent]:
        """Read, hash and decode; FileRejected or FileNotReady on failure; closes the descriptor.

        *first*: before all that wait and are not.
        """
        ...

    @property
    def decode_seconds(self) -> float:
        """Time spent on pictures so far, summed over workers."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """The collection now holds this candidate's point, read back and found right.

    *counted*: told before as `Mismatched`.
    """

    candidate: Candidate
    row: LedgerRow
    how: How
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """This candidate has no point until it or the limits change."""

    candidate: Candidate
    reason: RejectReason
    message: str
    other_format: str = ""
    """The file holds a picture, in this format, which cannot be decoded here."""


@dataclass(frozen=True, slots=True)
class NotReady:
    """It changed or went away while it was read."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Killed:
    """Its decoder was killed, which says nothing against it."""

    candidate: Candidate
    message: str


@dataclass(frozen=True, slots=True)
class Mismatched:
    """The store took its point, and what it holds is *row*, or none; *why* says how it differs.

    *failures*: how often in a row. *waiting*: the pipeline keeps it and tries again; without, its point was believed to
    be there, only its times were to be renewed, and it must be made again.
    """

    candidate: Candidate
    why: str
    row: LedgerRow | None
    how: How
    failures: int
    waiting: bool
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Postponed:
    """The store did not take it; *error* says who must act.

    *waiting*: the pipeline keeps it and tries again; *alone*: while other points were taken.
    """

    candidate: Candidate
    error: ClipwatchError
    waiting: bool
    alone: bool = False
    failures: int = 0


Outcome = Stored | Rejected | NotReady | Killed | Mismatched | Postponed


STAGES: Final = ("decode", "encode", "store", "verify")


@dataclass(slots=True)
class StageTimes:
    """Seconds and images of each stage since the start, for metrics and for naming the bottleneck."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    images: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))

    def add(self, stage: str, seconds: float, images: int) -> None:
        """One piece of work."""
        self.seconds[stage] += seconds
        self.images[stage] += images


class Pipeline:
    """The stages after `open`. Not thread-safe: its owner submits, turns, and is told outcomes on its own thread."""

    def __init__(
        self,
        *,
        decoder: Decoder,
        encoder: Encoder,
        store: Store,
        mailbox: Mailbox,
        writer: Lane,
        clock: Clock,
        logger: Any,
        batch: BatchConfig,
        contents: ContentIndex,
        same_point: Callable[[Candidate, str], bool],
        on_outcome: Callable[[Outcome], None],
        on_harmless: Callable[[Sequence[Candidate]], None],
    ) -> None:
        """*contents*: which contents some point has a vector of.

        *same_point*: whether the candidate's own point already has this content, made by this model.
        *on_harmless*: these files are read, and what they hold is in no decoder and not in the model: whatever comes
        of them now, they can bring no process down. Not told of a file whose outcome is `Killed`.
        """
        self._decoder, self._encoder, self._store = decoder, encoder, store
        self._mailbox, self._writer = mailbox, writer
        self._inference = Lane("encode", mailbox)
        self._clock, self._logger, self._batch = clock, logger, batch
        self._contents, self._same_point = contents, same_point
        self._on_outcome, self._on_harmless = on_outcome, on_harmless
        self._decoding = 0
        self._fresh: deque[DecodedImage] = deque()
        self._decoded: deque[DecodedImage] = deque()
        self._known: deque[KnownContent] = deque()
        self._touched: deque[KnownContent] = deque()
        self._in_work: dict[str, list[DecodedImage]] = {}
        self._oldest_decoded: float | None = None
        self._oldest_known: float | None = None
        self._writing = 0
        self._unstored = False
        """Whether vectors lie here that the store has not taken: the model waits until it has."""
        self._in_flight = 0
        self._settled = False
        self._submitted: dict[tuple[str, bytes], float] = {}
        self.unconfirmed = Unconfirmed()
        """Written, or to be written, and not yet found as they should be; not in flight while they wait."""
        self.times = StageTimes()

    # -- what the owner asks -------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Candidates submitted and without an outcome, but for those in `unconfirmed`."""
        return self._in_flight

    @property
    def inference(self) -> Lane:
        """The lane that the model runs on."""
        return self._inference

    @property
    def waiting_since(self) -> float | None:
        """Since which monotonic moment the candidate that was submitted first is without an outcome."""
        return min(self._submitted.values(), default=None)

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Seconds of work since the start, by stage; decoding is summed over its workers."""
        return {**self.times.seconds, "decode": self._decoder.decode_seconds}

    @property
    def decoding(self) -> int:
        """Candidates that are being read or decoded, or wait for that."""
        return self._decoding

    @property
    def depths(self) -> dict[str, int]:
        """Images waiting in or before each stage."""
        return {
            "decode": self._decoding,
            "encode": len(self._fresh) + len(self._decoded),
            "store": self._writing + len(self._known) + len(self._touched),
        }

    def room(self, *, fresh: bool = False) -> int:
        """How many more candidates may be submitted now; of *fresh* ones, a batch more than of a backlog."""
        if self.unconfirmed.is_full:
            return 0
        pictures = self._decoding + len(self._fresh) + len(self._decoded)
        known = len(self._known) + len(self._touched)
        return max(0, min((LOOK_AHEAD_BATCHES + fresh) * self._batch.size - pictures, KNOWN_AHEAD - known))

    def wait_seconds(self) -> float | None:
        """Until a batch that is still filling goes as it is; None where nothing waits for time to pass."""
        if self._writer.queued >= WRITES_AHEAD:
            return None
        waiting = [self._oldest_known, self._oldest_decoded if self._may_infer else None]
        oldest = min((moment for moment in waiting if moment is not None), default=None)
        return None if oldest is None else self._overdue_in(oldest)

    @property
    def retry_at(self) -> float | None:
        """The monotonic moment from which `retry` has something to do; None where it has nothing, or no room."""
        return None if self._settled or self._writer.queued >= WRITES_AHEAD else self.unconfirmed.next_due()

    def _overdue_in(self, oldest: float) -> float:
        return max(0.0, oldest + self._batch.max_wait_seconds - self._clock.monotonic())

    # -- stages ----------------------------------------------------------------------------------------

    def submit(self, opened: OpenedFile, *, fresh: bool) -> None:
        """Take one file; *fresh* ones overtake a backlog at the next batch."""
        self._decoding += 1
        self._in_flight += 1
        self._submitted[opened.candidate.folder, opened.candidate.path] = self._clock.monotonic()
        future = self._decoder.submit(opened, first=fresh)
        future.add_done_callback(
            lambda done: self._mailbox.post(partial(self._take_decoded, opened.candidate, fresh, done))
        )

    def _take_decoded(self, candidate: Candidate, fresh: bool, future: Future[DecodedImage | KnownContent]) -> None:
        self._decoding -= 1
        self.times.add("decode", 0.0, 1)
        if self._settled:
            self._drop(candidate)
            return
        try:
            result = future.result()
        except FileRejected as rejected:
            self._on_harmless([candidate])
            self._finish(Rejected(candidate, rejected.reason, rejected.message, rejected.other_format))
        except DecoderKilled as killed:
            self._finish(Killed(candidate, killed.message))
        except FileNotReady:
            self._on_harmless([candidate])
            self._finish(NotReady(candidate))
        else:
            if isinstance(result, DecodedImage):
                (self._fresh if fresh else self._decoded).append(result)
                if self._oldest_decoded is None:
                    self._oldest_decoded = self._clock.monotonic()
            else:
                self._take_known(result)

    def _take_known(self, known: KnownContent) -> None:
        self._on_harmless([known.candidate])
        (self._touched if self._same_point(known.candidate, known.content) else self._known).append(known)
        if self._oldest_known is None:
            self._oldest_known = self._clock.monotonic()

    def _finish(self, outcome: Outcome) -> None:
        self._drop(outcome.candidate)
        self._on_outcome(outcome)

    def turn(self, *, more_coming: bool) -> None:
        """Start what can start. *more_coming*: files are ready that have not been submitted yet."""
        if self._settled:
            return
        filling = more_coming or self._decoding > 0
        waiting = len(self._fresh) + len(self._decoded)
        if waiting and self._may_infer and self._writer.queued < WRITES_AHEAD:
            overdue = self._oldest_decoded is not None and not self._overdue_in(self._oldest_decoded)
            if waiting >= self._batch.size or overdue or not filling:
                self._encode()
        overdue = self._oldest_known is not None and not self._overdue_in(self._oldest_known)
        for queue, start in ((self._touched, self._refresh), (self._known, self._reuse)):
            full = len(queue) >= REUSE_POINTS_PER_WRITE
            if queue and (full or overdue or not filling) and self._writer.queued < WRITES_AHEAD:
                start([queue.popleft() for _ in range(min(len(queue), REUSE_POINTS_PER_WRITE))])
        if not self._known and not self._touched:
            self._oldest_known = None

    @property
    def _may_infer(self) -> bool:
        return not self._inference.queued and not self._unstored

    def _encode(self) -> None:
        leaders: list[DecodedImage] = []
        twins: list[Item] = []
        while (self._fresh or self._decoded) and len(leaders) < self._batch.size:
            image = (self._fresh or self._decoded).popleft()
            followers = self._in_work.get(image.content)
            if followers is None and self._contents.has(image.content):
                # A copy of it was stored since this one was decoded.
                self._take_known(KnownContent(image.candidate, image.content))
            elif followers is None and (twin := self.unconfirmed.with_content(image.content)) is not None:
                twins.append(self._with_vector_of(twin, image))
            elif followers is None:
                self._in_work[image.content] = []
                leaders.append(image)
            else:
                # The same bytes are in the model or on their way to the store: their vector will do.
                self._on_harmless([image.candidate])
                followers.append(image)
        self._oldest_decoded = self._clock.monotonic() if self._fresh or self._decoded else None
        if twins:
            self._write(twins)
        if leaders:
            self._inference.run(partial(self._infer, leaders), self._take_embedded)

    def _with_vector_of(self, item: Item, image: DecodedImage) -> Item:
        """The point of a picture with the same content as *item*."""
        point = reused_point(
            image.candidate, image.content, self._encoder.fingerprint, item.point.vector, item.point.payload
        )
        return Item(image.candidate, image.content, point, How.REUSED)

    def _infer(self, images: Sequence[DecodedImage]) -> list[tuple[DecodedImage, Vector]]:
        started = self._clock.monotonic()
        matrix = self._encoder.encode([image.pixels for image in images])
        seconds = self._clock.monotonic() - started
        self.times.add("encode", seconds, len(images))
        self._logger.info("batch.embedded", images=len(images), seconds=round(seconds, 4))
        return list(zip(images, matrix, strict=True))

    def _take_embedded(self, pairs: Sequence[tuple[DecodedImage, Vector]]) -> None:
        self._on_harmless([image.candidate for image, _ in pairs])
        now = rfc3339(self._clock.now())
        items = []
        for image, vector in pairs:
            if np.isfinite(vector).all():
                embedding = Embedding(image, vector, self._encoder.fingerprint)
                items.append(Item(image.candidate, image.content, embedded_point(embedding, now), How.EMBEDDED))
            else:
                message = "The model made no usable vector of this picture."
                for refused in (image, *self._in_work.pop(image.content)):
                    self._finish(Rejected(refused.candidate, RejectReason.BAD_VECTOR, message))
        if items:
            self._unstored = True
            self._write(items)

    def _reuse(self, known: list[KnownContent]) -> None:
        self._writing += len(known)
        self._writer.run(partial(self._find_vectors, known), self._take_vectors)

    def _find_vectors(
        self, known: list[KnownContent]
    ) -> tuple[list[KnownContent], Mapping[str, tuple[Vector, dict[str, Any]]] | ClipwatchError]:
        contents = sorted({item.content for item in known})
        try:
            return known, self._store.vectors(contents, self._encoder.fingerprint)
        except (StoreUnavailable, StoreRejected) as error:
            return known, error

    def _take_vectors(
        self, answer: tuple[list[KnownContent], Mapping[str, tuple[Vector, dict[str, Any]]] | ClipwatchError]
    ) -> None:
        known, found = answer
        self._writing -= len(known)
        items = []
        for item in known:
            if isinstance(found, ClipwatchError):
                self._finish(Postponed(item.candidate, found, waiting=False))
            elif item.content in found:
                vector, source = found[item.content]
                point = reused_point(item.candidate, item.content, self._encoder.fingerprint, vector, source)
                items.append(Item(item.candidate, item.content, point, How.REUSED))
            else:
                self._contents.is_unusable(item.content)
                self._finish(NotReady(item.candidate))
        if items:
            self._write(items)

    def _refresh(self, touched: list[KnownContent]) -> None:
        items = [
            Item(
                item.candidate,
                item.content,
                Point(
                    uuid_text(row_of(item.candidate, item.content, "").id),
                    np.empty(0, np.float32),
                    dict(refreshed_payload(item.candidate.stat.signature)),
                ),
                How.REFRESHED,
            )
            for item in touched
        ]
        self._write(items)

    def _write(self, items: list[Item]) -> None:
        self._writing += len(items)
        self._writer.run(partial(self._store_and_verify, items), self._take_written)

    def _store_and_verify(self, items: list[Item], *, again: bool = False) -> list[tuple[Item, Outcome]]:
        """Write, read back, compare: only what the collection itself says is called stored.

        *again*: they were written before, and the model does not wait for them.
        """
        try:
            refusals = self._put(items, again=again)
            stored = self._clock.monotonic()
            items = [replace(item, written=True) for item in items]
            rows = self._store.rows([item.point.id for item in items])
        except UpsertRefused as error:
            # What was refused among others before is refused alone: that says nothing against the store.
            return [self._refused(item, error) if item.failures else _postponed(item, error) for item in items]
        except (StoreUnavailable, StoreRejected) as error:
            return [_postponed(item, error) for item in items]
        verified = self._clock.monotonic()
        self.times.add("verify", verified - stored, len(items))
        refused = {refusal.point.id: refusal for refusal in refusals}
        outcomes: list[tuple[Item, Outcome]] = []
        for item in items:
            refusal = refused.get(item.point.id)
            if refusal is None:
                outcomes.append(self._judged(item, rows))
            elif refusal.error is not None:
                outcomes.append(self._refused(item, refusal.error))
            else:
                message = f"The store refuses its point: {refusal.message}"
                outcomes.append((item, Rejected(item.candidate, RejectReason.STORE_REFUSED, message)))
        right = sum(isinstance(outcome, Stored) for _, outcome in outcomes)
        self._logger.info("batch.verified", points=right, seconds=round(verified - stored, 4))
        return outcomes

    @staticmethod
    def _refused(item: Item, error: StoreRejected) -> tuple[Item, Outcome]:
        """A point that was refused in words that do not tell why, while others were taken."""
        item = replace(item, failures=item.failures + 1, why=error.sentence(), written=False)
        return item, Postponed(item.candidate, error, waiting=True, alone=True, failures=item.failures)

    def _judged(self, item: Item, rows: Mapping[str, LedgerRow]) -> tuple[Item, Outcome]:
        """What became of a point that was written, by what the store holds."""
        wanted, row = row_of(item.candidate, item.content, self._encoder.fingerprint), rows.get(item.point.id)
        why = difference(wanted, row)
        if not why:
            return item, Stored(item.candidate, wanted, item.how, item.counted)
        # Where only times were to be renewed there is no vector to write again.
        others = row is None or (row.content, row.model) != (wanted.content, wanted.model)
        waiting = not (item.how is How.REFRESHED and others)
        outcome = Mismatched(item.candidate, why, row, item.how, item.failures + 1, waiting, item.counted)
        return replace(item, failures=item.failures + 1, why=why, counted=True), outcome

    def _put(self, items: Sequence[Item], *, again: bool) -> tuple[Refusal, ...]:
        started = self._clock.monotonic()
        refreshed = {item.point.id: item.point.payload for item in items if item.how is How.REFRESHED}
        points = [item.point for item in items if item.how is not How.REFRESHED]
        refusals: tuple[Refusal, ...] = ()
        try:
            if refreshed:
                self._store.refresh(refreshed)
            if points:
                refusals = self._store.upsert(points)
            seconds = self._clock.monotonic() - started
            self.times.add("store", seconds, 0 if again else len(items))
            self._logger.info("batch.stored", points=len(items) - len(refusals), seconds=round(seconds, 4))
        finally:
            if items[0].how is How.EMBEDDED and not again:
                self._mailbox.post(self._take_stored)
        return refusals

    def _take_stored(self) -> None:
        """The store has the vectors that were made last, or will not have them now."""
        self._unstored = False

    def _take_written(self, outcomes: list[tuple[Item, Outcome]]) -> None:
        self._writing -= len(outcomes)
        shared: list[Item] = []
        for item, outcome in outcomes:
            followers = self._in_work.pop(item.content, []) if item.how is How.EMBEDDED else []
            shared += [self._with_vector_of(item, image) for image in followers]
            self._contents.is_usable(item.content)
            if isinstance(outcome, (Mismatched, Postponed)) and outcome.waiting:
                self._keep(item)
                self._on_outcome(outcome)
            else:
                self.unconfirmed.done(item)
                self._finish(outcome)
        self._tell_unconfirmed(outcomes)
        if shared:
            self._write(shared)

    # -- what the store does not hold as it was written -------------------------------------------------

    def _keep(self, item: Item) -> None:
        self._in_flight -= 1
        if self._settled:
            self._submitted.pop((item.candidate.folder, item.candidate.path), None)
        else:
            self.unconfirmed.add(item, self._clock.monotonic())

    def _tell_unconfirmed(self, outcomes: Sequence[tuple[Item, Outcome]]) -> None:
        differ = [item for item, outcome in outcomes if isinstance(outcome, Mismatched)]
        refused = [item for item, outcome in outcomes if isinstance(outcome, Postponed) and outcome.alone]
        for items, tell in ((differ, self._tell_differing), (refused, self._tell_refused)):
            if items:
                tell(len(items), max(items, key=lambda item: item.failures))

    def _tell_differing(self, points: int, item: Item) -> None:
        self._logger.warning(
            "batch.mismatch",
            points=points,
            differs=item.why,
            folder=item.candidate.folder,
            path=path_text(item.candidate.path),
            failures=item.failures,
            again_seconds=pause_seconds(item.failures),
        )

    def _tell_refused(self, points: int, item: Item) -> None:
        self._logger.warning(
            "batch.refused",
            points=points,
            reason=item.why,
            folder=item.candidate.folder,
            path=path_text(item.candidate.path),
            failures=item.failures,
            again_seconds=pause_seconds(item.failures),
        )

    def retry(self, now: float) -> None:
        """Read, and where that does not help write, the points in `unconfirmed` whose time has come."""
        if self._settled or self._writer.queued >= WRITES_AHEAD:
            return
        items = self.unconfirmed.take_due(now, REUSE_POINTS_PER_WRITE)
        if items:
            self._in_flight += len(items)
            self._writing += len(items)
            self._writer.run(partial(self._confirm, items), self._take_written)

    def _confirm(self, items: list[Item]) -> list[tuple[Item, Outcome]]:
        """First read: what was only late is there now, and need not be written again."""
        written = [item for item in items if item.written]
        unwritten = [item for item in items if not item.written]
        outcomes: list[tuple[Item, Outcome]] = []
        try:
            rows = self._store.rows([item.point.id for item in written]) if written else {}
        except (StoreUnavailable, StoreRejected) as error:
            return [_postponed(item, error) for item in items]
        for item in written:
            judged, outcome = self._judged(item, rows)
            if isinstance(outcome, Mismatched) and outcome.waiting and item.failures > READ_ONLY_FAILURES:
                unwritten.append(item)
            else:
                outcomes.append((judged, outcome))
        return outcomes + (self._store_and_verify(unwritten, again=True) if unwritten else [])

    def withdraw(self, candidate: Candidate) -> None:
        """The file has changed or gone, or nobody wants its point any more: it is `NotReady`."""
        if self.unconfirmed.withdraw(candidate):
            self._in_flight += 1
            self._finish(NotReady(candidate))

    def reconfigure(self, batch: BatchConfig) -> None:
        """Batches of another size from now on."""
        self._batch = batch

    def settle(self) -> None:
        """From now on drop everything that has not reached the model; what has is still written."""
        self._settled = True
        for queue in (self._fresh, self._decoded, self._known, self._touched):
            for item in queue:
                self._drop(item.candidate)
            queue.clear()
        for waiting in list(self.unconfirmed):
            self.unconfirmed.withdraw(waiting.candidate)
            self._submitted.pop((waiting.candidate.folder, waiting.candidate.path), None)
        self._oldest_decoded = self._oldest_known = None

    def _drop(self, candidate: Candidate) -> None:
        self._in_flight -= 1
        self._submitted.pop((candidate.folder, candidate.path), None)

    @property
    def in_hand(self) -> int:
        """Images in the model or on their way to the store."""
        return self._inference.queued + self._writing

    def close(self, wait_seconds: float) -> None:
        """End the inference lane."""
        self._inference.close(wait_seconds)


def _postponed(item: Item, error: ClipwatchError) -> tuple[Item, Outcome]:
    return item, Postponed(item.candidate, error, waiting=True)
