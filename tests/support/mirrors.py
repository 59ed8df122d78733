"""A mirror in this process, on real files and the real engine, and what its collection must hold."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from clipwatch.clock import Moment
from clipwatch.config import BatchConfig, Config, ImageConfig, LimitsConfig, ModelConfig, StoreConfig, WatchConfig
from clipwatch.errors import FileRejected, RejectReason
from clipwatch.folder.inbox import Inbox
from clipwatch.image.pool import DecodePool, DecodeSettings
from clipwatch.image.preprocess import prepare
from clipwatch.mirror.folder_mirror import FolderMirror
from clipwatch.mirror.mirror import Mirror
from clipwatch.mirror.notebook import Notebook
from clipwatch.mirror.pipeline import Decoder
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.load import load_encoder
from clipwatch.payload import path_bytes
from clipwatch.records import (
    DecodedImage,
    KnownContent,
    OpenedFile,
    Preprocessing,
    Signature,
    point_uuid,
    uuid_text,
)
from clipwatch.store.contract import Store, StoredPoint
from clipwatch.store.retry import RetryingStore
from support import onnx_models
from support.folders import wait_until
from support.stores import Told, open_test_store

FOLDER = "images"
HOUR = 3600.0


class FakeClock:
    """Time that passes only when something waits for it, or `jump` says so; the wall clock goes along, or is set."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self._began = time.time() - self.seconds
        self._boots = 0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._began + self.seconds, UTC)

    def moment(self) -> Moment:
        return Moment(f"boot {self._boots}", self.seconds)

    def jump(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds

    def set_forward(self, seconds: float) -> None:
        """Somebody sets the wall clock, forward or back: no time passes."""
        self._began += seconds

    def reboot(self) -> None:
        """No time passes that anything could count."""
        self._boots += 1

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if event.is_set():
            return True
        # Retries of the store happen on other threads: a real pause lets what they wait for come about.
        event.wait(0.002)
        self.seconds += max(0.0, seconds)
        return event.is_set()


# -- model and decoders, once a process ---------------------------------------------------------------


@functools.cache
def tiny_encoder(seed: int = 0) -> VisionEncoder:
    """A real ONNX model of a few kilobytes, 56 px to 8 numbers; another *seed* is another model."""
    with TemporaryDirectory() as directory:
        path = onnx_models.save(onnx_models.vision_tower(width=8, side=56, seed=seed), Path(directory) / "tiny.onnx")
        config = ModelConfig(path=str(path), engine="onnxruntime", threads=1)
        return load_encoder(config, batch_size=25, logger=Told(), explicit_path=True)


class SharedDecoder:
    """Real decode workers for one mirror after the other: each brings its own "is this known?"."""

    def __init__(self, preprocessing: Preprocessing, limits: LimitsConfig) -> None:
        self.known: Callable[[str], bool] = lambda _: False
        self.submitted = 0
        self.before: Callable[[OpenedFile], None] | None = None
        """Called with each file before a worker gets it."""
        self._doomed = False
        settings = DecodeSettings.from_config(preprocessing, ImageConfig(), limits)
        self._pool = DecodePool(settings, workers=1, known=lambda content: self.known(content), logger=Told())

    def submit(self, opened: OpenedFile, *, first: bool = False) -> Future[DecodedImage | KnownContent]:
        self.submitted += 1
        if self.before is not None:
            self.before(opened)
        if not self._doomed:
            return self._pool.submit(opened, first=first)
        self._doomed = False
        return self._killed(opened)

    def kill_next(self) -> None:
        """The worker that is given the next file is killed with it in hand."""
        self._doomed = True

    def _killed(self, opened: OpenedFile) -> Future[DecodedImage | KnownContent]:
        wait_until(lambda: not self._pool.busy and not self._pool.queued)
        self._pool.probe()
        (pid,) = self._pool.pids
        os.kill(pid, signal.SIGSTOP)
        future = self._pool.submit(opened)
        wait_until(lambda: self._pool.busy == 1)
        os.kill(pid, signal.SIGKILL)
        return future

    @property
    def decode_seconds(self) -> float:
        return self._pool.decode_seconds

    def close(self) -> None:
        self._pool.close()


@functools.cache
def shared_decoder(preprocessing: Preprocessing) -> SharedDecoder:
    import atexit

    decoder = SharedDecoder(preprocessing, LimitsConfig())
    atexit.register(decoder.close)
    return decoder


class InstantDecoder:
    """Pillow on the caller's thread: for tests of ten thousand files, where workers would be all that is measured."""

    decode_seconds = 0.0

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known

    def submit(self, opened: OpenedFile, *, first: bool = False) -> Future[DecodedImage | KnownContent]:
        future: Future[DecodedImage | KnownContent] = Future()
        data = b""
        while piece := os.read(opened.descriptor, 1 << 20):
            data += piece
        os.close(opened.descriptor)
        content = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if self._known(content):
            future.set_result(KnownContent(opened.candidate, content))
            return future
        pixels = np.zeros((56, 56, 3), np.uint8)
        pixels[:, :, :] = np.frombuffer(hashlib.sha256(data).digest()[:3], np.uint8)
        if data.startswith((b"\x89PNG", b"\xff\xd8")):
            future.set_result(DecodedImage(opened.candidate, content, 16, 16, "PNG", pixels))
        else:
            future.set_exception(FileRejected(RejectReason.UNSUPPORTED, "It is no picture."))
        return future


# -- pictures ---------------------------------------------------------------------------------------------


@functools.cache
def picture(seed: int, *, side: int = 16) -> bytes:
    """A small PNG whose content, and length, depend on *seed*."""
    cells = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(cells.repeat(side // 4, axis=0).repeat(side // 4, axis=1)).save(buffer, "PNG")
    return buffer.getvalue()


def padded_picture(seed: int, size: int = 600) -> bytes:
    """The same, always *size* bytes long."""
    data = picture(seed)
    return data + bytes(size - len(data))


def put(folder: Path, name: str | bytes, data: bytes) -> None:
    """Write a file, with its directories."""
    path = os.path.join(os.fsencode(folder), os.fsencode(name))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:  # noqa: PTH123 - names that are no text
        file.write(data)


def fill(folder: Path, number: int, *, first: int = 0, below: str = "") -> None:
    """*number* different pictures."""
    for seed in range(first, first + number):
        put(folder, f"{below}{seed:05d}.png", picture(seed))


# -- a mirror ------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """A folder, a collection, a state directory, and the mirrors that come and go between them."""

    folder: Path
    state: Path
    store: Store
    clock: FakeClock = field(default_factory=FakeClock)
    watch: WatchConfig = field(default_factory=WatchConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    encoder: Any = None
    decoder: Callable[[Callable[[str], bool]], Decoder] | None = None
    told: Told = field(default_factory=Told)
    more: Mapping[str, Path] = field(default_factory=dict)
    """Other watched folders by name, with the same settings but for `max_images`."""
    claim: Callable[[str], None] = lambda _folder: None
    """What asks whose the points of a folder are."""
    mirror: Mirror | None = None
    inferences: int = 0

    def start(self) -> Mirror:
        """A new mirror, as a new process would make it."""
        assert self.mirror is None, "one at a time"
        encoder = self.encoder or tiny_encoder()
        self.mirror = Mirror(
            self._config(),
            store=self.store,
            encoder=_Counting(encoder, self),
            decoder=self.decoder or _shared(encoder.preprocessing),
            notebook=Notebook(self.state / "notebook.sqlite", limits="limits", logger=self.told),
            inbox=Inbox(),
            clock=self.clock,
            logger=self.told,
            lock_fallback=lambda _: self.state,
            random_source=random.Random(1),
            claim=lambda folder: self.claim(folder),
        )
        return self.mirror

    def _config(self) -> Config:
        first = replace(self.watch, path=str(self.folder))
        more = (replace(first, name=name, path=str(path), max_images=0) for name, path in self.more.items())
        return Config(
            watch=(first, *more),
            store=StoreConfig(collection="the-store-knows"),
            batch=self.batch,
            limits=self.limits,
        )

    def reload(self, **changes: Any) -> None:
        """Other settings of the folder, taken while the mirror runs."""
        self.watch = replace(self.watch, **changes)
        self.now.reconfigure(self._config(), limits="limits")

    def stop(self) -> None:
        """The orderly end of a process."""
        assert self.mirror is not None
        self.mirror.stop()
        self.mirror.close(wait_seconds=10)
        self.mirror = None

    def die(self) -> None:
        """The end by SIGKILL, as far as one process can play it: nothing is told to the notebook any more."""
        assert self.mirror is not None
        self.mirror.stopping = True
        self.mirror.pipeline.close(10)
        self.mirror.writer.close(10)
        for folder in self.mirror.folders.values():
            folder.close()
        self.mirror = None

    @property
    def now(self) -> Mirror:
        """The running mirror."""
        assert self.mirror is not None
        return self.mirror

    @property
    def one(self) -> FolderMirror:
        """The running mirror's folder."""
        return next(iter(self.now.folders.values()))

    def quiet(self, seconds: float = 30.0) -> None:
        """Run until nothing is left to do."""
        settle_to_quiet(self.now, self.clock, seconds=seconds)

    def look(self, reason: str = "test") -> None:
        """A look at everything, believing nothing, then quiet."""
        self.now.ask_looks(reason)
        self.quiet()

    def sync(self) -> dict[str, Any]:
        """What `clipwatch sync` does in a process of its own: its counts."""
        from clipwatch.service.sync import SyncRequest

        mirror = self.start()
        try:
            request = SyncRequest(mirror, self.clock)
            run_until(mirror, self.clock, request.check)
            return {**request.result, "undone": request.undone}
        finally:
            self.stop()

    def touch(self, *names: str | bytes, folder: str = "") -> None:
        """Say, as a watcher would, that something happened to these paths."""
        for name in names:
            self.now.inbox.post(folder or self.one.name, os.fsencode(name))

    def touch_removed(self, *names: str | Path) -> None:
        """Say, as a live watch would, that these paths were deleted or moved away."""
        for name in names:
            self.now.inbox.post(self.one.name, os.fsencode(name), removed=True)

    def touch_tree(self, directory: str | bytes) -> None:
        """Say, as a watcher would, that something happened below this directory."""
        self.now.inbox.post_tree(self.one.name, os.fsencode(directory))

    def assert_exact(self) -> None:
        """Collection == folder, and nothing silent."""
        encoder = self.encoder or tiny_encoder()
        for name, folder, most in self._folders():
            assert_exact(folder, self.store, encoder=encoder, name=name, max_images=most)
            if self.mirror is not None:
                assert_counts(self.mirror.folders[name], folder, max_images=most)

    def _folders(self) -> Iterator[tuple[str, Path, int]]:
        yield self.watch.name, self.folder, self.watch.max_images
        for name, folder in self.more.items():
            yield name, folder, 0

    def paths(self) -> set[bytes]:
        """Of all points under the folder's name."""
        return {
            path_bytes(point.payload)
            for point in self.store.points(vectors=False)
            if point.payload.get("folder") == self.watch.name
        }


class _Counting:
    """The encoder, and how many pictures went through it."""

    def __init__(self, encoder: Any, bench: Bench) -> None:
        self._encoder, self._bench = encoder, bench

    def encode(self, pixels: Sequence[Any]) -> Any:
        self._bench.inferences += len(pixels)
        return self._encoder.encode(pixels)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


def _shared(preprocessing: Preprocessing) -> Callable[[Callable[[str], bool]], Decoder]:
    def decoder(known: Callable[[str], bool]) -> Decoder:
        shared = shared_decoder(preprocessing)
        shared.known = known
        return shared

    return decoder


@contextmanager
def bench(directory: Path, *, store: Store | None = None, **settings: Any) -> Iterator[Bench]:
    """A bench below *directory* with settle time 0 (see `Bench` for *settings*); its collection is its own."""
    settings.setdefault("watch", WatchConfig(settle_seconds=0.0))
    settings.setdefault("batch", BatchConfig(max_wait_seconds=0.0))
    folder, state = directory / "images", directory / "state"
    folder.mkdir(parents=True, exist_ok=True)
    state.mkdir(parents=True, exist_ok=True)
    if store is not None:
        yield from _running(Bench(folder, state, store, **settings))
    else:
        with open_test_store(directory, ensure=False) as own:
            yield from _running(Bench(folder, state, own, **settings))


def _running(made: Bench) -> Iterator[Bench]:
    try:
        yield made
    finally:
        if made.mirror is not None:
            made.stop()


def retrying(
    inner: Store, clock: Any, told: Any, mirror_of: Callable[[], Mirror | None], stop: threading.Event
) -> RetryingStore:
    """The store as the daemon has it: it waits out what time heals, and tells the mirror of outages."""
    from clipwatch.service.daemon import store_listener

    return RetryingStore(inner, stop=stop, clock=clock, logger=told, on_state=store_listener(mirror_of))


def settle_to_quiet(mirror: Mirror, clock: FakeClock, *, seconds: float = 30.0) -> None:
    """Step until the mirror is quiet; AssertionError after *seconds* of real time, or when nothing ever moves."""
    run_until(mirror, clock, lambda: mirror.quiet, seconds=seconds)


def run_until(mirror: Mirror, clock: FakeClock, condition: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Step, as the daemon's loop does, until *condition*; fake time passes only when nothing real is under way."""
    deadline = time.monotonic() + seconds
    while True:
        mirror.inbox.wake.clear()
        wait = mirror.step()
        if condition():
            return
        assert time.monotonic() < deadline, f"not quiet within {seconds} s: {state_of(mirror)}"
        if wait > 0 and (mirror.pipeline.in_flight or mirror.writer.queued):
            mirror.inbox.wake.wait(min(wait, 0.05))
        elif wait > 0 and not mirror.inbox.wake.is_set():
            clock.jump(wait)


def state_of(mirror: Mirror) -> dict[str, Any]:
    """For messages of tests that fail."""
    return {
        "in_flight": mirror.pipeline.in_flight,
        "depths": mirror.pipeline.depths,
        "queued": mirror.writer.queued,
        "store": mirror.store_state,
        "folders": [
            {
                "available": folder.available,
                "trouble": folder.trouble,
                "ledger": None if folder.ledger is None else len(folder.ledger),
                "loading": folder.loading,
                "looks": (folder.scans.done, folder.scans.started, folder.scans.asked),
                "pending": len(folder.work.pending),
                "in_hand": len(folder.work.in_hand),
                "gone": len(folder.deletes.gone),
                "hold": folder.deletes.hold,
                "unproven": len(folder.unproven),
            }
            for folder in mirror.folders.values()
        ],
    }


_TRASH = (b"@eaDir", b"#recycle", b"lost+found")
_PICTURE_NAMES = tuple(f".{extension}".encode() for extension in WatchConfig().extensions)


# -- the truth ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """What one file's point must say."""

    path: bytes
    signature: Signature
    content: str
    data: bytes = field(repr=False)


def candidates(folder: Path) -> list[bytes]:
    """Paths below *folder* of all that a picture's name says is one, good or bad: found the naive way."""
    root = os.fsencode(folder)
    found: list[bytes] = []
    for directory, directories, files in os.walk(root):
        directories[:] = [name for name in directories if not _ignored(name)]
        for name in files:
            path = os.path.join(directory, name)
            if name.lower().endswith(_PICTURE_NAMES) and not (_ignored(name) or os.path.islink(path)):
                found.append(os.path.relpath(path, root))
    return found


def regular_candidates(folder: Path) -> list[bytes]:
    """Those that are files, by path."""
    root = os.fsencode(folder)
    return sorted(below for below in candidates(folder) if os.path.isfile(os.path.join(root, below)))


def true_images(folder: Path) -> dict[bytes, Truth]:
    """The candidates that are a picture by what Pillow makes of them."""
    found: dict[bytes, Truth] = {}
    for below in candidates(folder):
        path = os.path.join(os.fsencode(folder), below)
        if not os.path.isfile(path):
            continue
        status = os.stat(path)
        with open(path, "rb") as file:  # noqa: PTH123 - names that are no text
            data = file.read()
        if is_picture(data):
            signature = Signature.of(status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            found[below] = Truth(below, signature, f"sha256:{hashlib.sha256(data).hexdigest()}", data)
    return found


def _ignored(name: bytes) -> bool:
    return name.startswith(b".") or name.endswith((b".part", b".tmp", b"~")) or name in _TRASH


@functools.lru_cache(1024)
def is_picture(data: bytes) -> bool:
    """Whether Pillow reads it to the end."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def assert_exact(folder: Path, store: Store, *, encoder: Any, name: str = FOLDER, max_images: int = 0) -> None:
    """Exactly one point for each picture, of its present content and by this model, and no other under *name*."""
    images = true_images(folder)
    if max_images:
        first = set(regular_candidates(folder)[:max_images])
        images = {path: truth for path, truth in images.items() if path in first}
    wanted = {uuid_text(point_uuid(name, path)): truth for path, truth in images.items()}
    stored: Mapping[str, StoredPoint] = {
        point.id: point for point in store.points(vectors=True) if point.payload.get("folder") == name
    }
    extra = [point.payload.get("path") for key, point in stored.items() if key not in wanted]
    missing = [truth.path for key, truth in wanted.items() if key not in stored]
    assert not extra, f"points without a picture: {extra[:10]} ({len(extra)})"
    assert not missing, f"pictures without a point: {missing[:10]} ({len(missing)})"
    for key, truth in wanted.items():
        payload = stored[key].payload
        assert path_bytes(payload) == truth.path
        assert payload["content"] == truth.content, f"old content of {truth.path!r}"
        assert payload["model"] == encoder.fingerprint
        says = Signature(payload["size"], payload["mtime_ns"], payload["ctime_ns"])
        assert says == truth.signature, f"old signature of {truth.path!r}"
    _assert_vectors(wanted, stored, encoder)


def _assert_vectors(wanted: Mapping[str, Truth], stored: Mapping[str, StoredPoint], encoder: Any) -> None:
    for key, truth in wanted.items():
        vector = stored[key].vector
        assert vector is not None
        assert abs(float(np.linalg.norm(vector)) - 1) < 1e-3
        assert float(np.dot(vector, _true_vector(truth.data, encoder))) > 0.999, f"not the vector of {truth.path!r}"


@functools.lru_cache(4096)
def _true_vector(data: bytes, encoder: Any) -> Any:
    limits, image = LimitsConfig(), ImageConfig()
    prepared = prepare(data, DecodeSettings.from_config(encoder.preprocessing, image, limits).recipe())
    return encoder.encode([np.asarray(prepared.image)])[0]


def assert_counts(one: FolderMirror, folder: Path, *, max_images: int = 0) -> None:
    """Nothing silent: each candidate has a point, was rejected, or is known to be of another format.

    A held point is one without an image.
    """
    regular, everything = regular_candidates(folder), candidates(folder)
    on_disk = len(everything) - len(regular) + len(regular[: max_images or None]) - one.undecodable.total()
    if one.available:
        said = f"{on_disk} on disk: {one.images} images, {one.points} points, {one.rejected_images} rejected"
        assert one.images == on_disk, said
        assert on_disk + one.deletes.held == one.points + one.rejected_images, said


def names(paths: Iterable[bytes]) -> list[str]:
    """For messages."""
    return sorted(path.decode("utf-8", "backslashreplace") for path in paths)
