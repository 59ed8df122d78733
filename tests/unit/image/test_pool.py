"""The pool of decode workers: every file gets its own answer, and no file gets another's."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import structlog
from PIL import Image

from clipwatch.config import ImageConfig, LimitsConfig
from clipwatch.errors import (
    ConfigError,
    DecodeUnavailable,
    FileNotReady,
    FileRejected,
    RejectReason,
    StoreUnavailable,
)
from clipwatch.image.pool import DecodePool, DecodeSettings
from clipwatch.image.preprocess import prepare
from clipwatch.records import DecodedImage, KnownContent, Preprocessing
from support import pictures
from support.processes import open_descriptors

SETTINGS = DecodeSettings.from_config(Preprocessing(), ImageConfig(), LimitsConfig())
MakePool = Callable[..., DecodePool]


@pytest.fixture(name="make_pool")
def _make_pool() -> Iterator[MakePool]:
    made: list[DecodePool] = []

    def make(
        settings: DecodeSettings = SETTINGS, *, workers: int = 1, known: Callable[[str], bool] = lambda _: False
    ) -> DecodePool:
        made.append(DecodePool(settings, workers=workers, known=known, logger=structlog.get_logger()))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


@pytest.fixture(name="small")
def _small(tmp_path: Path) -> Path:
    path = tmp_path / "small.jpg"
    path.write_bytes(pictures.small_jpeg())
    return path


def decode(pool: DecodePool, path: Path) -> DecodedImage:
    result = pool.submit(pictures.opened_file(path)).result(60)
    assert isinstance(result, DecodedImage)
    return result


def refusal(pool: DecodePool, path: Path) -> RejectReason:
    with pytest.raises(FileRejected) as caught:
        pool.submit(pictures.opened_file(path)).result(60)
    return caught.value.reason


def test_each_photograph_comes_back_as_itself(make_pool: MakePool) -> None:
    pool = make_pool(workers=2)
    opened = [pictures.opened_file(path) for path in pictures.photo_paths()]
    futures = [pool.submit(one) for one in opened]
    for path, one, future in zip(pictures.photo_paths(), opened, futures, strict=True):
        made, data = future.result(60), path.read_bytes()
        assert isinstance(made, DecodedImage)
        assert made.candidate == one.candidate
        assert made.content == f"sha256:{hashlib.sha256(data).hexdigest()}"
        expected = prepare(data, SETTINGS.recipe())
        assert (made.width, made.height, made.format) == (expected.width, expected.height, expected.format)
        assert np.array_equal(made.pixels, np.asarray(expected.image))
    assert len(pool.pids) == 2
    assert (pool.busy, pool.queued) == (0, 0)
    assert pool.decode_seconds > 0


def test_no_worker_is_started_before_there_is_work(make_pool: MakePool, small: Path) -> None:
    pool = make_pool(workers=4)
    assert pool.pids == ()
    decode(pool, small)
    decode(pool, small)
    assert len(pool.pids) == 1


def test_what_comes_first_overtakes_what_waits(make_pool: MakePool, tmp_path: Path) -> None:
    names, asked, go = ("running", "waits", "waits too", "fresh"), [], threading.Event()
    for name in names:
        (tmp_path / name).write_text(name)
    contents = {f"sha256:{hashlib.sha256(name.encode()).hexdigest()}": name for name in names}

    def known(content: str) -> bool:
        asked.append(contents[content])
        assert go.wait(60)
        return True

    pool = make_pool(workers=1, known=known)
    futures = [pool.submit(pictures.opened_file(tmp_path / name), first=name == "fresh") for name in names]
    go.set()
    for future in futures:
        assert isinstance(future.result(60), KnownContent)
    assert asked in (["running", "fresh", "waits", "waits too"], ["fresh", "running", "waits", "waits too"])


def test_known_content_is_not_decoded(make_pool: MakePool, tmp_path: Path) -> None:
    """Shown by a file that could not be decoded."""
    path = tmp_path / "known.jpg"
    path.write_bytes(b"\xff\xd8\xff nothing")
    content = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    pool = make_pool(known=content.__eq__)
    opened = pictures.opened_file(path)
    assert pool.submit(opened).result(60) == KnownContent(opened.candidate, content)


def test_trouble_in_asking_for_known_content_is_the_askers_and_the_worker_goes_on(
    make_pool: MakePool, small: Path
) -> None:
    answers: list[Exception | bool] = [StoreUnavailable("away"), OSError("a bug"), False]

    def known(_: str) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    pool = make_pool(known=known)
    for error in (StoreUnavailable, OSError):
        with pytest.raises(error):
            pool.submit(pictures.opened_file(small)).result(60)
    (first,) = pool.pids
    decode(pool, small)
    assert pool.pids == (first,)


@pytest.mark.parametrize("change", ["appended", "overwritten", "shortened", "emptied", "touched"])
@pytest.mark.parametrize("broken", [False, True])
def test_a_file_that_changed_since_it_was_looked_at_is_not_ready(
    make_pool: MakePool, small: Path, change: str, broken: bool
) -> None:
    if broken:
        small.write_bytes(small.read_bytes()[:500])
    pool = make_pool()
    opened = pictures.opened_file(small)
    size = small.stat().st_size
    with small.open("r+b") as file:
        if change == "appended":
            file.seek(size)
            file.write(b"more")
        elif change == "overwritten":
            file.seek(size // 2)
            file.write(b"other")
        elif change != "touched":
            file.truncate(0 if change == "emptied" else size // 2)
    if change == "touched":
        os.utime(small, ns=(1, 1))
    with pytest.raises(FileNotReady):
        pool.submit(opened).result(60)
    small.write_bytes(pictures.small_jpeg())
    decode(pool, small)


def test_a_file_above_the_limit_is_refused_unread(make_pool: MakePool, tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.jpg"
    with sparse.open("wb") as file:
        file.truncate(5 * 2**30)
    pool = make_pool()
    assert refusal(pool, sparse) == RejectReason.TOO_LARGE
    assert pool.pids == ()


def test_the_walls_are_reported_and_in_force(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWATCH_STORE__API_KEY", "very-secret")
    pool = make_pool()
    report = pool.probe()
    assert report["memory_bytes"] == SETTINGS.memory_bytes
    (pid,) = pool.pids
    if sys.platform == "linux":
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        assert f"Seccomp:\t{2 if report['seccomp_filters'] else 0}" in status
        assert "NoNewPrivs:\t1" in status
        assert "Threads:\t1" in status
        limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
        assert any(str(SETTINGS.memory_bytes) in line for line in limits.splitlines() if "data" in line)
        assert b"very-secret" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert len(os.listdir(f"/proc/{pid}/fd")) <= 5


def test_memory_beyond_the_limit_is_a_refusal(make_pool: MakePool, tmp_path: Path, small: Path) -> None:
    """25 million pixels with alpha fit once, and not twice."""
    path = tmp_path / "large.png"
    path.write_bytes(pictures.png_file((5000, 5000), 8, 6, [bytes(20000)] * 5000))
    pool = make_pool(replace(SETTINGS, memory_bytes=160 * 2**20))
    assert refusal(pool, path) == RejectReason.MEMORY
    decode(pool, small)


def test_a_worker_that_grew_is_replaced(make_pool: MakePool, small: Path) -> None:
    """Every worker is large where so little memory is allowed."""
    pool = make_pool(replace(SETTINGS, memory_bytes=40 * 2**20))
    pool.probe()
    (first,) = pool.pids
    decode(pool, small)
    decode(pool, small)
    assert first not in pool.pids


def test_the_queue_is_given_back_when_the_pool_closes(make_pool: MakePool, small: Path) -> None:
    held, entered = threading.Event(), threading.Event()

    def known(_: str) -> bool:
        entered.set()
        return not held.wait(30)

    before = open_descriptors()
    pool = make_pool(known=known)
    futures = [pool.submit(pictures.opened_file(small)) for _ in range(5)]
    assert entered.wait(30)
    assert (pool.busy, pool.queued) == (1, 4)
    closing = threading.Thread(target=pool.close)
    closing.start()
    wait(futures[1:], 30)
    held.set()
    closing.join(30)
    assert isinstance(futures[0].result(30), DecodedImage)
    for future in futures[1:]:
        assert isinstance(future.exception(30), FileNotReady)
    assert isinstance(pool.submit(pictures.opened_file(small)).exception(1), FileNotReady)
    assert pool.pids == ()
    assert open_descriptors() == before


def test_a_cancelled_file_is_passed_over(make_pool: MakePool, small: Path) -> None:
    held, entered = threading.Event(), threading.Event()

    def known(_: str) -> bool:
        entered.set()
        return not held.wait(30)

    pool = make_pool(known=known)
    first, second, third = (pool.submit(pictures.opened_file(small)) for _ in range(3))
    assert entered.wait(30)
    assert second.cancel()
    held.set()
    assert isinstance(first.result(30), DecodedImage)
    assert isinstance(third.result(30), DecodedImage)


def test_a_worker_that_cannot_start_is_said_and_not_tried_in_a_loop(
    make_pool: MakePool, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "PIL").mkdir()
    (tmp_path / "PIL" / "__init__.py").write_text("raise ImportError('a library is missing')", encoding="ascii")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pool = make_pool()
    with pytest.raises(DecodeUnavailable, match="a library is missing"):
        pool.submit(pictures.opened_file(small)).result(60)
    started = time.monotonic()
    for _ in range(100):
        with pytest.raises(FileNotReady):
            pool.submit(pictures.opened_file(small)).result(60)
    assert time.monotonic() - started < 0.8
    with pytest.raises(DecodeUnavailable):
        pool.probe()


def test_a_file_named_like_a_library_in_the_working_folder_is_not_run(
    make_pool: MakePool, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "PIL.py").write_text("raise SystemExit('taken over')", encoding="ascii")
    monkeypatch.chdir(tmp_path)
    decode(make_pool(), small)


def test_a_background_that_is_no_colour_is_refused_at_once() -> None:
    with pytest.raises(ConfigError):
        DecodeSettings.from_config(Preprocessing(), ImageConfig(background="whitish"), LimitsConfig())


@pytest.mark.slow
def test_two_thousand_pictures_leave_no_descriptor_behind(make_pool: MakePool, tmp_path: Path) -> None:
    paths = []
    for name, data in (("a.jpg", pictures.small_jpeg()), ("b.png", pictures.small_png()), ("c.jpg", b"no picture")):
        paths.append(tmp_path / name)
        paths[-1].write_bytes(data)
    pool = make_pool(workers=2)
    wait([pool.submit(pictures.opened_file(paths[0])) for _ in range(10)])
    before, pids = open_descriptors(), pool.pids
    workers = [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]
    for _ in range(20):
        wait([pool.submit(pictures.opened_file(paths[i % 3])) for i in range(100)])
    assert open_descriptors() == before
    assert pool.pids == pids
    assert [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids] == workers


def test_the_picture_is_upright_and_its_size_too(make_pool: MakePool, tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    path.write_bytes(pictures.oriented_jpeg(Image.new("RGB", (300, 200), "red"), 6))
    made = decode(make_pool(), path)
    assert (made.width, made.height) == (300, 200)
