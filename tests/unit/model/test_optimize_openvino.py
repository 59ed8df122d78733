from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from clipwatch.clock import SystemClock
from clipwatch.config import ModelConfig
from clipwatch.errors import ModelError
from clipwatch.model import load as loading
from clipwatch.model import openvino
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.load import load_encoder
from clipwatch.model.onnx import OnnxEngine
from clipwatch.model.optimize import optimize
from clipwatch.model.variant import OPENVINO
from support import onnx_models as models

needs_openvino = pytest.mark.usefixtures("installed")


def load(path: Path, events: models.Events | None = None, *, engine: str, batch_size: int = 4) -> VisionEncoder:
    config = ModelConfig(path=str(path), engine=engine, threads=1)
    return load_encoder(config, batch_size=batch_size, logger=events or models.Events(), explicit_path=True)


@pytest.fixture
def installed() -> None:
    """OpenVINO, or a skip; in CI a failure."""
    if not openvino.installed():
        if os.environ.get("CI") == "true":
            pytest.fail("the extra `fast` is not installed")
        pytest.skip("the extra `fast` is not installed")


@pytest.fixture
def worthwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the CPU had bf16 and the model were large."""
    monkeypatch.setattr(openvino, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(loading, "OPENVINO_FROM_BYTES", 0)


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    return models.small_vit(tmp_path / "vit.onnx")


@needs_openvino
def test_openvino_gives_the_same_vectors_under_the_same_fingerprint(vit: Path) -> None:
    plain, fast = load(vit, engine="onnxruntime"), load(vit, engine="openvino")
    pictures = models.pictures(9)
    assert fast.describe["engine"] == "openvino"
    assert fast.fingerprint == plain.fingerprint
    assert (fast.encode(pictures) * plain.encode(pictures)).sum(axis=1).mean() >= 0.999


@needs_openvino
def test_a_result_is_not_overwritten_by_the_next_run(vit: Path) -> None:
    encoder = load(vit, engine="openvino")
    pictures = models.pictures(2)
    first = encoder.encode(pictures[:1])
    kept = first.copy()
    encoder.encode(pictures[1:])
    np.testing.assert_array_equal(first, kept)


@needs_openvino
@pytest.mark.usefixtures("worthwhile")
def test_auto_takes_it_where_the_cpu_has_bf16_and_the_model_is_large(
    vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(vit, engine="auto").describe["engine"] == "openvino"
    assert load(vit, engine="auto", batch_size=1).describe["engine"] == "onnxruntime"
    with monkeypatch.context() as patch:
        patch.setattr(openvino, "cpu_has_bf16", lambda: False)
        assert load(vit, engine="auto").describe["engine"] == "onnxruntime"
    monkeypatch.setattr(loading, "OPENVINO_FROM_BYTES", 16 * 2**20)
    assert load(vit, engine="auto").describe["engine"] == "onnxruntime"


@needs_openvino
@pytest.mark.usefixtures("worthwhile")
def test_vectors_that_differ_are_refused_by_auto_and_named_in_the_fingerprint_when_asked_for(
    vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "GATE", 1.1)
    events = models.Events()
    plain = load(vit, events, engine="auto")
    assert plain.describe["engine"] == "onnxruntime"
    assert [event for event, _ in events.seen] == ["model.engine_refused"]
    asked = load(vit, engine="openvino")
    assert asked.describe["engine"] == "openvino"
    assert asked.fingerprint != plain.fingerprint


@pytest.mark.usefixtures("worthwhile")
def test_one_picture_that_differs_refuses_an_engine_however_good_the_mean(
    vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "installed", lambda: True)
    monkeypatch.setattr(loading, "OpenVinoEngine", partial(OnnxEngine, device="cpu", precision="stands in"))
    assert load(vit, engine="auto").describe["precision"] == "stands in"
    monkeypatch.setattr(loading, "cosines_of", lambda *_: (0.9999, 0.9989))
    events = models.Events()
    assert load(vit, events, engine="auto").describe["precision"] == "float32"
    assert [(event, fields["cosine"]) for event, fields in events.seen] == [("model.engine_refused", 0.9989)]


@needs_openvino
def test_switching_to_openvino_holds_for_auto(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "cpu_has_bf16", lambda: True)
    before = load(vit, engine="onnxruntime")
    config = ModelConfig(path=str(vit), threads=1)
    report = optimize(
        config, models.pictures(2), batch_size=2, clock=SystemClock(), explicit_path=True, switch=OPENVINO, allow=0.9
    )
    assert report.chosen == OPENVINO
    after = load(vit, engine="auto", batch_size=1)
    assert after.describe["engine"] == "openvino"
    assert (after.fingerprint == before.fingerprint) is (report.rows[2].cosine_mean >= 0.999)


@needs_openvino
def test_openvino_is_refused_on_another_device(vit: Path) -> None:
    config = ModelConfig(path=str(vit), engine="openvino", device="cuda")
    with pytest.raises(ModelError, match="OpenVINO runs on the CPU here"):
        load_encoder(config, batch_size=1, logger=models.Events(), explicit_path=True)


def test_without_the_package_asking_for_it_says_how_to_install_it(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "installed", lambda: False)
    with pytest.raises(ModelError, match="the package openvino is not installed") as caught:
        load(vit, engine="openvino")
    assert "clipwatch[fast]" in caught.value.hint
    assert load(vit, engine="auto").describe["engine"] == "onnxruntime"
