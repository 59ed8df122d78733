"""Decode workers behind a queue: opened file in, pixels or a rejection out; a bad file costs itself alone."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from clipwatch.config import ImageConfig, LimitsConfig
from clipwatch.deaths import grown, oom_kills
from clipwatch.errors import DecoderKilled, DecodeUnavailable, FileNotReady, FileRejected, RejectReason
from clipwatch.image import protocol
from clipwatch.image.container import OTHER_PICTURES
from clipwatch.image.preprocess import Recipe
from clipwatch.image.process import WorkerLost, WorkerProcess, signal_name
from clipwatch.image.protocol import Answer, Kind
from clipwatch.records import DecodedImage, KnownContent, OpenedFile, Preprocessing, file_stat

Outcome = DecodedImage | KnownContent
_Job = tuple[OpenedFile | None, Future[Any]]
_FIRST, _IN_TURN, _LAST = range(3)

_LONGEST_PAUSE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """What every worker is told: how to make pixels, and what one picture may cost."""

    preprocessing: Preprocessing
    exact_decode: bool
    background: str
    file_bytes: int
    megapixels: float
    seconds: float
    memory_bytes: int

    @classmethod
    def from_config(cls, preprocessing: Preprocessing, image: ImageConfig, limits: LimitsConfig) -> DecodeSettings:
        """Raises `ConfigError` for a background that is no colour."""
        settings = cls(
            preprocessing=preprocessing,
            exact_decode=image.exact_decode,
            background=image.background,
            file_bytes=limits.file_bytes,
            megapixels=limits.image_megapixels,
            seconds=limits.decode_seconds,
            memory_bytes=int(limits.decode_memory_megabytes * 2**20),
        )
        settings.recipe()
        return settings

    def recipe(self) -> Recipe:
        return Recipe.of(
            self.preprocessing,
            exact=self.exact_decode,
            background=self.background,
            megapixels=self.megapixels,
            memory_bytes=self.memory_bytes,
        )


class DecodePool:
    """Up to *workers* processes, started when work first needs them, each fed by a thread of this one.

    *known* tells whether a content hash already has a vector; it is called from those threads, and what it raises goes
    to the future. So do `FileRejected` and `FileNotReady` (as `DecodeUnavailable` when no worker can be started, as
    `DecoderKilled` when the worker was killed and the file is not to blame).
    """

    def __init__(self, settings: DecodeSettings, *, workers: int, known: Callable[[str], bool], logger: Any) -> None:
        self._settings = settings
        self._recipe = settings.recipe()
        self._known = known
        self._logger = logger
        self._most = max(1, workers)
        self._jobs: queue.PriorityQueue[tuple[int, int, _Job | None]] = queue.PriorityQueue()
        self._serial = itertools.count()
        self._lock = threading.Lock()
        self._lanes: list[_Lane] = []
        self._starts = _Starts()
        self._closed = False
        self._busy = 0
        self._queued = 0
        self._worked_seconds = 0.0
        self._oom_kills = oom_kills()

    def reconfigure(self, settings: DecodeSettings) -> None:
        """Other settings from the next picture on: each worker is replaced before it takes one."""
        recipe = settings.recipe()
        with self._lock:
            self._settings, self._recipe = settings, recipe

    def submit(self, opened: OpenedFile, *, first: bool = False) -> Future[Outcome]:
        """Decode, first come first served, but *first* before all others. The descriptor is closed whatever happens."""
        return self._enqueue(opened, first=first)

    def probe(self) -> dict[str, object]:
        """The walls around a live worker, starting one if need be (see `sandbox.Walls`); raises `DecodeUnavailable`."""
        future: Future[dict[str, object]] = self._enqueue(None, first=True)
        return future.result()

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the workers that are alive."""
        with self._lock:
            workers = [lane.worker for lane in self._lanes]
        return tuple(worker.process.pid for worker in workers if worker is not None and worker.alive)

    @property
    def busy(self) -> int:
        """Pictures being read or decoded."""
        return self._busy

    @property
    def busy_since(self) -> float | None:
        """Since which moment of `time.monotonic` the picture that takes longest is worked on; None when idle."""
        with self._lock:
            return min((lane.since for lane in self._lanes if lane.since is not None), default=None)

    @property
    def queued(self) -> int:
        """Pictures that wait for a worker."""
        return self._queued

    @property
    def decode_seconds(self) -> float:
        """Time spent on pictures so far, summed over workers."""
        return self._worked_seconds

    def close(self, *, wait_seconds: float = 5) -> None:
        """Give back what waits, let what runs finish for *wait_seconds*, then end every worker. May be called twice."""
        with self._lock:
            self._closed = True
            lanes = tuple(self._lanes)
        with contextlib.suppress(queue.Empty):
            while True:
                *_, job = self._jobs.get_nowait()
                if job is not None:
                    with self._lock:
                        self._queued -= 1
                    _give_back(*job)
        for _ in lanes:
            self._jobs.put((_LAST, next(self._serial), None))
        deadline = time.monotonic() + wait_seconds
        for lane in lanes:
            lane.thread.join(max(0.0, deadline - time.monotonic()))
        for lane in lanes:
            if lane.thread.is_alive() and (worker := lane.worker) is not None:
                worker.process.kill()
        for lane in lanes:
            lane.thread.join(1.0)  # one that is held up in *known* ends with it

    def _enqueue(self, opened: OpenedFile | None, *, first: bool) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                _give_back(opened, future)
                return future
            self._queued += 1
            self._jobs.put((_FIRST if first else _IN_TURN, next(self._serial), (opened, future)))
            if self._busy + self._queued > len(self._lanes) < self._most:
                self._lanes.append(_Lane(self._run, f"decode-{len(self._lanes)}"))
        return future

    def _run(self, lane: _Lane) -> None:
        while (job := self._jobs.get()[-1]) is not None:
            with self._lock:
                self._queued -= 1
                self._busy += 1
            lane.since = started = time.monotonic()
            self._answer(lane, *job)
            with self._lock:
                lane.since = None
                self._busy -= 1
                self._worked_seconds += time.monotonic() - started
            del job
        if lane.worker is not None:
            lane.worker.end(linger_seconds=2.0)
            lane.worker = None

    def _answer(self, lane: _Lane, opened: OpenedFile | None, future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            _close(opened)
            return
        try:
            result = self._ready(lane)[1] if opened is None else self._decode(lane, opened)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits, whatever *known* raised
            _close(opened)
            future.set_exception(error)
        else:
            _close(opened)
            future.set_result(result)

    def _decode(self, lane: _Lane, opened: OpenedFile) -> Outcome:
        size = opened.candidate.stat.signature.size
        if size == 0:
            raise FileRejected(RejectReason.EMPTY, "The file is empty.")
        if size > self._settings.file_bytes:
            raise FileRejected(
                RejectReason.TOO_LARGE,
                f"The file has {size} bytes; {self._settings.file_bytes} are allowed.",
                hint="Raise limits.file_megabytes.",
            )
        worker, _ = self._ready(lane)
        worker.restart_clock(self._settings.seconds)
        try:
            outcome = self._converse(worker, opened)
        except WorkerLost as lost:
            lane.worker = None
            if self._closed:
                raise FileNotReady("The decoder was shut down.") from lost
            if lost.killed_from_outside:
                raise self._killed(lost.status or 0) from lost
            raise lost.rejection(self._settings.seconds) from lost
        finally:
            if worker.resident_bytes > self._settings.memory_bytes // 2:
                self._logger.info("decode.worker_replaced", pid=worker.process.pid, bytes=worker.resident_bytes)
                worker.end(linger_seconds=2.0)
        return outcome

    def _killed(self, status: int) -> DecoderKilled:
        with self._lock:
            before, self._oom_kills = self._oom_kills, oom_kills()
            group = grown(before, self._oom_kills)
        by = f"the kernel for want of memory (control group {group})" if group else "somebody else"
        return DecoderKilled(f"Its decoder was ended with {signal_name(-status)} by {by}.")

    def _converse(self, worker: WorkerProcess, opened: OpenedFile) -> Outcome:
        answer = worker.hash(opened.descriptor, opened.candidate.stat.signature.size)
        if answer.kind == Kind.REJECTED:
            # what the worker made of bytes that were changing under it means nothing
            require_unchanged(opened)
            raise _rejection(answer)
        content = f"sha256:{answer.text[:32].hex()}"
        needed = False
        try:
            with worker.clock_stopped():
                require_unchanged(opened)
                if answer.number != opened.candidate.stat.signature.size:
                    raise FileNotReady("The file could not be read to its end.")
                needed = not self._known(content)
        finally:
            if not needed:
                worker.drop()
        if not needed:
            return KnownContent(opened.candidate, content)
        answer, pixels = worker.decode(self._recipe.side)
        if pixels is None:
            raise _rejection(answer)
        return DecodedImage(
            opened.candidate, content, answer.width, answer.height, protocol.FORMATS[answer.code], pixels
        )

    def _ready(self, lane: _Lane) -> tuple[WorkerProcess, dict[str, Any]]:
        """The lane's worker, a new one where there is none alive, and its walls."""
        with self._lock:
            told = self._recipe, self._settings.seconds
        if lane.worker is not None and lane.worker.alive and lane.told == told:
            return lane.worker, lane.walls
        if lane.worker is not None:
            lane.worker.end()
            lane.worker = None
        self._starts.check()
        try:
            lane.worker = WorkerProcess()
            lane.walls = lane.worker.handshake(*told)
            lane.told = told
        except OSError as error:
            lane.worker = None
            if self._closed:
                raise FileNotReady("The decoder was shut down.") from error
            self._logger.error("decode.worker_failed", error=str(error))
            raise self._starts.failed(str(error)) from error
        self._starts.succeeded()
        return lane.worker, lane.walls


class _Lane:
    """A thread and the one worker that it owns: the kernel ends a worker with the thread that started it."""

    def __init__(self, run: Callable[[_Lane], None], name: str) -> None:
        self.worker: WorkerProcess | None = None
        self.walls: dict[str, Any] = {}
        self.since: float | None = None
        self.told: tuple[Recipe, float] | None = None
        self.thread = threading.Thread(target=run, args=(self,), name=name, daemon=True)
        self.thread.start()


class _Starts:
    """Keeps a broken install from spinning: after a failed start none is tried for 1 s, then 2, 4 … 60."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._not_before = 0.0
        self._why = ""

    def check(self) -> None:
        """Raises `DecodeUnavailable` while it is too early to try again."""
        with self._lock:
            if time.monotonic() < self._not_before:
                raise self._unavailable()

    def succeeded(self) -> None:
        with self._lock:
            self._failures, self._not_before = 0, 0.0

    def failed(self, why: str) -> DecodeUnavailable:
        """What to raise; the next try waits."""
        with self._lock:
            self._not_before = time.monotonic() + min(_LONGEST_PAUSE_SECONDS, 2.0**self._failures)
            self._failures = min(self._failures + 1, 10)
            self._why = why
            return self._unavailable()

    def _unavailable(self) -> DecodeUnavailable:
        return DecodeUnavailable(f"No decode worker can be started: {self._why}.", hint="Run `clipwatch check`.")


def require_unchanged(opened: OpenedFile) -> None:
    """Raises `FileNotReady` where the open file is no longer what its stat said before it was read."""
    if file_stat(os.fstat(opened.descriptor)) != opened.candidate.stat:
        raise FileNotReady("The file changed while it was read.")


def _rejection(answer: Answer) -> FileRejected:
    known = 0 < answer.width <= len(OTHER_PICTURES)
    other = OTHER_PICTURES[answer.width - 1] if known else ""
    return FileRejected(protocol.REASONS[answer.code], answer.message(), other_format=other)


def _give_back(opened: OpenedFile | None, future: Future[Any]) -> None:
    _close(opened)
    if future.set_running_or_notify_cancel():
        future.set_exception(FileNotReady("The decoder is shutting down."))


def _close(opened: OpenedFile | None) -> None:
    if opened is not None:
        os.close(opened.descriptor)
