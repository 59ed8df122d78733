"""The real daemon with its embedded store: its engine killed and hung, itself ended in the middle of a batch."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.commands import Home
from support.folders import wait_until
from support.mirrors import fill, put
from support.onnx_models import save, vision_tower
from support.processes import children, command_line, engine_of, is_alive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Home:
    model = save(vision_tower(width=8, side=56), tmp_path / "tiny.onnx")
    settings = {"CLIPWATCH_MODEL__PATH": str(model), "CLIPWATCH_MODEL__THREADS": "1", "CLIPWATCH_BATCH__SIZE": "5"}
    home = Home(tmp_path, {**settings, "CLIPWATCH_STORE__TIMEOUT_SECONDS": "5"})
    home.images.mkdir()
    return home


@pytest.fixture(name="writer")
def _writer(home: Home) -> Iterator[threading.Event]:
    """Somebody who keeps adding pictures until the event is set."""
    stop = threading.Event()

    def write() -> None:
        for number in range(200):
            fill(home.images, 1, first=10_000 + number)
            if stop.wait(0.05):
                return

    thread = threading.Thread(target=write)
    thread.start()
    yield stop
    stop.set()
    thread.join()


def assert_exact(home: Home) -> None:
    home.wait_exact()
    home.json("sync")
    answer = home.json("verify")
    assert answer["exact"], answer


def test_the_engine_killed_under_load_costs_nothing(home: Home, writer: threading.Event) -> None:
    fill(home.images, 60)
    with home.daemon() as daemon:
        # SIGBUS: what a page that the disk does not give comes to.
        for number in (signal.SIGKILL, signal.SIGBUS, signal.SIGKILL):
            daemon.wait_for("batch.verified", len(daemon.events("batch.verified")) + 1)
            os.kill(engine_of(daemon.process.pid), number)
        writer.set()
        assert_exact(home)
        assert daemon.stop() == 0


def test_a_hung_engine_is_waited_for_and_all_is_well_when_it_goes_on(home: Home, writer: threading.Event) -> None:
    fill(home.images, 20)
    with home.daemon() as daemon:
        daemon.wait_for("batch.verified")
        engine = engine_of(daemon.process.pid)
        os.kill(engine, signal.SIGSTOP)
        try:
            daemon.wait_for("store.unavailable")
            assert home.json("status")["state"] == "store-unavailable", "the daemon itself goes on answering"
        finally:
            os.kill(engine, signal.SIGCONT)
        writer.set()
        assert_exact(home)
        assert daemon.stop() == 0


def test_sigterm_in_the_middle_of_a_batch_ends_it_in_time_and_the_rest_is_done_later(home: Home) -> None:
    fill(home.images, 300)
    with home.daemon() as daemon:
        daemon.wait_for("batch.stored")
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 10
    answer = home.json("sync")
    assert answer["images"] == 300
    assert answer["embedded"] + answer["unchanged"] == 300
    assert answer["unchanged"] > 0
    assert home.json("verify")["exact"]


def test_sigterm_while_the_engine_hangs_still_ends_in_time_and_leaves_nobody(home: Home) -> None:
    fill(home.images, 100)
    with home.daemon() as daemon:
        daemon.wait_for("batch.stored")
        family = children(daemon.process.pid)
        os.kill(engine_of(daemon.process.pid), signal.SIGSTOP)
        began = time.monotonic()
        try:
            assert daemon.stop() == 0
            seconds = time.monotonic() - began
        finally:
            for pid in family:
                if is_alive(pid) and "clipwatch" in command_line(pid):
                    os.kill(pid, signal.SIGCONT)
        assert seconds < 10
        wait_until(lambda: not any(is_alive(pid) for pid in family), 15)
    home.json("sync")
    assert home.json("verify")["exact"]


def test_a_daemon_killed_under_load_leaves_nobody_and_the_next_one_is_exact(home: Home) -> None:
    fill(home.images, 80)
    for round_ in range(3):
        with home.daemon() as daemon:
            daemon.wait_for("batch.stored")
            family = children(daemon.process.pid)
            assert len(family) >= 2
            daemon.process.kill()
            wait_until(lambda family=family: not any(is_alive(pid) for pid in family), 15)  # type: ignore[misc]
        fill(home.images, 20, first=1000 * (round_ + 1))
    with home.daemon():
        assert_exact(home)


def test_the_state_directory_deleted_while_it_runs_costs_no_correctness(home: Home) -> None:
    fill(home.images, 10)
    put(home.images, "bad.png", b"no picture")
    with home.daemon() as daemon:
        daemon.wait_for("collection.counted")
        shutil.rmtree(home.path / "data/state")
        os.kill(engine_of(daemon.process.pid), signal.SIGKILL)
        (home.images / "00003.png").rename(home.images / "moved.png")
        put(home.images, "bad2.png", b"no picture")
        daemon.wait_for("image.rejected", 2)
        daemon.wait_for("points.renamed")
        daemon.wait_for("state.renewed")
        assert_exact(home)
        assert len(home.json("search", "--image", str(home.images / "moved.png"))["hits"]) == 10
        assert str(daemon.process.pid) in home.run("run", expect=4).stderr
        shutil.rmtree(home.path / "data/store")
        fill(home.images, 1, first=50)
        daemon.wait_for("collection.missing")
        assert_exact(home)
        assert daemon.stop() == 0
    answer = home.json("sync")
    assert (answer["embedded"], answer["reused"], answer["deleted"]) == (0, 0, 0)
