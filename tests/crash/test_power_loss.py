"""The power goes: what was acknowledged is on the disk, and a batch that was not is there whole or not at all."""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import threading
from itertools import count
from pathlib import Path

import pytest
from qdrant_client import QdrantClient, models

from clipwatch.engine.process import Engine
from support.commands import Home
from support.engines import BATCH, WIDTH, batch, client_of, running_engine
from support.folders import wait_until, write_image
from support.power import cut_power, mounted, new_disk
from support.processes import engine_of

pytestmark = pytest.mark.slow
NAME, BATCHES = "images", 8
RESERVE_BYTES = 16 << 20
CUTS = 4


def generation_of(client: QdrantClient, number: int) -> int:
    """Of one batch, which must be whole, and the same in vectors and payloads."""
    stored = client.retrieve(NAME, range(number * BATCH, (number + 1) * BATCH), with_vectors=True)
    assert len(stored) == BATCH
    (found,) = {item.payload["g"] for item in stored if item.payload}
    for item in stored:
        assert isinstance(item.vector, list)
        assert item.vector[1] == pytest.approx(found / (1 + found**2) ** 0.5, abs=1e-6)
    return int(found)


class Writer(threading.Thread):
    """Overwrites batch after batch until told to stop; *acknowledged* is what the engine has answered to."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.acknowledged = dict.fromkeys(range(BATCHES), 0)
        self.stop = threading.Event()
        self._engine, self._dice = engine, random.Random(3)

    def run(self) -> None:
        with client_of(self._engine) as client:
            for generation in count(1):
                if self.stop.is_set():
                    return
                number = self._dice.randrange(BATCHES)
                client.upsert(NAME, batch(number, generation))
                self.acknowledged[number] = generation


def test_the_disk_keeps_what_was_flushed_and_nothing_else(tmp_path: Path) -> None:
    """Of the double itself: where it kept everything, the tests below could not fail."""
    device, page = new_disk(tmp_path, 16), 4096
    with mounted(device, tmp_path / "before") as before:
        for name in ("flushed", "not"):
            (before / name).write_bytes(bytes(page))
        os.sync()
        for name in ("not", "flushed"):
            with (before / name).open("r+b") as stream, mmap.mmap(stream.fileno(), page) as mapped:
                mapped[:] = b"x" * page
                if name == "flushed":
                    mapped.flush()
        with subprocess.Popen(["sleep", "60"]) as writer:
            cut_power(device, tmp_path / "copy", writer.pid)
            writer.kill()
    with mounted(tmp_path / "copy", tmp_path / "after") as after:
        assert (after / "flushed").read_bytes() == b"x" * page
        assert (after / "not").read_bytes() == bytes(page)


def test_nothing_the_engine_acknowledged_is_lost_and_no_batch_is_torn(tmp_path: Path) -> None:
    device, dice, tick = new_disk(tmp_path, 144), random.Random(7), threading.Event()
    with (
        mounted(device, tmp_path / "before") as before,
        running_engine(before / "store", reserve_bytes=RESERVE_BYTES) as engine,
        client_of(engine) as client,
    ):
        client.create_collection(NAME, models.VectorParams(size=WIDTH, distance=models.Distance.COSINE))
        for number in range(BATCHES):
            client.upsert(NAME, batch(number, 0))
        writer = Writer(engine)
        writer.start()
        try:
            for cut in range(CUTS):
                tick.wait(dice.uniform(0.01, 0.2))
                acknowledged = dict(writer.acknowledged)
                assert engine.pid is not None
                cut_power(device, tmp_path / f"cut-{cut}", engine.pid)
                assert_kept(tmp_path / f"cut-{cut}", tmp_path / "after", acknowledged)
                (tmp_path / f"cut-{cut}").unlink()
        finally:
            writer.stop.set()
            writer.join()
        assert sum(writer.acknowledged.values()) > CUTS


def assert_kept(cut: Path, at: Path, acknowledged: dict[int, int]) -> None:
    """After the boot the store opens, holds all that was acknowledged, and takes what comes."""
    with (
        mounted(cut, at),
        running_engine(at / "store", reserve_bytes=RESERVE_BYTES) as engine,
        client_of(engine) as client,
    ):
        for number, least in acknowledged.items():
            assert generation_of(client, number) >= least
        assert client.count(NAME).count == BATCHES * BATCH
        client.upsert(NAME, batch(BATCHES, 1))
        assert generation_of(client, BATCHES) == 1


def test_after_a_cut_the_next_start_does_only_what_was_not_acknowledged(tmp_path: Path) -> None:
    device, images = new_disk(tmp_path, 400), 200
    home = Home(tmp_path)
    home.images.mkdir()
    for number in range(images):
        write_image(home.images / f"{number}.jpg", number)
    data = tmp_path / "data"
    with mounted(device, data), home.daemon() as daemon:
        wait_until(lambda: len(daemon.events("batch.verified")) >= 2)
        kept = sum(line["points"] for line in daemon.events("batch.verified"))
        cut_power(device, tmp_path / "cut", engine_of(daemon.process.pid))
    with mounted(tmp_path / "cut", data):
        answer = home.json("sync")
        assert answer["embedded"] <= images - kept
        assert answer["embedded"] + answer["unchanged"] == images
        assert home.json("verify")["exact"] is True
