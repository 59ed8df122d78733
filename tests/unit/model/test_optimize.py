from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from clipwatch.clock import SystemClock
from clipwatch.config import ModelConfig
from clipwatch.errors import ConfigError, ModelError
from clipwatch.model import openvino
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.fidelity import GATE, cosines, sample_pictures
from clipwatch.model.load import load_encoder
from clipwatch.model.optimize import Report, Row, _choose, optimize
from clipwatch.model.variant import INT8, Variant, read_variant, variant_file, write_variant
from clipwatch.visible import visible_json
from support import onnx_models as models


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return models.small_vit(tmp_path_factory.mktemp("vit") / "vit.onnx").read_bytes()


@pytest.fixture
def path(tmp_path: Path, vit: bytes) -> Path:
    file = tmp_path / "vit.onnx"
    file.write_bytes(vit)
    return file


def run(path: Path, *, switch: str = "", allow: float = GATE) -> Report:
    return optimize(
        ModelConfig(path=str(path), threads=1),
        models.pictures(4),
        batch_size=2,
        clock=SystemClock(),
        explicit_path=True,
        switch=switch,
        allow=allow,
    )


def load(path: Path, events: models.Events | None = None, engine: str = "auto") -> VisionEncoder:
    config = ModelConfig(path=str(path), engine=engine, threads=1)
    return load_encoder(config, batch_size=1, logger=events or models.Events(), explicit_path=True)


def test_the_table_measures_and_changes_nothing(path: Path) -> None:
    report = run(path)
    original, int8 = report.rows[:2]
    assert (original.variant, original.cosine_mean, original.size_bytes) == ("original", 1.0, path.stat().st_size)
    assert original.images_per_second > 0
    assert int8.images_per_second > 0
    assert 0.9 < int8.cosine_min <= int8.cosine_mean <= 1.0000001
    assert int8.size_bytes < original.size_bytes
    assert report.chosen == "original"
    assert [file.name for file in path.parent.iterdir()] == ["vit.onnx"]


def test_switching_to_int8_keeps_the_fingerprint_where_vectors_stay(path: Path) -> None:
    before = load(path)
    report = run(path, switch=INT8, allow=0.9)
    after = load(path)
    assert report.chosen == INT8
    assert (before.describe["precision"], after.describe["precision"]) == ("float32", "int8")
    assert not np.array_equal(after.encode(models.pictures(1)), before.encode(models.pictures(1)))
    same = report.rows[1].cosine_mean >= GATE
    assert (after.fingerprint == before.fingerprint) is same
    run(path, switch="original")
    assert load(path).fingerprint == before.fingerprint
    assert [file.name for file in path.parent.iterdir()] == ["vit.onnx"]


def test_switching_back_leaves_a_file_that_is_not_ours(path: Path) -> None:
    mine = path.with_name("vit.int8.onnx")
    mine.write_bytes(b"mine")
    run(path, switch="original")
    assert mine.read_bytes() == b"mine"


def test_an_explicit_engine_ignores_the_switch(path: Path) -> None:
    before = load(path).encode(models.pictures(1))
    run(path, switch=INT8, allow=0.9)
    np.testing.assert_array_equal(load(path, engine="onnxruntime").encode(models.pictures(1)), before)


def test_precision_enters_the_fingerprint_only_past_the_gate() -> None:
    assert Variant(INT8, "a", GATE).precision == ""
    assert Variant(INT8, "a", GATE - 1e-6).precision == "int8"


def test_a_variant_of_another_model_is_not_used_and_said(path: Path) -> None:
    run(path, switch=INT8, allow=0.9)
    path.unlink()
    models.small_vit(path, seed=3)
    events = models.Events()
    encoder = load(path, events)
    assert [event for event, _ in events.seen] == ["model.variant_stale"]
    np.testing.assert_array_equal(
        encoder.encode(models.pictures(1)), load(path, engine="onnxruntime").encode(models.pictures(1))
    )


def test_a_variant_file_that_was_exchanged_is_refused(path: Path) -> None:
    run(path, switch=INT8, allow=0.9)
    models.small_vit(path.with_name("other.onnx"), seed=3).replace(path.with_name("vit.int8.onnx"))
    with pytest.raises(ModelError, match="not the file that was measured"):
        load(path)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", "[" * 100_000, json.dumps({"variant": "int9", "of": "", "cosine": 1})]
)
def test_a_broken_choice_is_refused_by_name(path: Path, content: str) -> None:
    variant_file(path).write_text(content)
    with pytest.raises(ModelError, match=r"vit\.variant\.json"):
        load(path)


def test_a_choice_may_not_name_a_file_elsewhere(path: Path) -> None:
    write_variant(path, Variant(INT8, "a", 1.0, "../elsewhere.onnx", "b"))
    with pytest.raises(ModelError):
        read_variant(path)


ROWS = (
    Row("original", 10, 1.0, 1.0, 100),
    Row("int8", 40, 0.995, 0.99, 25),
    Row("openvino", 30, 0.99999, 0.9999, 100),
)


def test_below_the_gate_nothing_is_switched_unless_it_is_allowed() -> None:
    with pytest.raises(ConfigError, match=r"Not switched to int8: its mean cosine is 0\.99500, below 0\.999"):
        _choose(ROWS, "int8", GATE)
    assert _choose(ROWS, "int8", 0.99) == "int8"


def test_best_is_the_fastest_that_is_allowed() -> None:
    assert _choose(ROWS, "best", GATE) == "openvino"
    assert _choose(ROWS, "best", 0.99) == "int8"
    assert _choose(ROWS[:2], "best", GATE) == "original"


def test_what_could_not_be_measured_cannot_be_chosen() -> None:
    nan = float("nan")
    rows = (ROWS[0], Row("openvino", nan, nan, nan, 0, "needs the package openvino"))
    with pytest.raises(ConfigError, match="needs the package openvino"):
        _choose(rows, "openvino", 0.0)
    assert _choose(rows, "best", 0.0) == "original"


def test_the_answer_has_null_where_nothing_was_measured() -> None:
    nan = float("nan")
    report = Report("m", 4, (ROWS[0], Row("openvino", nan, nan, nan, 0, "needs the package openvino")), "original")
    rows = json.loads(visible_json(report.as_json()))["rows"]
    assert rows[0]["images_per_second"] == 10
    assert [rows[1][key] for key in ("images_per_second", "cosine_mean", "cosine_min")] == [None] * 3


def test_an_unknown_variant_names_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        _choose(ROWS, "int4", GATE)
    assert "original, int8, openvino, best" in caught.value.hint


def test_no_pictures_is_a_wrong_question(path: Path) -> None:
    with pytest.raises(ConfigError, match="no pictures"):
        optimize(ModelConfig(path=str(path)), [], batch_size=2, clock=SystemClock(), explicit_path=True)


def test_a_folder_that_cannot_be_written_is_one_sentence(path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be written"):
        write_variant(path.parent / "no" / "such" / "m.onnx", Variant(INT8, "a", 1.0))


def test_int8_weights_are_signed_and_each_channel_has_its_own_scale(path: Path) -> None:
    """Unsigned weights lose most of the speed on matrix units."""
    import onnx

    run(path, switch=INT8, allow=0.9)
    graph = onnx.load(path.with_name("vit.int8.onnx")).graph
    quantized = [tensor for tensor in graph.initializer if tensor.name.endswith("_quantized")]
    scales = [tensor for tensor in graph.initializer if tensor.name.endswith("weight_scale")]
    assert quantized
    assert {tensor.data_type for tensor in quantized} == {onnx.TensorProto.INT8}
    assert all(math.prod(scale.dims) > 1 for scale in scales)


def test_sample_pictures_are_always_the_same_and_differ_from_each_other() -> None:
    first, second = sample_pictures(64), sample_pictures(64)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert first[0].shape == (64, 64, 3)
    assert not np.array_equal(first[0], first[1])


def test_encoders_of_two_widths_are_not_close(tmp_path: Path, path: Path) -> None:
    other = models.save(models.vision_tower(), tmp_path / "other.onnx")
    assert cosines(load(path), load(other), models.pictures(1)) == (-1.0, -1.0)


def test_bf16_is_read_from_the_cpus_flags(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    for flags, expected in (("fpu amx_bf16 sse", True), ("avx512_bf16", True), ("avx2 avx512f", False)):
        file.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: none\n")
        assert openvino.cpu_has_bf16(file) is expected
    assert openvino.cpu_has_bf16(tmp_path / "absent") is False
