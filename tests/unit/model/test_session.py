"""One ONNX Runtime session: what it costs in memory to make, and how it runs a batch."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from queue import Queue

import numpy as np
import pytest

from clipwatch.config import ModelConfig
from clipwatch.model.engine import Array
from clipwatch.model.files import locate
from clipwatch.model.load import build_encoder
from clipwatch.model.onnx import OnnxEngine
from clipwatch.model.weights import Weights, read_weights
from support.folders import wait_until
from support.onnx_models import pictures, save, script, vision_tower

MAKES_ONE = """
import sys
from pathlib import Path
from clipwatch.model.onnx import OnnxEngine
from clipwatch.model.weights import read_weights

def told(key):
    return int(Path("/proc/self/status").read_text().split(key + ":")[1].split()[0]) * 1024

weights = read_weights(Path(sys.argv[1]))
before = told("VmRSS")
engine = OnnxEngine(weights, device="cpu", threads=2)
print((told("VmHWM") - before) / weights.size_bytes)
"""


def test_a_session_is_made_without_holding_its_weights_twice(tmp_path: Path) -> None:
    vit = script("bench/make_vit.py")
    file = vit.make(tmp_path / "vit.onnx", vit.Size(width=512, heads=8, layers=8))
    done = subprocess.run(
        [sys.executable, "-c", MAKES_ONE, str(file)], capture_output=True, text=True, timeout=60, check=True
    )
    assert float(done.stdout) < 1.45, "times the weights; 1.6 to 1.8 where glibc keeps what was freed"


class Counting(OnnxEngine):
    """Notes how many pictures each run is given."""

    def __init__(self, weights: Weights, rows: int | None) -> None:
        super().__init__(weights, device="cpu", threads=1)
        self.rows = rows
        self.runs: list[int] = []

    def run(self, output: str, feeds: Mapping[str, Array]) -> Array:
        self.runs.extend(len(array) for array in feeds.values())
        return super().run(output, feeds)


@pytest.mark.parametrize(
    ("likes", "fixed", "runs"), [(5, None, [5] * 5 + [1] * 2), (None, None, [25, 1, 1]), (5, 8, [8] * 4)]
)
def test_a_batch_is_run_in_parts_that_the_engine_likes(
    tmp_path: Path, likes: int | None, fixed: int | None, runs: list[int]
) -> None:
    path = save(vision_tower(batch=fixed), tmp_path / "m.onnx")
    engine = Counting(read_weights(path), likes)
    config = ModelConfig(path=str(path))
    encoder = build_encoder(engine, locate(str(path), explicit_path=True), "", config, batch_size=25)
    engine.runs.clear()
    images = pictures(27)
    together = encoder.encode(images)
    assert engine.runs == runs
    assert together == pytest.approx(np.concatenate([encoder.encode([image]) for image in images]), abs=1e-5)


class Gated(OnnxEngine):
    """Lets each run go on only when told; a run of one picture is a question."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights, device="cpu", threads=1)
        self.gate = threading.Semaphore(2)
        self.entered: Queue[int] = Queue()

    def run(self, output: str, feeds: Mapping[str, Array]) -> Array:
        self.entered.put(len(next(iter(feeds.values()))))
        assert self.gate.acquire(timeout=30)
        return super().run(output, feeds)


def test_a_question_waits_for_a_part_of_a_batch_not_for_all_of_it(tmp_path: Path) -> None:
    path = save(vision_tower(), tmp_path / "m.onnx")
    engine = Gated(read_weights(path))
    config = ModelConfig(path=str(path))
    encoder = build_encoder(engine, locate(str(path), explicit_path=True), "", config, batch_size=25)
    engine.entered = Queue()
    images = pictures(25)
    backlog = threading.Thread(target=encoder.encode, args=(images,), daemon=True)
    backlog.start()
    assert engine.entered.get(timeout=30) == 5
    question = threading.Thread(target=encoder.encode, args=(images[:1],), daemon=True)
    question.start()
    wait_until(encoder._turn.locked)
    for _ in range(6):
        engine.gate.release()
    backlog.join(30)
    question.join(30)
    assert [engine.entered.get_nowait() for _ in range(5)] == [1, 5, 5, 5, 5]
