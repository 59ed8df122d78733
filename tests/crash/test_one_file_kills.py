"""The real daemon, killed while it works: by the kernel, from outside, and each time by the same picture."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import subprocess
import time
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from support.commands import Home
from support.folders import wait_until
from support.memory_group import MemoryGroup, memory_group
from support.mirrors import fill
from support.onnx_models import save, vision_tower

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Home:
    model = save(vision_tower(width=8, side=56), tmp_path / "tiny.onnx")
    home = Home(tmp_path, {"CLIPWATCH_MODEL__PATH": str(model), "CLIPWATCH_BATCH__SIZE": "5"})
    home.images.mkdir()
    return home


def in_hand(home: Home) -> set[bytes]:
    """What the notebook says is being decoded; nothing while there is no notebook yet."""
    file = home.path / "data" / "state" / "notebook.sqlite"
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as notebook,
    ):
        return {bytes(path) for (path,) in notebook.execute("SELECT path FROM suspected WHERE in_hand")}
    return set()


def test_killed_for_want_of_memory_the_next_start_is_exact(home: Home) -> None:
    fill(home.images, 150)
    with memory_group() as group:
        with home.daemon(before=group.command) as daemon:
            daemon.wait_for("batch.verified")
            # The kernel's choice is the largest; it shall be the daemon, and not by its size of today.
            Path(f"/proc/{daemon.process.pid}/oom_score_adj").write_text("1000", encoding="ascii")
            starve(group, home)
            assert daemon.process.wait(60) == -9
            assert group.kills
            done = sum(line["points"] for line in daemon.events("batch.verified"))
        group.limit(None)
        wait_until(lambda: not (group.path / "cgroup.procs").read_text(encoding="ascii"))
        with home.daemon(before=group.command) as daemon:
            (died,) = daemon.wait_for("program.died")
            assert died["reason"] == "out_of_memory", died
            images = home.wait_exact()["images"]
            assert sum(line["images"] for line in daemon.events("batch.embedded")) <= images - done
    answer = home.json("verify")
    assert answer["exact"]
    assert not answer["rejected"]


def starve(group: MemoryGroup, home: Home) -> None:
    """Take away what is still free, and more, while there is always work, until somebody dies of it."""
    limit, turns = group.usage_bytes, count(1)

    def killed() -> bool:
        nonlocal limit
        limit -= 1 << 20
        fill(home.images, 5, first=1000 * next(turns))
        with contextlib.suppress(OSError):  # too much in use to go so low: the next page is one too many
            group.limit(limit)
        return group.kills > 0

    wait_until(killed, 60)


@pytest.fixture(name="deadly")
def _deadly(home: Home) -> Home:
    """Twelve small pictures, and one that is in hand for long enough to be met there."""
    home.environment["CLIPWATCH_IMAGE__EXACT_DECODE"] = "true"
    fill(home.images, 12)
    Image.new("RGB", (9900, 9900), (200, 30, 90)).save(home.images / "deadly.png")
    return home


def die_with_it_in_hand(home: Home, number: signal.Signals = signal.SIGKILL) -> None:
    with home.daemon() as daemon:
        wait_until(lambda: b"deadly.png" in in_hand(home), 60, every=0.005)
        daemon.stop(number)


def test_a_good_picture_that_was_in_hand_at_two_kills_loses_nothing(deadly: Home) -> None:
    for _ in range(2):
        die_with_it_in_hand(deadly)
    answer = deadly.json("sync")
    assert (answer["images"], answer["rejected"]) == (13, 0)
    answer = deadly.json("verify")
    assert answer["exact"]
    assert not answer["rejected"]


def test_a_picture_that_kills_the_program_every_time_is_put_aside_and_the_rest_goes_on(deadly: Home) -> None:
    for _ in range(3):
        die_with_it_in_hand(deadly)
    with deadly.daemon() as daemon:
        daemon.wait_for("image.put_aside")
        wait_until(lambda: deadly.json("status")["points"] == 12)
        status = deadly.json("status")
        assert (status["pending"], status["put_aside"], status["rejected"]) == (1, 1, 0)
        assert "deadly.png is tried again in" in deadly.run("status").stdout
    done = deadly.run("sync", expect=1)
    assert "deadly.png is tried again in" in done.stderr
    done = deadly.run("verify", expect=1)
    assert "missing" in done.stdout
    assert "1 images in folder images are put aside" in done.stderr
    assert "makes it exact" not in done.stdout


def test_a_picture_on_which_the_program_itself_crashes_is_found_at_the_second_crash(deadly: Home) -> None:
    for _ in range(2):
        die_with_it_in_hand(deadly, signal.SIGSEGV)
    with deadly.daemon() as daemon:
        (died,) = daemon.wait_for("program.died")
        assert died["reason"] == "crash"
        assert "Segmentation fault" in died["report"]
        (aside,) = daemon.wait_for("image.put_aside")
        assert aside["path"] == "deadly.png"


def test_a_daemon_that_is_told_to_stop_twice_blames_no_picture(deadly: Home) -> None:
    for _ in range(3):
        with deadly.daemon() as daemon:
            wait_until(lambda: b"deadly.png" in in_hand(deadly), 60, every=0.005)
            daemon.process.send_signal(signal.SIGTERM)
            wait_until(lambda: b"deadly.png" not in in_hand(deadly) or daemon.process.poll() is not None)
            with contextlib.suppress(ProcessLookupError):
                daemon.process.send_signal(signal.SIGTERM)
            assert daemon.process.wait(60) == 0
    assert not deadly.json("sync")["rejected"]
    assert deadly.json("verify")["exact"]


def kill_while_files_come_and_go(home: Home, kills: int, longest_seconds: float, chance: random.Random) -> None:
    numbers = count(1)
    fill(home.images, 30)
    for _ in range(kills):
        with home.daemon(until="daemon.started") as daemon:
            deadline = time.monotonic() + chance.uniform(longest_seconds / 3, longest_seconds)
            while time.monotonic() < deadline:
                fill(home.images, 3, first=1000 * next(numbers))
                for file in chance.sample(sorted(home.images.iterdir()), 1):
                    file.unlink()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    daemon.process.wait(0.05)
            daemon.process.kill()
    answer = home.json("sync")
    assert answer["rejected"] == 0
    answer = home.json("verify")
    assert answer["exact"]
    assert not answer["rejected"]


def test_kills_while_files_come_and_go_cost_no_picture(home: Home) -> None:
    home.environment["CLIPWATCH_LIMITS__DELETE_FRACTION"] = "1"
    kill_while_files_come_and_go(home, 5, 1.5, random.Random(5))


@pytest.mark.soak
def test_twelve_kills_while_files_come_and_go_cost_no_picture(home: Home) -> None:
    home.environment["CLIPWATCH_LIMITS__DELETE_FRACTION"] = "1"
    for seed in range(8):
        kill_while_files_come_and_go(home, 12, 3.0, random.Random(seed))
