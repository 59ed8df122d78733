"""Folders of many files: what a look costs that finds nothing, in time and memory, and what a rename costs.

The files are a few bytes each and their points are written straight into the store, with the files' true signatures
and hashes and vectors of no meaning: nothing here is ever decoded or embedded. Files and stores are kept for the
next run.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
from bench.home import SETTLE_SECONDS, BenchFailed, Daemon, Home, moment
from bench.measure import anonymous_bytes, cpu_seconds, median, rss_bytes, tree, wait_for

from clipwatch.config import ModelConfig, StoreConfig
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.load import load_encoder
from clipwatch.payload import embedded_point
from clipwatch.records import Candidate, DecodedImage, Embedding, FileStat, Point, Reason, Signature, Vector
from clipwatch.store.open import open_store

FILES_A_FOLDER: Final = 1000
POINTS_A_WRITE: Final = 500
LOOKS: Final = 3
IDLE_SECONDS: Final = 20.0
RENAMED: Final = 10_000
ARRIVING: Final = 200
BYTES_A_FILE: Final = 8_000
"""Of disk: a file, its directory's part, its point. Rounded up."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A folder of *images* unchanged files.

    *first_ledger_seconds*: of reading the collection at start. *first_look_seconds*: of the look after it.
    *look_seconds*: median of later ones. *sync_seconds*: median wall time of `clipwatch sync` with the daemon there,
    which reads the ledger anew. *start_seconds*: from `run` to the end of the first look. Memory is the daemon's own
    process, after the looks; *engine_rss_bytes* that of the store's. *idle_cpu_percent*: of one core, all processes.
    *arrivals_per_second*: pictures indexed a second, of a folder of them moved in.
    """

    images: int
    first_ledger_seconds: float
    first_look_seconds: float
    look_seconds: float
    ledger_seconds: float
    sync_seconds: float
    start_seconds: float
    rss_bytes: int
    anonymous_bytes: int
    engine_rss_bytes: int
    idle_cpu_percent: float
    arrivals_per_second: float


def look_at(cache: Path, images: int, pictures: Path) -> Looked:
    """Start a daemon on a mirrored folder of that many files and have it look again and again.

    Then *pictures* arrive, and go again.
    """
    home = mirrored_home(cache, images)
    with intact(home), home.daemon(level="debug") as daemon:
        first = daemon.wait_for("scan.finished", 1)[0]
        daemon.wait_for("collection.counted", 1)
        started = moment(first) - daemon.launched
        walls = []
        for _ in range(LOOKS):
            before = time.monotonic()
            counts = home.answer("sync")
            walls.append(time.monotonic() - before)
            if counts["unchanged"] != images or counts["embedded"]:
                raise BenchFailed(f"a look at {images} unchanged files found something to do: {counts}")
        looks = daemon.events("scan.finished")
        ledgers = daemon.events("ledger.read")
        pid = daemon.process.pid
        memory, anonymous = rss_bytes(pid), anonymous_bytes(pid)
        engine = max((rss_bytes(child) for child in tree(pid)[1:]), default=0)
        idle = idle_percent(pid)
        arrivals = arrivals_per_second(home, daemon, pictures)
    return Looked(
        images,
        ledgers[0]["seconds"],
        first["seconds"],
        median([look["seconds"] for look in looks[1:]]),
        median([ledger["seconds"] for ledger in ledgers[1:]]),
        median(walls),
        started,
        memory,
        anonymous,
        engine,
        idle,
        arrivals,
    )


def arrivals_per_second(home: Home, daemon: Daemon, pictures: Path) -> float:
    """Move a folder of *pictures* in, and out again once they are indexed."""
    outside, inside = home.path / "arriving", home.path / "images" / "arrived"
    shutil.rmtree(outside, ignore_errors=True)
    shutil.copytree(pictures, outside, copy_function=os.link)
    count = sum(1 for _ in outside.iterdir())
    before = len(daemon.events("batch.verified"))
    began = time.time()
    outside.rename(inside)
    await_points(daemon, "batch.verified", before, count)
    ended = moment(daemon.events("batch.verified")[-1])
    before = len(daemon.events("points.deleted"))
    inside.rename(outside)
    await_points(daemon, "points.deleted", before, count)
    return count / (ended - began - SETTLE_SECONDS)


def await_points(daemon: Daemon, name: str, before: int, count: int) -> None:
    """Until the events *name* after the first *before* tell of *count* points together."""

    def there() -> bool:
        return sum(int(event["points"]) for event in daemon.events(name)[before:]) >= count

    if not wait_for(there, 240, every=0.1):
        raise BenchFailed(f"{name} told of fewer than {count} points within 240 s")


def idle_percent(pid: int) -> float:
    """CPU of a process tree over 20 seconds in which nothing happens, as a share of one core in percent."""
    members = tree(pid)
    before, started = cpu_seconds(members), time.monotonic()
    time.sleep(IDLE_SECONDS)
    return 100 * (cpu_seconds(members) - before) / (time.monotonic() - started)


def second_sync(cache: Path, images: int) -> dict[str, float]:
    """`clipwatch sync` by itself over files that are all mirrored: the whole command, and what it says it took."""
    home = mirrored_home(cache, images)
    with intact(home):
        cost, _, _ = home.measured("sync", "--json")
        cost_again, answer, _ = home.measured("sync", "--json")
        if json.loads(answer)["unchanged"] != images:
            raise BenchFailed(f"a second sync of {images} unchanged files found something to do: {answer}")
    best = min(cost, cost_again, key=lambda item: item.seconds)
    return {"images": images, "seconds": best.seconds, "cpu_seconds": best.cpu_seconds}


def rename(cache: Path, images: int = RENAMED) -> dict[str, float]:
    """`mv` one folder of that many files; until the daemon says that nothing is pending."""
    # Its own copy of the files: they do not have their names any more afterwards.
    home = mirrored_home(cache, images, purpose="rename", fresh=True, one_folder=True)
    files = home.path / "images"
    with home.daemon() as daemon:
        daemon.wait_for("collection.counted", 1)
        before = home.answer("status")["done"]
        began = time.time()
        (files / "all").rename(files / "moved")
        await_points(daemon, "points.renamed", 0, images)
        ended = moment(daemon.events("points.renamed")[-1])
        after = home.answer("status")["done"]
    return {
        "images": images,
        "seconds": ended - began,
        "inferences": after["embedded"] - before["embedded"],
        "reused": after["reused"] - before["reused"],
    }


def mirrored_home(
    cache: Path, images: int, *, purpose: str = "look", fresh: bool = False, one_folder: bool = False
) -> Home:
    """A home whose collection already holds a point for each of *images* tiny files, made again if it is not of today.

    Raises `BenchFailed` where the disk has no room for it.
    """
    path = cache / f"{purpose}-{images}"
    encoder, wanted = demonstration()
    if fresh:
        shutil.rmtree(path, ignore_errors=True)
    if marker(path) != wanted:
        shutil.rmtree(path / "data", ignore_errors=True)
        (path / "mirrored").unlink(missing_ok=True)
    home = Home.make(path, images=path / "images", model=None, engine="onnxruntime", keep=True)
    if marker(path) != wanted:
        if (free := shutil.disk_usage(path).free) < images * BYTES_A_FILE:
            raise BenchFailed(
                f"{images} files need {images * BYTES_A_FILE >> 20} MiB in {cache}, {free >> 20} are free"
            )
        print(f"making a folder of {images} files and its collection", flush=True)
        made = path / "files-made"
        if not made.exists():
            shutil.rmtree(path / "images", ignore_errors=True)
            make_files(path / "images", images, one_folder=one_folder)
            made.touch()
        shutil.rmtree(path / "images" / "arrived", ignore_errors=True)
        fill(home, encoder)
        (path / "mirrored").write_text(wanted, encoding="utf-8")
    return home


def marker(path: Path) -> str:
    """What the points of a home are like; "" where there are none yet."""
    try:
        return (path / "mirrored").read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def intact(home: Home) -> Iterator[None]:
    """A home that fails is not used again."""
    try:
        yield
    except BaseException:
        (home.path / "mirrored").unlink(missing_ok=True)
        raise


def demonstration() -> tuple[VisionEncoder, str]:
    """The model of all these homes, and what a point of it looks like: other models and payloads need other points."""
    encoder = load_encoder(ModelConfig(engine="onnxruntime"), batch_size=25, logger=silent(), explicit_path=False)
    point = point_of(b"0", FileStat(Signature(1, 1, 1), 1, 1), "", np.zeros(1, np.float32), encoder.fingerprint)
    return encoder, json.dumps(point.payload, sort_keys=True)


def silent() -> Any:
    """A logger that says nothing."""
    return structlog.wrap_logger(structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger(50))


def make_files(folder: Path, images: int, *, one_folder: bool) -> None:
    """Each with bytes of its own."""
    for number in range(images):
        directory = folder / ("all" if one_folder else f"{number // FILES_A_FOLDER:05d}")
        if number % FILES_A_FOLDER == 0:
            directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{number:07d}.jpg").write_bytes(content_of(number))


def content_of(number: int) -> bytes:
    """No picture, but different for each *number*."""
    return b"\xff\xd8 not a picture %d" % number


def fill(home: Home, encoder: VisionEncoder) -> None:
    """Write the points of all files below `images`."""
    (home.path / "data" / "state").mkdir(parents=True, exist_ok=True)
    config = StoreConfig(url=f"embedded:{home.path / 'data' / 'store'}")
    store = open_store(config, api_key="", runtime=home.path / "data" / "state", logger=silent())
    try:
        store.ensure(encoder.width)
        points = _points(home.path / "images", encoder.width, encoder.fingerprint)
        while batch := list(itertools.islice(points, POINTS_A_WRITE)):
            store.upsert(batch)
    finally:
        store.close()


def _points(images: Path, width: int, model: str) -> Iterator[Point]:
    rows = np.random.default_rng(0).standard_normal((997, width)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    number = 0
    for directory in sorted(images.iterdir()):
        for entry in os.scandir(directory):
            seen = entry.stat()
            stat = FileStat(Signature(seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns), seen.st_dev, seen.st_ino)
            path = f"{directory.name}/{entry.name}".encode()
            content = f"sha256:{hashlib.sha256(Path(entry.path).read_bytes()).hexdigest()}"
            yield point_of(path, stat, content, rows[number % len(rows)], model)
            number += 1


def point_of(path: bytes, stat: FileStat, content: str, vector: Vector, model: str) -> Point:
    """As clipwatch would write it for a picture."""
    candidate = Candidate("images", path, stat, Reason.NEW)
    image = DecodedImage(candidate, content, 100, 100, "JPEG", np.zeros((1, 1, 3), np.uint8))
    return embedded_point(Embedding(image, vector, model), "2026-01-01T00:00:00.000000Z")


def as_json(looked: Looked) -> dict[str, Any]:
    """Its fields."""
    return asdict(looked)
