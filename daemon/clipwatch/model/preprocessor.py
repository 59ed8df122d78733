"""`preprocessor_config.json` (Hugging Face layout) and our own settings → `Preprocessing`.

Wrong pixels give plausible but wrong vectors, so whatever is not understood is refused by name.
Keys: transformers, `image_processing_utils.py` and the `image_processing_*` of CLIP, SigLIP, ViT and ConvNeXT.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from clipwatch.errors import ModelError
from clipwatch.records import Preprocessing

CLIP: Final = Preprocessing()
MAX_SIDE: Final = 4096

_RESAMPLE: Final = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By number, as in `PIL.Image.Resampling`."""
_REFUSED_WHEN_TRUE: Final = ("do_pad", "do_flip_channel_order", "rescale_offset", "do_image_splitting", "do_thumbnail")


def read_preprocessing(
    file: Path | None, *, resize: str = "auto", normalize: str = "auto", model_side: int | None = None
) -> Preprocessing:
    """What the pictures must go through: *file*, else CLIP's own values, then the settings *resize* and *normalize*.

    *model_side* is the input size in the model's graph, None where that is dynamic; it decides where *file* is None
    and must agree with *file* otherwise. Raises `ModelError` naming the file and the key.
    """
    result = CLIP if file is None else parse_preprocessing(_document(file), str(file))
    if model_side is not None and model_side != result.side:
        if file is not None:
            raise ModelError(
                f"{file} says pictures of {result.side}×{result.side}, but the model takes {model_side}×{model_side}.",
                hint="Use the preprocessor_config.json that came with this model.",
            )
        result = replace(result, side=model_side, resize_side=model_side)
    if resize == "squash" or (resize == "crop" and result.resize != "crop"):
        result = replace(result, resize=resize, resize_side=result.side)
    if normalize == "clip":
        result = replace(result, rescale=CLIP.rescale, mean=CLIP.mean, std=CLIP.std)
    elif normalize == "symmetric":
        result = replace(result, rescale=CLIP.rescale, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return result


def parse_preprocessing(document: Mapping[str, Any], source: str) -> Preprocessing:
    """The content of a `preprocessor_config.json`; *source* names it in errors. Raises `ModelError`."""
    nested = document.get("image_processor")
    keys = _Keys(nested if isinstance(nested, dict) else document, source)
    for key in _REFUSED_WHEN_TRUE:
        if keys.flag(key, False):
            raise keys.wrong(key, "false (clipwatch cannot do this step)")
    if not keys.flag("do_resize", True):
        raise keys.wrong("do_resize", "true (pictures of any size must come to the model's size)")
    side, resize, resize_side = _sizes(keys)
    rescale = keys.number("rescale_factor", CLIP.rescale) if keys.flag("do_rescale", True) else 1.0
    if keys.flag("do_normalize", True):
        mean, std = keys.triple("image_mean", CLIP.mean), keys.triple("image_std", CLIP.std)
    else:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if min(std) <= 0 or rescale <= 0:
        raise keys.wrong("image_std" if min(std) <= 0 else "rescale_factor", "positive")
    return Preprocessing(side, resize, resize_side, _interpolation(keys), rescale, mean, std)


class _Keys:
    """A document whose values are checked as they are read."""

    def __init__(self, document: Mapping[str, Any], source: str) -> None:
        self.document = document
        self.source = source

    def get(self, key: str) -> Any:
        return self.document.get(key)

    def wrong(self, key: str, expected: str) -> ModelError:
        return ModelError(
            f"{self.source}: {key} must be {expected}, not {self.get(key)!r}.",
            hint="Use the preprocessor_config.json that came with this model, or correct that key.",
        )

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
            raise self.wrong(key, "a number")
        return float(value)

    def triple(self, key: str, default: tuple[float, float, float]) -> tuple[float, float, float]:
        value = self.get(key)
        if value is None:
            return default
        if (
            not isinstance(value, list)
            or len(value) != 3
            or any(isinstance(item, bool) or not isinstance(item, int | float) or not abs(item) < 1e6 for item in value)
        ):
            raise self.wrong(key, "three numbers, for red, green and blue")
        return (float(value[0]), float(value[1]), float(value[2]))

    def side(self, key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_SIDE:
            raise self.wrong(key, f"a size between 1 and {MAX_SIDE} pixels")
        return value


def _sizes(keys: _Keys) -> tuple[int, str, int]:
    """side, resize, resize_side."""
    kind, size = _size(keys)
    crops = keys.flag("do_center_crop", keys.get("crop_size") is not None or kind == "short")
    if keys.get("crop_pct") is not None:
        share = keys.number("crop_pct", 1.0)
        if not size / MAX_SIDE <= share <= 1:
            raise keys.wrong("crop_pct", f"between {size / MAX_SIDE:g} and 1")
        return size, "crop", int(size / share)
    if not crops:
        if kind == "short":
            raise keys.wrong("do_center_crop", "true where size is a shortest edge (the model takes one size only)")
        return size, "squash", size
    side = _square(keys, "crop_size", size)
    if kind == "square" and side != size:
        raise keys.wrong("crop_size", f"{size}, as size is (squashing, then cropping, is not supported)")
    if side > size:
        raise keys.wrong("crop_size", f"at most {size}, as size is (padding is not supported)")
    return (side, "squash", side) if kind == "square" else (side, "crop", size)


def _size(keys: _Keys) -> tuple[str, int]:
    """`size` as ("short" or "square", pixels). A bare number is the short side where a crop follows."""
    size = keys.get("size")
    if isinstance(size, dict) and "shortest_edge" in size:
        if set(size) - {"shortest_edge"}:
            raise keys.wrong("size", 'a number, {"shortest_edge": n} or {"height": n, "width": n}')
        return "short", keys.side("size", size["shortest_edge"])
    if isinstance(size, dict):
        return "square", _square(keys, "size", None)
    if size is None:
        return "short", _square(keys, "crop_size", CLIP.side)
    crops = keys.flag("do_center_crop", keys.get("crop_size") is not None)
    return ("short" if crops else "square"), keys.side("size", size)


def _square(keys: _Keys, key: str, default: int | None) -> int:
    value = keys.get(key)
    if value is None and default is not None:
        return default
    if isinstance(value, dict):
        if set(value) != {"height", "width"} or value["height"] != value["width"]:
            raise keys.wrong(key, 'a number or a square {"height": n, "width": n}')
        value = value["height"]
    return keys.side(key, value)


def _interpolation(keys: _Keys) -> str:
    key = "resample" if keys.get("resample") is not None else "interpolation"
    value = keys.get(key)
    if value is None:
        return CLIP.interpolation
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(_RESAMPLE):
        return _RESAMPLE[value]
    if isinstance(value, str) and value.lower() in _RESAMPLE:
        return value.lower()
    raise keys.wrong(key, f"0 to {len(_RESAMPLE) - 1} or one of {', '.join(_RESAMPLE)}")


def _document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not valid JSON: {error}.", hint="Fetch it again.") from error
    if not isinstance(document, dict):
        raise ModelError(f"{file} must hold a JSON object.", hint="Fetch it again.")
    return document
