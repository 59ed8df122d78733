"""The name of everything that moves image vectors."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Final

from clipwatch.records import Preprocessing

_HEX_DIGITS: Final = 32
"""128 bits: no two models meet by accident, and payloads stay short."""


WHITE: Final = (255, 255, 255)


def fingerprint(
    vision_sha256: str,
    preprocessing: Preprocessing,
    pooling: str,
    output: str,
    precision: str = "",
    *,
    background: tuple[int, int, int] = WHITE,
) -> str:
    """`sha256:` and 32 hex digits over the model's hash, the preprocessing, the pooling and the output taken.

    *precision* names an arithmetic that moves vectors noticeably ("bf16", "int8"), else it is "". *background*: RGB
    behind transparency; "auto" counts as white, so that only pictures that it moves have another vector than before.
    Engine, device and threads are left out: they move vectors by rounding only. Existing
    collections depend on this spelling.
    """
    parts: dict[str, object] = {
        "vision": vision_sha256,
        "preprocessing": asdict(preprocessing),
        "pooling": pooling,
        "output": output,
    }
    if precision:
        parts["precision"] = precision
    if background != WHITE:
        parts["background"] = background
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    return f"sha256:{digest[:_HEX_DIGITS]}"
