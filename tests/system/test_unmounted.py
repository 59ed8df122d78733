"""The installed command, and a disk below the folder that comes and goes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.commands import SAMPLES, Home
from support.folders import wait_until
from support.small_disk import bind, unmount

pytestmark = pytest.mark.slow

ON_DISK = ("coffee.jpg", "rocket.jpg", "grass.jpg")


@pytest.fixture(name="usb")
def _usb(home: Home) -> Iterator[Path]:
    """Mounted at `images/usb`, with three pictures on it; two more are beside it."""
    home.add_samples("cat.jpg", "moon.png")
    disk, at = home.path / "disk", home.images / "usb"
    disk.mkdir()
    for name in ON_DISK:
        shutil.copy(SAMPLES / name, disk / name)
    bind(disk, at)
    yield at
    subprocess.run(["umount", str(at)], capture_output=True, check=False)


def test_while_it_runs_points_of_a_disk_that_goes_are_held_until_it_is_back_or_a_person_confirms(
    home: Home, usb: Path
) -> None:
    with home.daemon() as daemon:
        daemon.wait_for("collection.counted")
        assert home.wait_exact()["points"] == 5
        unmount(usb)
        (told,) = daemon.wait_for("deletes.held")
        assert (told["reason"], told["path"], told["points"], told["level"]) == ("unmounted", "usb", 3, "warning")
        status = home.wait_exact()
        assert (status["state"], status["images"], status["points"], status["held"]) == ("held", 2, 5, 3)
        assert "nothing is mounted at usb (3 points)" in home.run("status").stdout
        assert "nothing is mounted at usb (3 points)" in home.run("sync", expect=1).stderr
        different = home.json("verify", expect=1)
        assert {entry["path"] for entry in different["extra"]} == {f"usb/{name}" for name in ON_DISK}
        plan = home.json("sync", "--dry-run", expect=1)["plan"]
        assert {(action["path"], action["held"]) for action in plan} == {(f"usb/{n}", "unmounted") for n in ON_DISK}

        bind(home.path / "disk", usb)
        daemon.wait_for("deletes.released")
        assert home.wait_exact()["state"] == "watching"
        assert home.json("verify")["exact"] is True
        assert not daemon.events("points.deleted")

        unmount(usb)
        daemon.wait_for("deletes.held", 2)
        home.wait_exact()
        assert home.json("confirm") == {"deleted": 3}
        wait_until(lambda: home.json("status")["points"] == 2)
        assert home.json("verify")["exact"] is True
        assert daemon.stop() == 0


def test_sync_before_the_mount_at_boot_deletes_nothing(home: Home, usb: Path) -> None:
    assert home.json("sync")["embedded"] == 5
    unmount(usb)
    assert "(would be held)" in home.run("sync", "--dry-run", expect=1).stdout
    for _ in range(2):
        result = home.json("sync", expect=1)
        assert (result["images"], result["held"], result["deleted"]) == (2, 3, 0)
    assert "nothing is mounted at usb (3 points)" in home.run("verify", expect=1).stderr
    bind(home.path / "disk", usb)
    assert (home.json("sync")["unchanged"], home.json("verify")["exact"]) == (5, True)
    unmount(usb)
    assert home.json("sync", expect=1)["held"] == 3
    assert home.json("confirm") == {"deleted": 3}
    assert home.json("verify")["exact"] is True
    assert home.json("sync")["held"] == 0
