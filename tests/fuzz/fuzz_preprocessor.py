"""Any `preprocessor_config.json` is understood or refused by name."""

from __future__ import annotations

import json
import math

import atheris

with atheris.instrument_imports(include=["clipwatch.model.preprocessor"]):
    from clipwatch.model.preprocessor import MAX_SIDE, read_preprocessing

from clipwatch.errors import ModelError
from fuzz.driver import folder_in_memory, fuzz, mutated_json

KEYS = (
    *("size", "crop_size", "shortest_edge", "height", "width", "crop_pct", "do_resize", "do_center_crop"),
    *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "resample", "interpolation"),
    *("do_pad", "do_convert_rgb", "image_processor"),
)
SEEDS = (
    {"crop_size": 224, "do_center_crop": True, "resample": 3, "size": 224, "image_mean": [0.4, 0.4, 0.4]},
    {"size": {"height": 256, "width": 256}, "rescale_factor": 0.0039, "image_std": [0.5, 0.5, 0.5], "resample": 2},
    {"size": {"shortest_edge": 256}, "crop_size": {"height": 256, "width": 256}, "do_normalize": False},
    {"image_processor": {"size": 288, "crop_pct": 0.9, "interpolation": "bicubic"}, "do_rescale": False},
)
FILE = folder_in_memory() / "preprocessor_config.json"


def target(data: bytes) -> None:
    FILE.write_bytes(data)
    try:
        found = read_preprocessing(FILE)
    except ModelError:
        return
    assert 0 < found.side <= found.resize_side <= MAX_SIDE
    assert found.resize in ("crop", "squash")
    assert all(math.isfinite(number) for number in (found.rescale, *found.mean, *found.std))
    assert min(found.rescale, *found.std) > 0


if __name__ == "__main__":
    fuzz(target, (json.dumps(seed).encode() for seed in SEEDS), mutated_json(KEYS))
