"""The real command with its embedded store, killed at one step of a pass after the other; the next start ends it."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import pytest

from support import kill_at_step
from support.changes import change_everything
from support.commands import PATIENCE_SECONDS, Home
from support.mirrors import fill, true_images
from support.onnx_models import save, vision_tower

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BATCH = 5


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Home:
    home = Home(
        tmp_path,
        {
            "CLIPWATCH_MODEL__PATH": str(save(vision_tower(width=8, side=56), tmp_path / "tiny.onnx")),
            "CLIPWATCH_MODEL__THREADS": "1",
            "CLIPWATCH_BATCH__SIZE": str(BATCH),
            "CLIPWATCH_LIMITS__DELETE_FRACTION": "1",
        },
    )
    home.images.mkdir()
    return home


def killed_at(home: Home, number: int) -> bool:
    """Whether `sync` came as far as its *number*th step, and was killed there."""
    done = subprocess.run(
        [sys.executable, kill_at_step.__file__, str(number), "sync"],
        cwd=home.path,
        env=home.full_environment(),
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    events = [json.loads(line) for line in done.stderr.splitlines()]
    inferences = sum(event["images"] for event in events if event["event"] == "batch.embedded")
    stored = sum(event["points"] for event in events if event["event"] == "batch.stored")
    assert inferences - stored <= BATCH, "what has to be made again is one batch"
    return done.returncode != 0


def stored(home: Home) -> set[str]:
    lines = home.run("export").stdout.splitlines()
    return {json.loads(line)["payload"]["content"] for line in lines}


def sweep(home: Home, numbers: Iterable[int]) -> int:
    """Kill at each of *numbers* until a run ends before its turn; how many kills that were."""
    fill(home.images, 6)
    for kills, number in enumerate(numbers):
        change_everything(home.images, kills)
        if not killed_at(home, number):
            return kills
        before = stored(home)
        answer = home.json("sync")
        fresh = {truth.content for truth in true_images(home.images).values()} - before
        assert (answer["embedded"], answer["held"]) == (len(fresh), 0)
        verified = home.json("verify")
        assert verified["exact"], (number, verified)
    raise AssertionError("no run came to its end")


def test_killed_at_some_steps_of_every_kind(home: Home) -> None:
    first = random.Random(5).randrange(1, 12)
    assert sweep(home, count(first, 37)) >= 4


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_killed_at_each_step(home: Home) -> None:
    assert sweep(home, count(1)) >= 150
