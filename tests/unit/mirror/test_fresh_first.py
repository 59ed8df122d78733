"""A file that somebody has just dropped does not wait behind ten thousand that were there before."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from clipwatch.config import BatchConfig
from support.mirrors import bench, fill, picture, put, run_until, shared_decoder, tiny_encoder

BATCH = 5


class Gated:
    """The encoder, a batch at a time: each waits to be allowed."""

    def __init__(self) -> None:
        self.allowed = threading.Semaphore(0)
        self._encoder = tiny_encoder()

    def encode(self, pixels: Sequence[Any]) -> Any:
        assert self.allowed.acquire(timeout=60)
        return self._encoder.encode(pixels)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


@pytest.mark.parametrize("batches_before", [0, 1, 4])
def test_a_fresh_file_is_stored_with_the_next_batch_but_one(tmp_path: Path, batches_before: int) -> None:
    gated, decoder = Gated(), shared_decoder(tiny_encoder().preprocessing)
    with bench(tmp_path, batch=BatchConfig(size=BATCH, max_wait_seconds=60.0), encoder=gated) as b:
        fill(b.folder, 30 * BATCH)
        b.start()
        for _ in range(batches_before):
            gated.allowed.release()
        run_until(b.now, b.clock, lambda: len(b.told.events("batch.verified")) == batches_before)
        run_until(b.now, b.clock, lambda: b.now.pipeline.inference.queued and not b.now.pipeline.decoding)
        submitted = decoder.submitted
        put(b.folder, "new.png", picture(7000))
        b.touch("new.png")
        run_until(b.now, b.clock, lambda: decoder.submitted > submitted and not b.now.pipeline.decoding)
        gated.allowed.release(2)  # the batch that the model has at that moment, and the next
        run_until(b.now, b.clock, lambda: b"new.png" in b.paths())
        assert b.now.pending() > 20 * BATCH
        gated.allowed.release(1000)
        b.quiet()
        b.assert_exact()
