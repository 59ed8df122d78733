"""Small ONNX models, good and bad, made on the spot."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
FLOAT, FLOAT16, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64
VOCABULARY = ["[start]", "[end]", "[unk]", "a", "red", "green", "blue", "square", "car", "of", "photo"]


def script(relative: str) -> ModuleType:
    """A committed script of the repository as a module."""
    name = relative.removesuffix(".py").replace("/", "_")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / relative)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def exact_vit_b32(path: Path) -> Path:
    """ViT-B/32 with random weights (352 MB), written to *path* unless it is there."""
    file: Path = script("bench/make_vit.py").make(path)
    return file


def small_vit(path: Path, *, seed: int = 0) -> Path:
    """The same architecture, 0.2 million parameters, 224 px → 32 numbers."""
    vit = script("bench/make_vit.py")
    file: Path = vit.make(path, vit.Size(width=64, heads=4, layers=2, embedding=32), seed)
    return file


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def model(
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Sequence[Any] | None]],
    outputs: Mapping[str, tuple[int, Sequence[Any] | None]],
    constants: Mapping[str, NDArray[Any]] | None = None,
) -> onnx.ModelProto:
    """A model from its parts; inputs and outputs are name → (type, shape)."""
    return helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info(name, *declared) for name, declared in inputs.items()],
            [helper.make_tensor_value_info(name, *declared) for name, declared in outputs.items()],
            [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def vision_tower(
    *,
    width: int = 8,
    sequence: bool = False,
    batch: int | None = None,
    side: int | None = 224,
    dtype: int = FLOAT,
    output: str = "image_embeds",
    seed: int = 0,
) -> onnx.ModelProto:
    """Means of a 7×7 grid (of the whole picture where *side* is None) times random numbers.

    `[n, 3, side, side]` → `[n, width]`, or `[n, 49, width]` where *sequence*.
    """
    kind = np.float16 if dtype == FLOAT16 else np.float32
    cells = 49 if side else 1
    random = np.random.default_rng(seed).standard_normal
    nodes = (
        [
            helper.make_node(
                "AveragePool", ["pixel_values"], ["grid"], kernel_shape=[side // 7] * 2, strides=[side // 7] * 2
            )
        ]
        if side
        else [helper.make_node("GlobalAveragePool", ["pixel_values"], ["grid"])]
    )
    constants: dict[str, NDArray[Any]] = {}
    if sequence:
        constants["shape"] = np.array([0, 3, cells], np.int64)
        constants["weight"] = random((3, width)).astype(kind)
        nodes += [
            helper.make_node("Reshape", ["grid", "shape"], ["columns"]),
            helper.make_node("Transpose", ["columns"], ["rows"], perm=[0, 2, 1]),
        ]
    else:
        constants["weight"] = random((3 * cells, width)).astype(kind)
        nodes.append(helper.make_node("Flatten", ["grid"], ["rows"], axis=1))
    nodes.append(helper.make_node("MatMul", ["rows", "weight"], [output]))
    n: int | str = batch or "n"
    shape = [n, cells, width] if sequence else [n, width]
    size = side or "side"
    return model(nodes, {"pixel_values": (dtype, [n, 3, size, size])}, {output: (dtype, shape)}, constants)


def text_tower(
    *, width: int = 8, words: int = len(VOCABULARY), mask: bool = False, length: int | None = None, seed: int = 0
) -> onnx.ModelProto:
    """Sums the rows of a random table at the token ids: `input_ids` [n, length] → `text_embeds` [n, width].

    Padding counts unless *mask*, so that a wrong padding shows in the vector.
    """
    table = np.random.default_rng(seed).standard_normal((words, width)).astype(np.float32)
    tokens: int | str = length or "length"
    inputs: dict[str, tuple[int, list[Any] | None]] = {"input_ids": (INT64, ["n", tokens])}
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"])]
    last = "rows"
    constants: dict[str, NDArray[Any]] = {"table": table, "axis": np.array([1], np.int64)}
    if mask:
        inputs["attention_mask"] = (INT64, ["n", tokens])
        constants["last"] = np.array([2], np.int64)
        nodes += [
            helper.make_node("Unsqueeze", ["attention_mask", "last"], ["wide"]),
            helper.make_node("Cast", ["wide"], ["kept"], to=FLOAT),
            helper.make_node("Mul", ["rows", "kept"], ["masked"]),
        ]
        last = "masked"
    nodes.append(helper.make_node("ReduceSum", [last, "axis"], ["text_embeds"], keepdims=0))
    return model(nodes, inputs, {"text_embeds": (FLOAT, ["n", width])}, constants)


def tokenizer(path: Path, *, lowercase: bool = False) -> Path:
    """A `tokenizer.json` over `VOCABULARY`: whitespace words between [start] and [end]."""
    special = [
        {
            "id": i,
            "content": VOCABULARY[i],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for i in range(3)
    ]
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "Lowercase"} if lowercase else None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "[start]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[end]", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                name: {"id": name, "ids": [i], "tokens": [name]} for i, name in enumerate(VOCABULARY[:2])
            },
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(VOCABULARY)}, "unk_token": "[unk]"},
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


class Events:
    """A logger that remembers: `[(event, fields)]`."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.seen.append((event, fields))

    info = error = debug = warning


def pictures(count: int, side: int = 224, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Different pictures of soft colours with noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side, 0:side] / side
    made = []
    for _ in range(count):
        low, high, tilt = random.uniform(0, 255, (3, 3))
        ramp = low + (high - low) * rows[..., None] + (tilt - 128) * columns[..., None]
        made.append(np.clip(ramp + random.normal(0, 10, ramp.shape), 0, 255).astype(np.uint8))
    return made
