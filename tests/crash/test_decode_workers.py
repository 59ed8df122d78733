"""Workers killed, stopped and orphaned; and the whole hostile corpus through real ones."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from clipwatch.config import ImageConfig, LimitsConfig
from clipwatch.errors import DecoderKilled, FileRejected, RejectReason
from clipwatch.image.pool import DecodePool, DecodeSettings
from clipwatch.records import DecodedImage, Preprocessing
from support import pictures
from support.processes import is_alive

SETTINGS = DecodeSettings.from_config(Preprocessing(), ImageConfig(), LimitsConfig())


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        pause.wait(0.01)


@pytest.fixture(name="pool")
def _pool() -> Iterator[DecodePool]:
    pool = DecodePool(replace(SETTINGS, seconds=1.5), workers=1, known=lambda _: False, logger=structlog.get_logger())
    yield pool
    pool.close()


@pytest.fixture(name="small")
def _small(tmp_path: Path) -> Path:
    path = tmp_path / "small.jpg"
    path.write_bytes(pictures.small_jpeg())
    return path


def decodes(pool: DecodePool, path: Path) -> bool:
    return isinstance(pool.submit(pictures.opened_file(path)).result(60), DecodedImage)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGSYS])
def test_a_worker_that_dies_over_a_picture_costs_that_picture(
    pool: DecodePool, small: Path, number: signal.Signals
) -> None:
    error = ended_by(pool, small, number)
    assert isinstance(error, FileRejected)
    assert error.reason == RejectReason.CRASHED
    assert number.name in error.message


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGUSR1])
def test_a_worker_that_is_killed_from_outside_costs_no_picture(
    pool: DecodePool, small: Path, number: signal.Signals
) -> None:
    error = ended_by(pool, small, number)
    assert isinstance(error, DecoderKilled)
    assert f"{number.name} by somebody else" in error.message


def ended_by(pool: DecodePool, small: Path, number: signal.Signals) -> BaseException | None:
    """What becomes of a picture whose worker gets this signal; those behind it are decoded."""
    pool.probe()
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    doomed = pool.submit(pictures.opened_file(small))
    following = [pool.submit(pictures.opened_file(small)) for _ in range(3)]
    until(lambda: pool.busy == 1)
    os.kill(pid, number)
    os.kill(pid, signal.SIGCONT)
    error = doomed.exception(30)
    assert all(isinstance(future.result(60), DecodedImage) for future in following)
    assert pid not in pool.pids
    return error


def test_a_worker_that_died_idle_costs_nothing(pool: DecodePool, small: Path) -> None:
    assert decodes(pool, small)
    (pid,) = pool.pids
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid))
    assert decodes(pool, small)


def test_a_worker_that_hangs_is_ended_in_time(pool: DecodePool, small: Path) -> None:
    pool.probe()
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(FileRejected) as caught:
        pool.submit(pictures.opened_file(small)).result(30)
    assert caught.value.reason == RejectReason.TIMEOUT
    assert 1.5 <= time.monotonic() - started < 2.5
    assert not is_alive(pid)
    assert decodes(pool, small)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_ignore_what_is_meant_for_the_daemon(pool: DecodePool, small: Path, number: signal.Signals) -> None:
    pool.probe()
    (pid,) = pool.pids
    os.kill(pid, number)
    assert decodes(pool, small)
    assert pool.pids == (pid,)


PARENT = """
import signal, sys, structlog
from pathlib import Path
from clipwatch.config import ImageConfig, LimitsConfig
from clipwatch.image.pool import DecodePool, DecodeSettings
from clipwatch.records import Preprocessing
settings = DecodeSettings.from_config(Preprocessing(), ImageConfig(), LimitsConfig())
pool = DecodePool(settings, workers=1, known=lambda _: False, logger=structlog.get_logger())
pool.probe()
print(pool.pids[0], flush=True)
if sys.argv[1] == "exit":
    sys.exit()
signal.pause()
"""


@pytest.mark.parametrize("how", ["kill", "kill while stopped", "exit"])
def test_no_worker_outlives_its_parent(how: str) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, how], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert how == "exit" or is_alive(pid)
        if how == "kill while stopped":
            os.kill(pid, signal.SIGSTOP)
        if how != "exit":
            parent.kill()
        parent.wait(30)
    until(lambda: not is_alive(pid))


def test_closing_ends_even_a_worker_that_hangs(small: Path) -> None:
    pool = DecodePool(SETTINGS, workers=1, known=lambda _: False, logger=structlog.get_logger())
    pool.probe()
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    future = pool.submit(pictures.opened_file(small))
    until(lambda: pool.busy == 1)
    pool.close(wait_seconds=0.1)
    assert future.exception(5) is not None
    assert not isinstance(future.exception(), FileRejected), "the file is not to blame"
    assert not is_alive(pid)


@pytest.mark.slow
def test_the_whole_corpus_costs_each_file_only_itself(tmp_path: Path) -> None:
    corpus = pictures.hostile_corpus(tmp_path)
    pool = DecodePool(SETTINGS, workers=2, known=lambda _: False, logger=structlog.get_logger())
    pool.probe()
    try:
        futures = {path: pool.submit(pictures.opened_file(path)) for path in corpus}
        wait(futures.values(), 100)
        pids = pool.pids
        for path, future in futures.items():
            error = future.exception()
            if corpus[path].reasons:
                assert isinstance(error, FileRejected), (path.name, error)
                assert error.reason in corpus[path].reasons, path.name
                assert corpus[path].format in error.message
                assert error.message.isprintable()
            else:
                assert error is None, path.name
        for pid in pids:
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            peak_kilobytes = int(status.split("VmHWM:")[1].split()[0])
            assert peak_kilobytes * 1024 < SETTINGS.memory_bytes / 2
        assert len(pids) == 2
    finally:
        pool.close()


@pytest.mark.slow
def test_hundreds_of_damaged_files_neither_kill_nor_swell_a_worker(tmp_path: Path) -> None:
    chance = random.Random(3)
    pool = DecodePool(SETTINGS, workers=2, known=lambda _: False, logger=structlog.get_logger())
    pool.probe()
    try:
        futures = []
        for i in range(400):
            source = (pictures.small_jpeg(), pictures.small_jpeg(progressive=True), pictures.small_png())[i % 3]
            damaged = bytearray(source)
            for _ in range(chance.choice((1, 5, 50))):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            path = tmp_path / f"{i}.jpg"
            path.write_bytes(damaged)
            futures.append(pool.submit(pictures.opened_file(path)))
        errors = [future.exception(100) for future in futures]
        assert all(error is None or isinstance(error, FileRejected) for error in errors)
        assert not any(isinstance(error, FileRejected) and error.reason == RejectReason.CRASHED for error in errors)
    finally:
        pool.close()
