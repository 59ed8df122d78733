"""The disk of store and state, full or read-only, under the real daemon: it waits, and goes on answering."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.commands import Home
from support.folders import wait_until
from support.mirrors import fill, put
from support.onnx_models import save, vision_tower
from support.power import mounted, new_disk
from support.small_disk import small_disk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TOO_LITTLE_BYTES = 100_000_000
"""Less than the engine keeps free."""


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Home:
    model = save(vision_tower(width=8, side=56), tmp_path / "tiny.onnx")
    home = Home(tmp_path, {"CLIPWATCH_MODEL__PATH": str(model), "CLIPWATCH_MODEL__THREADS": "1"})
    home.images.mkdir()
    fill(home.images, 10)
    return home


@pytest.fixture(name="data")
def _data(home: Home) -> Iterator[Path]:
    with small_disk(home.path / "data", 420) as data:
        yield data


def fill_disk(disk: Path, name: str, free_bytes: int) -> None:
    with (disk / name).open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(disk).free - free_bytes)


def assert_served(home: Home) -> None:
    assert len(home.json("search", "--image", str(home.images / "00003.png"))["hits"]) == 10


def test_on_a_full_disk_writes_wait_searches_are_served_and_all_goes_on_by_itself(home: Home, data: Path) -> None:
    with home.daemon() as daemon:
        daemon.wait_for("collection.counted")
        fill_disk(data, "filler", TOO_LITTLE_BYTES)
        fill(home.images, 3, first=100)
        assert "Free space" in daemon.wait_for("store.unavailable")[-1]["reason"]
        assert home.json("status")["state"] == "store-unavailable"
        fill_disk(data, "rest", 0)
        put(home.images, "bad.png", b"no picture")
        daemon.wait_for("image.rejected")
        assert_served(home)
        for name in ("filler", "rest"):
            (data / name).unlink()
        wait_until(lambda: home.json("status")["points"] == 13, 60, every=0.5)
        assert home.wait_exact()["rejected"] == 1
        assert home.json("verify")["exact"]
        assert daemon.stop() == 0
    assert not daemon.events("points.deleted")


def test_a_disk_that_turns_read_only_is_waited_for_and_nothing_is_lost(home: Home) -> None:
    device = new_disk(home.path, 400)
    with mounted(device, home.path / "data") as data, home.daemon() as daemon:
        daemon.wait_for("collection.counted")
        # As the kernel does by itself when the device fails: whatever has files open there is not asked.
        subprocess.run(["mount", "-o", "remount,abort", str(data)], check=True)
        fill(home.images, 3, first=100)
        (home.images / "00009.png").unlink()
        assert "takes no writes" in daemon.wait_for("store.unavailable")[-1]["reason"]
        assert_served(home)
        assert home.json("status")["state"] == "store-unavailable"
        assert daemon.stop() == 0
    with mounted(device, home.path / "data"):
        answer = home.json("sync")
        assert (answer["embedded"], answer["unchanged"], answer["deleted"]) == (3, 9, 1)
        assert home.json("verify")["exact"]


def test_a_read_only_state_ends_with_two_and_removes_nothing(home: Home, data: Path) -> None:
    home.run("sync")
    kept = sorted(data.rglob("*"))
    subprocess.run(["mount", "-o", "remount,ro", str(data)], check=True)
    for command in ("run", "sync"):
        assert "read-only" in home.run(command, expect=2).stderr.lower()
    subprocess.run(["mount", "-o", "remount,rw", str(data)], check=True)
    assert sorted(data.rglob("*")) == kept
    answer = home.json("sync")
    assert (answer["embedded"], answer["unchanged"]) == (0, 10)
