"""Every model that is not one vision tower is refused at load, in one sentence with the cure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from clipwatch.config import ModelConfig
from clipwatch.errors import ModelError
from clipwatch.model.load import load_encoder
from support import onnx_models as models

PIXELS = {"pixel_values": (models.FLOAT, ["n", 3, 224, 224])}
EMBEDS = {"image_embeds": (models.FLOAT, ["n", 8])}


def refusal(path: Path, **settings: object) -> ModelError:
    config = ModelConfig(path=str(path), **{"engine": "onnxruntime", "threads": 1, **settings})  # type: ignore[arg-type]
    with pytest.raises(ModelError) as caught:
        load_encoder(config, batch_size=4, logger=models.Events(), explicit_path=True)
    error = caught.value
    assert "\n" not in error.sentence()
    assert error.exit_status == 2
    return error


def whole_clip() -> onnx.ModelProto:
    model = models.vision_tower()
    model.graph.input.insert(0, helper.make_tensor_value_info("input_ids", models.INT64, ["n", 77]))
    return model


def channels_last() -> onnx.ModelProto:
    node = helper.make_node("ReduceMean", ["x"], ["image_embeds"], axes=[1, 2], keepdims=0)
    return models.model([node], {"x": (models.FLOAT, ["n", 224, 224, 3])}, {"image_embeds": (models.FLOAT, ["n", 3])})


def integers_in() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["pixel_values"], ["x"], to=models.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["image_embeds"], axes=[2, 3], keepdims=0),
    ]
    return models.model(
        nodes, {"pixel_values": (onnx.TensorProto.UINT8, ["n", 3, 224, 224])}, {"image_embeds": (models.FLOAT, None)}
    )


def flat_input() -> onnx.ModelProto:
    node = helper.make_node("Identity", ["x"], ["image_embeds"])
    return models.model([node], {"x": (models.FLOAT, ["n", 512])}, {"image_embeds": (models.FLOAT, ["n", 512])})


def not_square() -> onnx.ModelProto:
    node = helper.make_node("ReduceMean", ["x"], ["image_embeds"], axes=[2, 3], keepdims=0)
    return models.model([node], {"x": (models.FLOAT, ["n", 3, 224, 336])}, {"image_embeds": (models.FLOAT, ["n", 3])})


def feature_map() -> onnx.ModelProto:
    node = helper.make_node("AveragePool", ["pixel_values"], ["y"], kernel_shape=[32, 32], strides=[32, 32])
    return models.model([node], PIXELS, {"y": (models.FLOAT, ["n", 3, 7, 7])})


def integers_out() -> onnx.ModelProto:
    nodes = [
        helper.make_node("ReduceMean", ["pixel_values"], ["x"], axes=[2, 3], keepdims=0),
        helper.make_node("Cast", ["x"], ["y"], to=models.INT64),
    ]
    return models.model(nodes, PIXELS, {"y": (models.INT64, ["n", 3])})


def nameless_outputs() -> onnx.ModelProto:
    nodes = [
        helper.make_node("ReduceMean", ["pixel_values"], ["a"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMax", ["pixel_values"], ["b"], axes=[2, 3], keepdims=0),
    ]
    return models.model(nodes, PIXELS, {"a": (models.FLOAT, ["n", 3]), "b": (models.FLOAT, ["n", 3])})


def two_inputs() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Add", ["pixel_values", "more"], ["x"]),
        helper.make_node("ReduceMean", ["x"], ["image_embeds"], axes=[2, 3], keepdims=0),
    ]
    return models.model(nodes, {**PIXELS, "more": PIXELS["pixel_values"]}, {"image_embeds": (models.FLOAT, ["n", 3])})


def batch_frozen_inside() -> onnx.ModelProto:
    """Says that its batch is dynamic, but reshapes to one picture."""
    nodes = [
        helper.make_node("ReduceMean", ["pixel_values"], ["x"], axes=[2, 3], keepdims=0),
        helper.make_node("Reshape", ["x", "shape"], ["image_embeds"]),
    ]
    return models.model(nodes, PIXELS, {"image_embeds": (models.FLOAT, None)}, {"shape": np.array([1, 3], np.int64)})


def batch_mixed() -> onnx.ModelProto:
    """Subtracts the batch's mean: a picture's vector depends on its neighbours."""
    nodes = [
        helper.make_node("AveragePool", ["pixel_values"], ["grid"], kernel_shape=[32, 32], strides=[32, 32]),
        helper.make_node("ReduceMean", ["grid"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Mul", ["mean", "most"], ["share"]),
        helper.make_node("Sub", ["grid", "share"], ["x"]),
        helper.make_node("Flatten", ["x"], ["image_embeds"], axis=1),
    ]
    return models.model(
        nodes, PIXELS, {"image_embeds": (models.FLOAT, ["n", 147])}, {"most": np.array(0.9, np.float32)}
    )


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (whole_clip, "is the whole CLIP model"),
        (models.text_tower, "is a text tower"),
        (two_inputs, r"takes 2 inputs \(pixel_values, more\)"),
        (channels_last, "channels come last"),
        (integers_in, "must be float32 or float16"),
        (flat_input, r"must be \[n, 3, height, width\]"),
        (not_square, "must be square"),
        (feature_map, r"gives y of shape \[1, 3, 7, 7\]"),
        (integers_out, "no vector of floats"),
        (nameless_outputs, "none is named image_embeds: a, b"),
        (batch_mixed, "another vector when others are in its batch"),
    ],
)
def test_a_graph_that_is_no_vision_tower(tmp_path: Path, build: Callable[[], onnx.ModelProto], says: str) -> None:
    error = refusal(models.save(build(), tmp_path / "m.onnx"))
    assert str(tmp_path / "m.onnx") in error.message
    with pytest.raises(ModelError, match=says):
        raise error
    assert "Export" in error.hint


def test_a_batch_frozen_inside_a_dynamic_model(tmp_path: Path) -> None:
    assert "m.onnx" in refusal(models.save(batch_frozen_inside(), tmp_path / "m.onnx")).message


def test_something_else_than_an_onnx_file(tmp_path: Path) -> None:
    picture = (Path(__file__).parents[3] / "docs" / "samples" / "moon.png").read_bytes()
    begins_like_one = b"\x12\x02ab\x0b"
    for content in (b"hello world" * 100, b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(1000), picture, begins_like_one):
        (tmp_path / "m.onnx").write_bytes(content)
        error = refusal(tmp_path / "m.onnx")
        assert "is not an ONNX model, or is cut short" in error.message
        assert "Fetch it again" in error.hint


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_short(tmp_path: Path, share: float) -> None:
    whole = models.vision_tower(width=64).SerializeToString()
    (tmp_path / "m.onnx").write_bytes(whole[: int(len(whole) * share)])
    assert "cut short" in refusal(tmp_path / "m.onnx").message


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    assert "is empty" in refusal(tmp_path / "m.onnx").message


def test_a_git_lfs_pointer(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 352000000\n")
    error = refusal(tmp_path / "m.onnx")
    assert "Git LFS pointer" in error.message
    assert "git lfs pull" in error.hint


def test_weights_kept_in_another_file(tmp_path: Path) -> None:
    onnx.save(
        models.vision_tower(width=64),
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="m.data",
        size_threshold=10,
    )
    error = refusal(tmp_path / "m.onnx")
    assert "keeps its weights in another file" in error.message
    assert "onnx.save" in error.hint


def test_a_format_from_the_future(tmp_path: Path) -> None:
    newer = models.vision_tower()
    newer.ir_version = 99
    assert "newer ONNX Runtime" in refusal(models.save(newer, tmp_path / "ir.onnx")).message
    newer = models.vision_tower()
    newer.opset_import[0].version = 99
    assert "newer ONNX Runtime" in refusal(models.save(newer, tmp_path / "opset.onnx")).message


def test_an_operator_that_does_not_exist(tmp_path: Path) -> None:
    model = models.vision_tower()
    model.graph.node[0].op_type = "Telepathy"
    assert "cannot be loaded" in refusal(models.save(model, tmp_path / "m.onnx")).message


def test_a_pooling_that_the_output_does_not_have(tmp_path: Path) -> None:
    flat = models.save(models.vision_tower(), tmp_path / "flat.onnx")
    deep = models.save(models.vision_tower(sequence=True), tmp_path / "deep.onnx")
    assert "needs an output [n, seq, d]" in refusal(flat, pooling="mean").message
    assert "needs an output [n, d]" in refusal(deep, pooling="none").message


def test_a_path_that_a_person_set_and_that_is_missing(tmp_path: Path) -> None:
    error = refusal(tmp_path / "nothing.onnx")
    assert "There is no model at" in error.message
    assert "clipwatch model fetch" in error.hint


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert "holds none of clip_vision.onnx" in refusal(tmp_path).message


def test_a_device_that_does_not_exist(tmp_path: Path) -> None:
    path = models.save(models.vision_tower(), tmp_path / "m.onnx")
    assert "warpdrive" in refusal(path, device="warpdrive").message


def test_a_path_that_is_a_folder_of_the_models_name(tmp_path: Path) -> None:
    (tmp_path / "clip_vision.onnx").mkdir()
    assert "holds none of" in refusal(tmp_path / "clip_vision.onnx").message


def test_a_name_that_the_file_system_cannot_take() -> None:
    assert "cannot be looked at" in refusal(Path("x" * 5000)).message


def test_a_default_path_that_is_a_link_to_nowhere(tmp_path: Path) -> None:
    """The demonstration model in its place would surprise whoever made the link."""
    (tmp_path / "clip_vision.onnx").symlink_to(tmp_path / "unmounted" / "clip_vision.onnx")
    config = ModelConfig(path=str(tmp_path / "clip_vision.onnx"))
    with pytest.raises(ModelError, match="There is no model at"):
        load_encoder(config, batch_size=4, logger=models.Events(), explicit_path=False)
