"""The promise of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clipwatch.records import Pixels, Preprocessing

Matrix = NDArray[np.float32]


class Encoder(Protocol):
    """A resident vision model.

    Order is kept; nothing reaches for the network; thread-safe. Vectors of two fingerprints must never mix.
    """

    @property
    def name(self) -> str:
        """For people: the file's or bundle's name."""
        ...

    @property
    def demonstration(self) -> bool:
        """Whether this is the small model that ships, which people must be told."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names everything that moves image vectors: the model's bytes, its preprocessing and pooling."""
        ...

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """What the decoder must do before `encode`."""
        ...

    @property
    def describe(self) -> dict[str, object]:
        """For log and status: engine, precision, provider, threads, size of the file."""
        ...

    def encode(self, pixels: Sequence[Pixels]) -> Matrix:
        """uint8 `[h, w, 3]` pictures to float32 unit rows `[n, d]`.

        A row that came out non-finite or zero is all NaN.
        """
        ...
