"""ONNX Runtime for these scripts, told before it is imported to send no usage data to its vendor."""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["onnxruntime"]
