"""The vectors that all others are compared with: full decode, CLIP's exact preprocessing, one picture a run.

Written apart from the package on purpose: it shares no code with what it judges. Also run by the peers'
interpreter, so it needs nothing but Pillow, numpy and ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Vectors = dict[str, NDArray[np.float32]]
"""Unit vectors by file name."""

SIDE: Final = 224
_MEAN: Final = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
_STD: Final = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def pixels_of(file: Path) -> NDArray[np.float32]:
    """What the model sees of a picture, float32 `[3, 224, 224]`."""
    with Image.open(file) as image:
        return pixels_of_image(image)


def pixels_of_image(image: Image.Image) -> NDArray[np.float32]:
    """OpenAI's clip/clip.py `_transform`, with Pillow as there."""
    rgb = image.convert("RGB")
    width, height = rgb.size
    size = (SIDE, int(SIDE * height / width)) if width <= height else (int(SIDE * width / height), SIDE)
    small = rgb.resize(size, Image.Resampling.BICUBIC)
    left, top = round((size[0] - SIDE) / 2), round((size[1] - SIDE) / 2)
    square = np.asarray(small.crop((left, top, left + SIDE, top + SIDE)), np.float32) / 255
    return np.ascontiguousarray(((square - _MEAN) / _STD).transpose(2, 0, 1))


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of length 1."""
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def session_of(model: Path) -> Any:
    """ONNX Runtime as it comes: all cores, spinning."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])


def reference(cache: Path, model: Path, folder: Path) -> Vectors:
    """Of every picture in *folder*; kept for the next run."""
    kept = cache / f"reference-{folder.name}-{model.stat().st_size}.npz"
    files = sorted(folder.iterdir())
    if not kept.exists():
        print(f"making the reference vectors of {folder.name}", flush=True)
        session = session_of(model)
        rows = [unit(session.run(None, {"pixel_values": pixels_of(file)[None]})[0][0]) for file in files]
        save(kept, {file.name: row for file, row in zip(files, rows, strict=True)})
    return load(kept)


def save(file: Path, vectors: Mapping[str, NDArray[np.float32]]) -> None:
    """As a NumPy archive."""
    part = file.with_suffix(".part.npz")
    np.savez(part, names=np.array(list(vectors)), rows=np.stack(list(vectors.values())))
    part.replace(file)


def load(file: Path) -> Vectors:
    """Inverse of `save`."""
    with np.load(file) as archive:
        return dict(zip(archive["names"].tolist(), archive["rows"], strict=True))


def cosines(vectors: Vectors, truth: Vectors) -> NDArray[np.float64]:
    """Of each picture that both have; empty where they share none."""
    shared = sorted(vectors.keys() & truth.keys())
    return np.array([unit(vectors[name]).astype(np.float64) @ truth[name] for name in shared], np.float64)
