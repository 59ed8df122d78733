"""How close the vectors of two encoders of one model are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from clipwatch.model.contract import Matrix
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.known_answer import square_pixels
from clipwatch.model.photographs import photographs
from clipwatch.records import Pixels

GATE: Final = 0.999
"""Cosine from which two ways of computing one model count as the same; a rank-10 answer does not notice it.

An engine that `auto` takes unasked must reach it on each sample picture; a variant that a person chooses, in the mean.
"""

LEAST_ALLOWED: Final = 0.99
"""What a person may lower the gate to: below this, rankings are another model's."""


def cosines(a: VisionEncoder, b: VisionEncoder, pictures: Sequence[Pixels]) -> tuple[float, float]:
    """Mean and lowest cosine between the two vectors of each picture."""
    return cosines_of(a.encode(pictures), b.encode(pictures))


def cosines_of(a: Matrix, b: Matrix) -> tuple[float, float]:
    """Mean and lowest cosine of rows; a broken one counts as -1, as do rows of two widths."""
    if a.shape != b.shape:
        return -1.0, -1.0
    each = np.nan_to_num(np.einsum("nd,nd->n", a, b), nan=-1.0)
    return float(each.mean()), float(each.min())


def sample_pictures(side: int) -> list[Pixels]:
    """The photographs that ship: noise would flatter an engine, and drawings excite few of a model's channels."""
    return [square_pixels(answer, side) for answer in photographs()]
