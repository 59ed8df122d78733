"""What the parts cost alone, before anything is put together: the session, and decoding.

A program of its own (`python -m bench.raw MODEL FOLDER...`), so that its memory and its threads are nobody else's.
Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from clipwatch.image.preprocess import Recipe, prepare
from clipwatch.model.cores import usable_cores
from clipwatch.model.onnx import OnnxEngine
from clipwatch.model.weights import read_weights
from clipwatch.records import Preprocessing

BATCH: Final = 25
SESSION_SECONDS: Final = 10.0
DECODE_SECONDS: Final = 4.0


def main() -> None:
    """Measure and tell."""
    model, *folders = (Path(argument) for argument in sys.argv[1:])
    answer = {
        "session": session_cost(model),
        "decode": {folder.name.rpartition("-")[0]: decode_costs(folder) for folder in folders},
    }
    print(json.dumps(answer))


def session_cost(model: Path) -> dict[str, float]:
    """img/s and CPU seconds an image of batches of 25 whose pixels lie in memory, with clipwatch's session options.

    A pool that spins, as ONNX Runtime's does by default, would count its waiting as work, and make the bound lenient.
    """
    engine = OnnxEngine(read_weights(model), device="cpu", threads=usable_cores())
    (taken,), (given,) = engine.inputs, engine.outputs
    batch = np.random.default_rng(0).standard_normal((BATCH, 3, 224, 224), np.float32)
    feed = {taken.name: batch}
    engine.run(given.name, feed)
    return per_image(lambda: engine.run(given.name, feed), BATCH, SESSION_SECONDS)


def decode_costs(folder: Path) -> dict[str, dict[str, float]]:
    """One picture after another on one thread, from bytes in memory to 224×224: as clipwatch does it, and in full."""
    data = [file.read_bytes() for file in sorted(folder.iterdir())[:20]]
    return {name: decode_cost(data, exact=exact) for name, exact in (("scaled", False), ("full", True))}


def decode_cost(data: list[bytes], *, exact: bool) -> dict[str, float]:
    recipe = Recipe.of(Preprocessing(), exact=exact, background="white", megapixels=100, memory_bytes=2**30)
    number = 0

    def one() -> None:
        nonlocal number
        prepare(data[number % len(data)], recipe)
        number += 1

    one()
    return per_image(one, 1, DECODE_SECONDS)


def per_image(work: Callable[[], Any], images: int, seconds: float) -> dict[str, float]:
    """Repeat *work*, which does that many *images*, for *seconds* and at least three times."""
    walls: list[float] = []
    cpu, started = time.process_time(), time.perf_counter()
    while len(walls) < 3 or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        work()
        walls.append(time.perf_counter() - before)
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    done = images * len(walls)
    return {
        "images_per_second": done / elapsed,
        "best_images_per_second": images / min(walls),
        "cpu_seconds_per_image": cpu / done,
    }


if __name__ == "__main__":
    main()
