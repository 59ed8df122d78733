"""Several vectors into one question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from clipwatch.errors import ConfigError
from clipwatch.records import Vector

_NOTHING_LEFT: Final = 1e-4
"""Below this length the direction is rounding noise."""


def combine(parts: Sequence[tuple[float, Vector]]) -> Vector:
    """The unit vector along the weighted sum of unit vectors; a negative weight leads away.

    Raises `ConfigError` where the parts cancel each other out.
    """
    total = np.sum([weight * vector.astype(np.float64) for weight, vector in parts], axis=0)
    length = float(np.linalg.norm(total))
    if not np.isfinite(length) or length < _NOTHING_LEFT:
        raise ConfigError("The words and pictures cancel each other out: nothing is left to search for.")
    result: Vector = (total / length).astype(np.float32)
    return result
