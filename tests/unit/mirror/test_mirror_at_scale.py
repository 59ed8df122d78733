"""Ten thousand files: no inference too many, and no step that costs more the more is waiting."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clipwatch.mirror.ledger import Ledger
from clipwatch.records import LedgerRow, point_uuid
from support.mirrors import Bench, InstantDecoder, bench, picture, run_until, tiny_encoder

pytestmark = pytest.mark.slow


@pytest.fixture(name="b")
def _b() -> Iterator[Bench]:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as directory, bench(Path(directory), decoder=InstantDecoder) as made:
        yield made


def many(b: Bench, number: int) -> None:
    """Different small pictures of one size."""
    directory = b.folder / "old"
    directory.mkdir()
    data = picture(1)
    for index in range(number):
        (directory / f"{index:06d}.png").write_bytes(data + index.to_bytes(4, "big"))


def test_ten_thousand_files_moved_by_one_rename_cost_no_inference(b: Bench) -> None:
    many(b, 10_000)
    b.start()
    b.quiet(100)
    b.inferences, began = 0, time.process_time()
    (b.folder / "old").rename(b.folder / "new")
    b.touch_tree("old")
    b.touch_tree("new")
    b.quiet(100)
    seconds = time.process_time() - began
    assert b.inferences == 0
    assert b.told.events("deletes.held") == []
    assert b.paths() == {f"new/{index:06d}.png".encode() for index in range(10_000)}
    assert seconds < 20


def test_a_step_costs_no_more_with_many_files_waiting_and_many_points_gone(b: Bench) -> None:
    """The store is away, so that all of it stays as it is."""
    number = 20_000
    b.watch = replace(b.watch, settle_seconds=3600.0)
    many(b, number)
    mirror = b.start()
    run_until(mirror, b.clock, lambda: mirror.store_state.ready and b.one.ledger is not None)
    ledger = Ledger("images", tiny_encoder().fingerprint)
    run_until(mirror, b.clock, lambda: len(b.one.work.pending) == number)
    signature = b.one.work.pending.signature(b"old/000000.png")
    assert signature is not None
    rows = [
        LedgerRow(
            point_uuid("images", b"gone-%d.png" % index), signature, f"sha256:{index:064d}", tiny_encoder().fingerprint
        )
        for index in range(number)
    ]
    ledger.load([rows])
    b.one.take_ledger(ledger)
    run_until(mirror, b.clock, lambda: b.one.scans.started == b.one.scans.asked and not b.one.unproven, seconds=60)
    assert len(b.one.work.pending) == number
    began = time.process_time()
    for _ in range(200):
        mirror.step()
    assert (time.process_time() - began) / 200 < 0.005
