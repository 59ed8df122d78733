"""How close the vectors of two encoders of one model are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from clipwatch.model.encoder import VisionEncoder
from clipwatch.records import Pixels

GATE: Final = 0.999
"""Mean cosine from which two ways of computing one model count as the same; a rank-10 answer does not notice it."""


def cosines(a: VisionEncoder, b: VisionEncoder, pictures: Sequence[Pixels]) -> tuple[float, float]:
    """Mean and lowest cosine between the two vectors of each picture; a broken vector counts as -1."""
    if a.width != b.width:
        return -1.0, -1.0
    each = np.nan_to_num(np.einsum("nd,nd->n", a.encode(pictures), b.encode(pictures)), nan=-1.0)
    return float(each.mean()), float(each.min())


def sample_pictures(side: int) -> list[Pixels]:
    """Four pictures of soft colours with edges and some noise, always the same: enough for an engine to go wrong on."""
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[0:side, 0:side] / side
    pictures = []
    for _ in range(4):
        waves = random.uniform(-9, 9, (3, 2, 3))
        light = sum(np.sin(waves[:, i, 0, None, None] * rows + waves[:, i, 1, None, None] * columns) for i in range(2))
        edge = (rows * random.uniform(-1, 1) + columns > random.uniform(0.2, 0.8)) * random.uniform(-60, 60)
        noise = random.normal(0, 6, (3, side, side))
        pictures.append(np.clip(128 + 50 * light + edge + noise, 0, 255).astype(np.uint8).transpose(1, 2, 0))
    return pictures
