"""The seam between a tower and what runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clipwatch.model.graph import Port

Array = NDArray[Any]


class Engine(Protocol):
    """A loaded graph. Runs are repeatable and may come from any thread, one at a time."""

    @property
    def inputs(self) -> Sequence[Port]:
        """What it takes."""
        ...

    @property
    def outputs(self) -> Sequence[Port]:
        """What it gives."""
        ...

    @property
    def rows(self) -> int | None:
        """How many pictures a run are enough; more would only take memory. None: the more, the faster."""
        ...

    @property
    def describe(self) -> Mapping[str, object]:
        """engine, precision, provider, threads."""
        ...

    def run(self, output: str, feeds: Mapping[str, Array]) -> Array:
        """One output. Raises `ModelError` where the graph cannot be run on *feeds*."""
        ...


def float32(array: Array) -> NDArray[np.float32]:
    """*array* itself where it already is float32."""
    return array.astype(np.float32, copy=False)
