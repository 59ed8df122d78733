"""Concrete parts from settings; imports of weight happen here, when a part is first needed."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clipwatch.clock import SystemClock
from clipwatch.config import Config, is_server
from clipwatch.config_file import LoadedConfig, api_key
from clipwatch.errors import ClipwatchError, Interrupted
from clipwatch.service.state import make_state_directory, refuse_root_beside_another
from clipwatch.visible import visible

if TYPE_CHECKING:
    from clipwatch.cli.old_model import Folder, Remembered
    from clipwatch.deaths import CrashReport
    from clipwatch.image.pool import DecodePool, DecodeSettings
    from clipwatch.mirror.mirror import Mirror
    from clipwatch.mirror.notebook import NotedLosses, Rejection
    from clipwatch.model.encoder import VisionEncoder
    from clipwatch.model.text import TextEncoder
    from clipwatch.records import Preprocessing
    from clipwatch.service.answers import Answers
    from clipwatch.service.log_stream import LogStream
    from clipwatch.service.logs import LogOutput, RepeatLimiter
    from clipwatch.store.owners import Owners
    from clipwatch.store.rebuild import Rebuild
    from clipwatch.store.retry import RetryingStore

NOTEBOOK: Final = "notebook.sqlite"
"""In the state directory."""

CRASH_REPORT: Final = "crash.txt"
"""In the state directory: what the interpreter writes when the process crashes; empty otherwise."""

_LOOK_SECONDS: Final = 0.1
"""How often a start looks whether it is still wanted."""


@dataclass(slots=True)
class Context:
    """What every command is given."""

    loaded: LoadedConfig
    logger: Any
    limiter: RepeatLimiter
    json: bool
    clock: SystemClock = field(default_factory=SystemClock)
    output: LogOutput | None = None
    """How the log looks, where that may change."""
    log_stream: LogStream | None = None
    """Where its lines go."""

    @property
    def config(self) -> Config:
        """The settings in force."""
        return self.loaded.config

    @property
    def state(self) -> Path:
        """The state directory."""
        return Path(self.config.state.path)

    def losses(self, folder: str) -> NotedLosses:
        """What the notebook says of a folder's losses."""
        from clipwatch.mirror.holds import Kind
        from clipwatch.mirror.losses import Now, hold_seconds
        from clipwatch.mirror.notebook import read_losses

        seconds = hold_seconds(self.config.limits)
        return read_losses(self.state / NOTEBOOK, folder, kind=Kind.DELETES, now=Now.of(self.clock), seconds=seconds)


class Parts:
    """Store, model and decoders of one command, opened when first asked for, closed at the end."""

    def __init__(
        self,
        context: Context,
        *,
        stop: threading.Event,
        give_up_seconds: float | None,
        on_state: Callable[[bool, str], None] = lambda _available, _reason: None,
        rebuild: bool = False,
        make: bool = False,
        listen: bool = False,
    ) -> None:
        """*rebuild*: a person wants the collection built anew, beside the old one.

        *make*: state directory and embedded store are made where they are missing; else they are as if empty.
        *listen*: the embedded store answers on `store.embedded_listen` too; only the daemon's does.
        """
        self._context, self._asked, self._make, self._listen = context, rebuild, make, listen
        self._stop, self._give_up, self._on_state = stop, give_up_seconds, on_state
        self._lock = threading.RLock()
        self._store: RetryingStore | None = None
        self._rebuild: Rebuild | None = None
        self._encoder: VisionEncoder | None = None
        self._text: TextEncoder | None = None
        self._query_pool: DecodePool | None = None
        self._pools: list[tuple[DecodePool, Preprocessing | None]] = []
        """Each with the preprocessing of another model than ours, where that is its work."""
        self._folders = [watch.name for watch in context.config.watch]
        self._answers: Answers | None = None
        self._requests: Mapping[str, int] = {}
        self._crash_report: CrashReport | None = None

    def open_together(self) -> None:
        """Store and model at once: each spends its start waiting. Raises `Interrupted` as soon as *stop* is set."""
        executor = ThreadPoolExecutor(2, thread_name_prefix="open")
        store: Future[Any] = executor.submit(lambda: self.store)
        model: Future[Any] = executor.submit(lambda: self.encoder)
        executor.shutdown(wait=False)
        try:
            while not self._stop.is_set() and wait((store, model), _LOOK_SECONDS).not_done:
                pass
        except KeyboardInterrupt:
            self._stop.set()
            raise
        finally:
            store.exception()  # nobody may close what is still being opened
        if self._stop.is_set():
            raise Interrupted("Interrupted.")
        model.result()
        store.result()

    @property
    def store(self) -> RetryingStore:
        """The collection, with retries."""
        if self._store is None:
            from clipwatch.store.open import open_store

            config, context = self._context.config, self._context
            key = api_key(config.store, os.environ)
            if self._make:
                make_state_directory(context.state)
            elif not is_server(config.store.url):
                place = Path(config.store.url.removeprefix("embedded:"))
                if place.exists():
                    refuse_root_beside_another(place, "store", "store.url")
            settings = config.store if self._listen else replace(config.store, embedded_listen="")
            runtime = context.state if self._make else None
            inner = open_store(settings, api_key=key, runtime=runtime, logger=context.logger, stop=self._stop)
            # Not before the engine is launched: they bring numpy.
            from clipwatch.store.rebuild import Rebuild
            from clipwatch.store.retry import RetryingStore

            self._requests = inner.requests
            self._rebuild = Rebuild(
                inner,
                folders=lambda: self._folders,
                asked=self._asked,
                fingerprint=lambda: self.encoder.fingerprint,
                logger=context.logger,
            )
            self._store = RetryingStore(
                inner,
                stop=self._stop,
                clock=context.clock,
                logger=context.logger,
                give_up_seconds=self._give_up,
                on_state=self._on_state,
            )
        return self._store

    @property
    def rebuild(self) -> Rebuild:
        """Which collection is written to, and which one is shown."""
        store = self.store
        assert self._rebuild is not None and store  # noqa: S101, PT018 - made together
        return self._rebuild

    @property
    def owners(self) -> Owners:
        """Who owns the folder names in the collection."""
        from clipwatch.store.owners import Owners

        context = self._context
        return Owners(
            self.rebuild.front,
            state=context.state,
            watches=lambda: context.config.watch,
            now=lambda: context.clock.now().timestamp(),
            logger=context.logger,
        )

    @property
    def front(self) -> RetryingStore:
        """The collection that is shown; another than `store` only while one is built beside it."""
        return self.store.over(self.rebuild.front)

    def place(self) -> None:
        """Find out, for who only reads, which collection that is."""
        self.store.attempt("place", partial(self.rebuild.place, self.encoder.width, writing=False))

    @property
    def encoder(self) -> VisionEncoder:
        """The resident vision model."""
        if self._encoder is None:
            from clipwatch.image.colour import WHITE, colour_of
            from clipwatch.model.load import load_encoder
            from clipwatch.service.status import describe_model

            context = self._context
            self._encoder = load_encoder(
                context.config.model,
                batch_size=context.config.batch.size,
                logger=context.logger,
                explicit_path=context.loaded.chosen("model.path"),
                background=colour_of(context.config.image.background) or WHITE,
            )
            context.logger.info("model.loaded", **describe_model(self._encoder))
            if self._encoder.demonstration:
                context.logger.warning(
                    "model.demonstration",
                    message="The small demonstration model that ships: it knows emoji-like drawings, not photographs.",
                    hint="Get CLIP with `clipwatch model fetch clip-vit-base-patch32`, then restart; "
                    "everything is embedded anew by itself.",
                )
        return self._encoder

    def text_rows(self, texts: Sequence[str]) -> Any:
        """Words to unit rows by the model's own text tower."""
        with self._lock:
            if self._text is None:
                from clipwatch.model.text import load_text_encoder

                self._text = load_text_encoder(self.encoder, self._context.config.model)
        return self._text.encode(texts)

    def decoder(
        self,
        known: Callable[[str], bool],
        *,
        workers: int | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> DecodePool:
        """Decode workers; *known* contents are not decoded."""
        from clipwatch.image.pool import DecodePool
        from clipwatch.model.cores import decode_workers

        settings = self._decode_settings(self._context.config, preprocessing)
        workers = workers or decode_workers(settings.memory_bytes)
        pool = DecodePool(settings, workers=workers, known=known, logger=self._context.logger)
        self._pools.append((pool, preprocessing))
        return pool

    def _decode_settings(self, config: Config, preprocessing: Preprocessing | None) -> DecodeSettings:
        from clipwatch.image.pool import DecodeSettings

        return DecodeSettings.from_config(preprocessing or self.encoder.preprocessing, config.image, config.limits)

    def reconfigure(self, config: Config) -> None:
        """Decode and answer by *config*, whose store and model are the same. Raises `ConfigError`, nothing changed."""
        with self._lock:
            settings = [(pool, self._decode_settings(config, preprocessing)) for pool, preprocessing in self._pools]
            for pool, changed in settings:
                pool.reconfigure(changed)
        self._folders = [watch.name for watch in config.watch]
        self.answers().reconfigure(config)

    def query_decoder(self) -> DecodePool:
        """Decodes whatever it is given; apart from the pipeline's, so that questions do not wait behind a backlog."""
        with self._lock:
            if self._query_pool is None:
                self._query_pool = self.decoder(lambda _: False, workers=1)
            return self._query_pool

    def answers(self) -> Answers:
        """Questions to these parts; one object, however often it is asked for."""
        if self._answers is None:
            self._answers = self._new_answers()
        return self._answers

    def _new_answers(self) -> Answers:
        from clipwatch.cli.old_answers import OldAnswers
        from clipwatch.service.answers import Answers

        # Who asks a question would rather hear no than wait until the store is back; the mirror would not.
        store = (
            self.store
            if self._give_up is not None
            else self.store.patient_for(self._context.config.store.timeout_seconds)
        )
        if self._give_up is not None:
            self.place()
        front = store.over(self.rebuild.front)
        return Answers(
            self._context.config,
            store=store,
            encoder=self.encoder,
            decoder=self.query_decoder,
            text=self.text_rows,
            rejections=self._rejections,
            losses=self._context.losses,
            mounts=self._mounts,
            front=front,
            check_owner=lambda folder: store.attempt("owner", partial(self.owners.check, folder)),
            before=OldAnswers(
                self._context.config,
                rebuild=self.rebuild,
                front=front,
                target=store,
                fingerprint=self.encoder.fingerprint,
                find=partial(self._old_model, front, set()),
                decoder=lambda preprocessing: self.decoder(lambda _: False, workers=1, preprocessing=preprocessing),
            ),
        )

    def _rejections(self, folder: str) -> Mapping[bytes, Rejection]:
        from clipwatch.mirror.notebook import read_rejections

        context = self._context
        return read_rejections(context.state / NOTEBOOK, folder, limits=limits_key(context.config))

    def _mounts(self, folder: str) -> Collection[bytes]:
        from clipwatch.mirror.notebook import read_mounts

        return read_mounts(self._context.state / NOTEBOOK, folder)

    def _old_model(self, front: RetryingStore, refused: set[Folder]) -> tuple[VisionEncoder, Remembered] | None:
        def points_of(model: str) -> int:
            return front.count(model=model)

        from clipwatch.cli.old_model import find_old

        context = self._context
        return find_old(context.state, self.encoder.fingerprint, points_of, context.logger, refused)

    def mirror(self) -> Mirror:
        """The mirror of all configured folders; the caller holds the state directory's lock."""
        from clipwatch.cli.old_model import remember
        from clipwatch.deaths import CrashReport
        from clipwatch.folder.inbox import Inbox
        from clipwatch.mirror.mirror import Mirror
        from clipwatch.mirror.notebook import Notebook
        from clipwatch.mirror.switchover import Switchover

        context = self._context
        remember(context.state, self.encoder, context.config.model, context.logger)
        notebook = Notebook(context.state / NOTEBOOK, limits=limits_key(context.config), logger=context.logger)
        self._crash_report = CrashReport(context.state / CRASH_REPORT)
        owners = self.owners
        mirror = Mirror(
            context.config,
            store=self.store,
            encoder=self.encoder,
            decoder=self.decoder,
            notebook=notebook,
            inbox=Inbox(),
            clock=context.clock,
            logger=context.logger,
            lock_fallback=partial(_lock_fallback, context.state),
            crash_report=self._crash_report.last,
            claim=lambda folder: self.store.attempt("owner", partial(owners.claim, folder)),
        )
        patiently = partial(self.store.attempt, "switch")
        Switchover(mirror, self.rebuild, patiently=patiently, logger=context.logger)
        return mirror

    def requests_of(self, thread: str) -> int:
        """Requests to the store that this thread has begun, repeated ones included."""
        return self._requests.get(thread, 0)

    @property
    def decoding_since(self) -> float | None:
        """Since which monotonic moment the picture that takes longest is worked on; None when none is."""
        return min((since for pool, _ in self._pools if (since := pool.busy_since) is not None), default=None)

    def close(self) -> None:
        """Let go of everything that was opened."""
        for pool, _ in self._pools:
            pool.close(wait_seconds=1)
        if self._store is not None:
            self._store.close()
        if self._crash_report is not None:
            self._crash_report.close()


def _lock_fallback(state: Path, folder: str) -> Path:
    return state / f"folder-{folder.encode().hex()[:64]}.lock"


def limits_key(config: Config) -> str:
    """What a rejection depends on beside the file itself."""
    from PIL import __version__ as pillow_version

    from clipwatch.image.protocol import REVISION

    limits = config.limits
    return (
        f"{limits.file_megabytes}/{limits.image_megapixels}/{limits.decode_seconds}/"
        f"{limits.decode_memory_megabytes}/{config.image.exact_decode}/{pillow_version}/{REVISION}"
    )


@contextlib.contextmanager
def opened(
    context: Context,
    *,
    stop: threading.Event | None = None,
    give_up_seconds: float | None,
    on_state: Callable[[bool, str], None] = lambda _available, _reason: None,
    rebuild: bool = False,
    make: bool = False,
    listen: bool = False,
) -> Iterator[Parts]:
    """Parts that are closed whatever happens; see `Parts`."""
    stop = stop or threading.Event()
    parts = Parts(
        context,
        stop=stop,
        give_up_seconds=give_up_seconds,
        on_state=on_state,
        rebuild=rebuild,
        make=make,
        listen=listen,
    )
    try:
        yield parts
    except KeyboardInterrupt:
        stop.set()  # for the threads that wait for a store
        raise
    finally:
        parts.close()


def quiet_libraries(logger: Any) -> None:
    """Have what libraries log come out as lines of ours; once a process."""
    from clipwatch.service.logs import LibraryHandler

    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [LibraryHandler(logger)]
    root.setLevel(logging.WARNING)


def sentence_of(error: ClipwatchError) -> str:
    """For stderr: one line, safe on a terminal."""
    return visible(error.sentence())
