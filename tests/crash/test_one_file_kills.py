"""The real daemon, brought down by what it works on: out of memory, and twice by the same picture."""

from __future__ import annotations

import contextlib
import sqlite3
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
        return {bytes(path) for (path,) in notebook.execute("SELECT path FROM suspect WHERE in_hand")}
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
    answer = home.json("sync")
    assert answer["unchanged"] >= done
    assert home.json("verify")["exact"]


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


def test_a_picture_at_hand_at_two_deaths_is_put_aside_and_the_rest_goes_on(home: Home) -> None:
    home.environment["CLIPWATCH_IMAGE__EXACT_DECODE"] = "true"
    fill(home.images, 12)
    Image.new("RGB", (9900, 9900), (200, 30, 90)).save(home.images / "deadly.png")
    for _ in range(2):
        with home.daemon() as daemon:
            wait_until(lambda: b"deadly.png" in in_hand(home), 60, every=0.005)
            daemon.process.kill()
    answer = home.json("sync")
    assert answer["rejected"] == 1
    (rejected,) = home.json("verify")["rejected"]
    assert (rejected["path"], rejected["reason"]) == ("deadly.png", "crashed")
    assert answer["images"] - answer["rejected"] == 12
