"""Far more changes at once than the kernel's queue holds, while the daemon is at work: the collection is the folder."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.commands import Home, Running
from support.folders import wait_until
from support.hostile_folder import peak_bytes
from support.mirrors import fill
from support.onnx_models import save, vision_tower

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CONTENTS, DIRECTORIES, AT_WORK = 8, 100, 60
GROWN_BYTES = 100 << 20
"""By which a burst may make the daemon grow."""


@pytest.fixture(name="home")
def _home() -> Iterator[Home]:
    """In memory: 20,000 names a second are not to wait for a disk."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        path = Path(directory)
        model = save(vision_tower(width=8, side=56), path / "tiny.onnx")
        home = Home(path, {"CLIPWATCH_MODEL__PATH": str(model)})
        home.images.mkdir()
        (path / "contents").mkdir()
        fill(path / "contents", CONTENTS)
        yield home


def burst(home: Home, first: int, number: int) -> None:
    """Files that appear under a temporary name and are renamed, as rsync does, as fast as this machine can."""
    contents = [file.read_bytes() for file in (home.path / "contents").iterdir()]
    for place in range(DIRECTORIES):
        (home.images / f"{place}").mkdir(exist_ok=True)
    for n in range(first, first + number):
        below = home.images / str(n % DIRECTORIES)
        temporary = below / f".{n}.png.Xa81Kq"
        temporary.write_bytes(contents[n % CONTENTS])
        temporary.rename(below / f"{n}.png")


def assert_mirrored(home: Home, images: int) -> None:
    def quiet() -> bool:
        status = home.json("status")
        return bool(status["pending"] == 0 and status["points"] == images)

    wait_until(quiet, 300, every=0.5)
    answer = home.json("verify")
    assert answer["exact"], {key: value[:3] for key, value in answer.items() if isinstance(value, list)}


def bursts(home: Home, sizes: tuple[int, int]) -> None:
    """One while it works, one while it stands still and hears nothing."""
    at_work, asleep = sizes
    fill(home.images, AT_WORK, first=1000)
    with home.daemon() as daemon:
        daemon.wait_for("batch.stored")
        before = peak_bytes(daemon.process.pid)
        burst(home, 0, at_work)
        assert_mirrored(home, AT_WORK + at_work)
        os.kill(daemon.process.pid, signal.SIGSTOP)
        try:
            burst(home, at_work, asleep)
        finally:
            os.kill(daemon.process.pid, signal.SIGCONT)
        assert_mirrored(home, AT_WORK + at_work + asleep)
        assert_little_work(daemon)
        assert peak_bytes(daemon.process.pid) < before + GROWN_BYTES
        assert daemon.stop() == 0


def assert_little_work(daemon: Running) -> None:
    """Each content once."""
    assert sum(line["images"] for line in daemon.events("batch.embedded")) <= AT_WORK + CONTENTS


def test_twenty_thousand_files_at_once_and_eight_thousand_while_it_sleeps(home: Home) -> None:
    bursts(home, (20_000, 8_000))


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("backend", ["watchdog", "watchfiles"])
def test_two_hundred_thousand_files_at_once(home: Home, backend: str) -> None:
    home.environment["CLIPWATCH_WATCH__BACKEND"] = backend
    bursts(home, (200_000, 20_000))
