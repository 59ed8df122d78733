from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from clipwatch.config import ModelConfig
from clipwatch.errors import ModelError
from clipwatch.model.encoder import VisionEncoder, plan_batches, unit_rows
from clipwatch.model.load import load_encoder
from support import onnx_models as models


def load(path: Path, *, batch_size: int = 4, **settings: object) -> VisionEncoder:
    config = ModelConfig(path=str(path), **{"engine": "onnxruntime", "threads": 1, **settings})  # type: ignore[arg-type]
    return load_encoder(config, batch_size=batch_size, logger=models.Events(), explicit_path=True)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def reference(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CLIP's normalisation, a 7×7 mean and the model's own weights, in plain float64."""
    weight = onnx.numpy_helper.to_array(next(i for i in model.graph.initializer if i.name == "weight"))
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    x = ((pixels / 255 - mean) / std).transpose(2, 0, 1)
    grid = x.reshape(3, 7, 32, 7, 32).mean(axis=(2, 4))
    raw = grid.ravel() @ weight if weight.shape[0] == 147 else (grid.reshape(3, 49).T @ weight).mean(axis=0)
    unit: NDArray[np.float64] = raw / np.linalg.norm(raw)
    return unit


@pytest.mark.parametrize("sequence", [False, True], ids=["n-d", "n-seq-d"])
def test_vectors_equal_a_reference_computed_by_hand(tmp_path: Path, sequence: bool) -> None:
    model = models.vision_tower(sequence=sequence, width=6, output="anything")
    encoder = load(models.save(model, tmp_path / "m.onnx"))
    pictures = models.pictures(3)
    vectors = encoder.encode(pictures)
    assert vectors.dtype == np.float32
    assert encoder.width == 6
    assert encoder.pooling == ("mean" if sequence else "none")
    for picture, vector in zip(pictures, vectors, strict=True):
        np.testing.assert_allclose(vector, reference(model, picture), atol=2e-6)


def test_the_darkest_and_lightest_pixels_become_clips_own_numbers(tmp_path: Path) -> None:
    encoder = load(models.save(models.vision_tower(), tmp_path / "m.onnx"))
    np.testing.assert_allclose(encoder._table[:, 0], [-1.79226253, -1.75209718, -1.48021977], atol=1e-6)
    np.testing.assert_allclose(encoder._table[:, 255], [1.93033626, 2.07488384, 2.14589691], atol=1e-6)


def test_every_row_has_unit_length_and_order_is_kept(tmp_path: Path) -> None:
    encoder = load(models.save(models.vision_tower(), tmp_path / "m.onnx"))
    pictures = models.pictures(11)
    vectors = encoder.encode(pictures)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for picture, vector in zip(pictures, vectors, strict=True):
        np.testing.assert_allclose(encoder.encode([picture])[0], vector, atol=1e-6)


def test_nothing_in_is_nothing_out(tmp_path: Path) -> None:
    assert load(models.save(models.vision_tower(), tmp_path / "m.onnx")).encode([]).shape == (0, 8)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 9])
def test_a_fixed_batch_gives_the_same_vectors_as_a_dynamic_one(tmp_path: Path, count: int) -> None:
    free = load(models.save(models.vision_tower(), tmp_path / "free.onnx"))
    fixed = load(models.save(models.vision_tower(batch=4), tmp_path / "fixed.onnx"), batch_size=25)
    pictures = models.pictures(count)
    np.testing.assert_allclose(fixed.encode(pictures), free.encode(pictures), atol=1e-6)


def test_a_batch_fixed_at_one_works(tmp_path: Path) -> None:
    encoder = load(models.save(models.vision_tower(batch=1), tmp_path / "m.onnx"))
    assert encoder.encode(models.pictures(3)).shape == (3, 8)


def test_only_two_batch_sizes_ever_reach_the_session() -> None:
    sizes = {size for count in range(200) for _, _, size in plan_batches(count, (1, 25))}
    assert sizes == {1, 25}


@pytest.mark.parametrize("sizes", [(1, 25), (25,), (1, 1), (1, 2), (7,)])
def test_a_plan_covers_every_picture_once_in_order(sizes: tuple[int, ...]) -> None:
    for count in range(70):
        runs = plan_batches(count, sizes)
        covered = [start + i for start, real, _ in runs for i in range(real)]
        assert covered == list(range(count))
        assert all(real <= size for _, real, size in runs)


def test_a_few_left_over_are_run_alone_and_many_together() -> None:
    assert plan_batches(27, (1, 25)) == [(0, 25, 25), (25, 1, 1), (26, 1, 1)]
    assert plan_batches(45, (1, 25)) == [(0, 25, 25), (25, 20, 25)]


def test_half_precision_models_are_taken(tmp_path: Path) -> None:
    half = load(models.save(models.vision_tower(dtype=models.FLOAT16), tmp_path / "half.onnx"))
    full = load(models.save(models.vision_tower(), tmp_path / "full.onnx"))
    pictures = models.pictures(2)
    assert half.encode(pictures).dtype == np.float32
    assert (half.encode(pictures) * full.encode(pictures)).sum(axis=1).min() > 0.9999
    assert half.describe["precision"] == "float16"


def test_a_model_of_any_size_takes_the_side_of_its_preprocessing(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"height": 64, "width": 64}}')
    encoder = load(models.save(models.vision_tower(side=None), tmp_path / "m.onnx"))
    assert encoder.preprocessing.side == 64
    assert encoder.encode(models.pictures(2, side=64)).shape == (2, 8)


def test_pictures_of_another_size_or_type_are_our_own_mistake(tmp_path: Path) -> None:
    encoder = load(models.save(models.vision_tower(), tmp_path / "m.onnx"))
    with pytest.raises(ValueError, match=r"uint8 \[224, 224, 3\]"):
        encoder.encode(models.pictures(1, side=64))
    with pytest.raises(ValueError, match="float32"):
        encoder.encode([np.zeros((224, 224, 3), np.float32)])


def test_a_row_that_is_zero_or_not_finite_becomes_nan_and_spares_its_neighbours() -> None:
    rows = np.array([[3, 4], [0, 0], [np.inf, 1], [np.nan, 1], [6e4, 6e4]], np.float32)
    vectors, good = unit_rows(rows)
    assert good.tolist() == [True, False, False, False, True]
    np.testing.assert_allclose(vectors[[0, 4]], [[0.6, 0.8], [0.5**0.5, 0.5**0.5]], atol=1e-6)
    assert np.isnan(vectors[1:4]).all()


def test_numbers_too_large_to_square_in_float32_still_make_a_unit_vector() -> None:
    vectors, good = unit_rows(np.array([[1e30, -1e30]], np.float32))
    assert good.all()
    np.testing.assert_allclose(np.linalg.norm(vectors), 1, atol=1e-6)


def test_a_broken_picture_is_nan_and_the_rest_of_its_batch_is_right(tmp_path: Path) -> None:
    """The model divides by the picture's contrast: a flat picture is 0 / 0."""
    nodes = [
        helper.make_node("ReduceMin", ["pixel_values"], ["least"], axes=[2, 3], keepdims=1),
        helper.make_node("Sub", ["pixel_values", "least"], ["above"]),
        helper.make_node("ReduceMax", ["above"], ["most"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("AveragePool", ["above"], ["grid"], kernel_shape=[112, 112], strides=[112, 112]),
        helper.make_node("Div", ["grid", "most"], ["relative"]),
        helper.make_node("Flatten", ["relative"], ["image_embeds"], axis=1),
    ]
    model = models.model(
        nodes,
        {"pixel_values": (models.FLOAT, ["n", 3, 224, 224])},
        {"image_embeds": (models.FLOAT, ["n", 12])},
    )
    encoder = load(models.save(model, tmp_path / "m.onnx"))
    good = models.pictures(3)
    vectors = encoder.encode([good[0], np.zeros((224, 224, 3), np.uint8), good[1], good[2]])
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, False, False]
    np.testing.assert_allclose(vectors[[0, 2, 3]], encoder.encode(good), atol=1e-6)


def test_threads_may_share_an_encoder(tmp_path: Path) -> None:
    encoder = load(models.save(models.vision_tower(), tmp_path / "m.onnx"))
    sets = [models.pictures(5, seed=seed) for seed in range(4)]
    expected = [encoder.encode(pictures) for pictures in sets]
    found: list[bool] = []

    def work(i: int) -> None:
        found.extend(np.array_equal(encoder.encode(sets[i]), expected[i]) for _ in range(5))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 20


def test_replacing_or_removing_the_file_changes_nothing_until_a_restart(tmp_path: Path) -> None:
    path = models.save(models.vision_tower(), tmp_path / "m.onnx")
    encoder = load(path)
    before = encoder.encode(models.pictures(2))
    models.save(models.vision_tower(seed=9), path)
    np.testing.assert_array_equal(encoder.encode(models.pictures(2)), before)
    assert load(path).fingerprint != encoder.fingerprint
    path.unlink()
    np.testing.assert_array_equal(encoder.encode(models.pictures(2)), before)


def test_image_embeds_is_preferred_to_the_hidden_state_beside_it(tmp_path: Path) -> None:
    model = models.vision_tower(width=8)
    model.graph.node.insert(0, helper.make_node("Identity", ["rows"], ["last_hidden_state"]))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[1:], nodes[0]])
    model.graph.output.insert(0, helper.make_tensor_value_info("last_hidden_state", models.FLOAT, ["n", 147]))
    encoder = load(models.save(model, tmp_path / "m.onnx"))
    assert (encoder.ports.output, encoder.width) == ("image_embeds", 8)


def test_an_output_whose_shape_is_not_declared_is_looked_at(tmp_path: Path) -> None:
    model = models.vision_tower(sequence=True, output="y")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    encoder = load(models.save(model, tmp_path / "m.onnx"))
    assert (encoder.pooling, encoder.width) == ("mean", 8)


def test_a_folder_in_hugging_face_layout_is_found_in_the_documented_order(tmp_path: Path) -> None:
    names = ["clip_vision.onnx", "vision_model.onnx", "onnx/vision_model.onnx", "model.onnx", "onnx/model.onnx"]
    for i, name in reversed(list(enumerate(names))):
        models.save(models.vision_tower(width=i + 2), tmp_path / name)
        assert load(tmp_path).width == i + 2


def test_a_file_in_an_onnx_folder_finds_the_preprocessing_above_it(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"resample": 2}')
    path = models.save(models.vision_tower(), tmp_path / "onnx" / "vision_model.onnx")
    assert load(path).preprocessing.interpolation == "bilinear"


def test_memory_stays_flat_over_many_batches_of_every_size(tmp_path: Path) -> None:
    encoder = load(models.small_vit(tmp_path / "vit.onnx"), batch_size=25)
    pictures = models.pictures(30)
    for count in (25, 1, 13, 30):
        encoder.encode(pictures[:count])
    before = resident_bytes()
    for round_ in range(20):
        encoder.encode(pictures[: 1 + (7 * round_) % 30])
    assert resident_bytes() - before < 20 * 2**20


def test_describe_tells_engine_provider_and_threads(tmp_path: Path) -> None:
    encoder = load(models.save(models.vision_tower(), tmp_path / "m.onnx"), threads=3)
    told = encoder.describe
    assert (told["engine"], told["provider"], told["threads"]) == ("onnxruntime", "CPUExecutionProvider", 3)
    assert encoder.demonstration is False


def test_the_models_folder_gives_its_files_their_own_name(tmp_path: Path) -> None:
    models.save(models.vision_tower(), tmp_path / "models" / "clip_vision.onnx")
    shutil.copytree(tmp_path / "models", tmp_path / "other")
    assert load(tmp_path / "models" / "clip_vision.onnx").name == "clip_vision.onnx"
    assert load(tmp_path / "other").name == "other/clip_vision.onnx"


def test_cuda_without_cuda_is_an_error_that_says_what_there_is(tmp_path: Path) -> None:
    path = models.save(models.vision_tower(), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r'model\.device = "cuda".*has only: .*cpu') as caught:
        load(path, device="cuda")
    assert caught.value.exit_status == 2
    assert "onnxruntime-gpu" in caught.value.hint


def test_the_model_of_the_benchmarks_costs_what_vit_b_32_costs() -> None:
    """4.4088 GMAC a picture, counted from the architecture: patches, 12 layers, projection."""
    assert models.script("bench/make_vit.py").VIT_B_32.macs() == 4_408_811_520


@pytest.mark.slow
def test_the_model_of_the_benchmarks_has_the_parameters_of_vit_b_32(tmp_path: Path) -> None:
    """The class token's embedding is part of the position table, 768 numbers that the original keeps apart."""
    path = models.exact_vit_b32(tmp_path / "vit.onnx")
    constants = onnx.load(path).graph.initializer
    learned = sum(int(np.prod(tensor.dims)) for tensor in constants if len(tensor.dims) and tensor.data_type == 1)
    assert learned + 768 == 87_849_216
    encoder = load(path, batch_size=2, threads=0)
    assert encoder.width == 512
    assert np.isfinite(encoder.encode(models.pictures(3))).all()


@pytest.mark.parametrize(
    "exact", [False, pytest.param(True, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])], ids=["small", "exact"]
)
def test_ten_thousand_pictures_take_no_more_memory_than_two_hundred(tmp_path: Path, exact: bool) -> None:
    small = models.vision_tower(width=512, side=112)
    path = models.exact_vit_b32(tmp_path / "vit.onnx") if exact else models.save(small, tmp_path / "small.onnx")
    encoder = load(path, batch_size=25, threads=0)
    pictures = models.pictures(50, side=encoder.preprocessing.side)
    done, after_two_hundred = 0, 0
    while done < 10_000:
        count = 1 + done % 50
        encoder.encode(pictures[:count])
        done += count
        if done >= 200 and not after_two_hundred:
            after_two_hundred = resident_bytes()
    assert resident_bytes() - after_two_hundred < 100 * 2**20
