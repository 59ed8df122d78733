"""Runs inside the container: whether OpenVINO can infer under the restrictions that this process was given."""

from __future__ import annotations

import importlib
from importlib import resources

import numpy as np

file = resources.files("clipwatch.model") / "demonstration" / "clip_vision.onnx"
openvino = importlib.import_module("openvino")  # after clipwatch, which keeps it from sending anything
compiled = openvino.compile_model(str(file), "CPU")
shape = [1 if dimension.is_dynamic else dimension.get_length() for dimension in compiled.input(0).partial_shape]
assert np.isfinite(compiled(np.zeros(shape, np.float32))[0]).all()
