"""One ONNX Runtime session: what it costs in memory to make, and how it runs a batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clipwatch.model.onnx import OnnxEngine
from clipwatch.model.weights import read_weights
from support.onnx_models import save, script, vision_tower

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


@pytest.mark.parametrize("rows", [1, 2, 9, 10, 25])
def test_a_batch_run_in_parts_is_the_same_batch(tmp_path: Path, rows: int) -> None:
    engine = OnnxEngine(read_weights(save(vision_tower(), tmp_path / "free.onnx")), device="cpu", threads=1)
    batch = np.random.default_rng(1).normal(size=(rows, 3, 224, 224)).astype(np.float32)
    (given,), (taken,) = engine.inputs, engine.outputs
    whole = engine.run(taken.name, {given.name: batch})
    alone = [engine.run(taken.name, {given.name: batch[row : row + 1]})[0] for row in range(rows)]
    assert whole == pytest.approx(np.stack(alone), abs=1e-5)


def test_a_graph_that_fixes_its_batch_gets_it_whole(tmp_path: Path) -> None:
    engine = OnnxEngine(read_weights(save(vision_tower(batch=25), tmp_path / "fixed.onnx")), device="cpu", threads=1)
    (given,), (taken,) = engine.inputs, engine.outputs
    assert len(engine.run(taken.name, {given.name: np.zeros((25, 3, 224, 224), np.float32)})) == 25
