"""One collection's points: an edge shard that is opened late, flushed before each answer and vacuumed when idle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import qdrant_edge as edge

from clipwatch.engine.files import FreeSpace, allocated_bytes
from clipwatch.engine.replies import Refused, edge_calls

NEVER_INDEX_KILOBYTES: Final = 1_000_000_000
"""Building a graph index holds the interpreter lock for minutes; an exact scan of 100,000 vectors takes 20 ms."""
DISTANCES: Final = {
    "Cosine": edge.Distance.Cosine,
    "Euclid": edge.Distance.Euclid,
    "Dot": edge.Distance.Dot,
    "Manhattan": edge.Distance.Manhattan,
}

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Shape:
    """What all vectors of a collection have in common."""

    width: int
    distance: str

    def config(self) -> edge.EdgeConfig:
        return edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=self.width, distance=DISTANCES[self.distance]),
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=NEVER_INDEX_KILOBYTES),
            wal_enabled=True,  # it replays what was not flushed when the process died
        )


def holds_data(path: Path) -> bool:
    """Whether *path* is a shard to load; else it is one to create.

    A `create` that was cut short leaves no configuration, and a failed `load` an empty `segments/`.
    """
    segments = path / "segments"
    return (path / "edge_config.json").exists() or (segments.is_dir() and any(segments.iterdir()))


class Shard:
    """Not thread-safe: one thread owns it. Raises `Refused` and nothing else."""

    def __init__(self, path: Path, shape: Shape, space: FreeSpace, log: Log, *, deleted_threshold: float) -> None:
        self.path = path
        self.shape = shape
        self.deleted_threshold = deleted_threshold
        self._space = space
        self._log = log
        self._open: edge.EdgeShard | None = None
        self._deleted = 0
        self._vacuum_tried_at = -1
        """How many deletions the last vacuum saw; -1: what was deleted before we opened is not known."""

    def opened(self) -> edge.EdgeShard:
        """The open shard. Opening replays what a killed process left unflushed, and flushes it."""
        if self._open is None:
            self._space.require_to_open()
            with edge_calls():
                if holds_data(self.path):
                    opened = edge.EdgeShard.load(str(self.path), self.shape.config())
                else:
                    self._log(f"The shard {self.path} holds no data: an empty one is created.")
                    opened = edge.EdgeShard.create(str(self.path), self.shape.config())
            self._open = opened
            with edge_calls():
                opened.flush()
        return self._open

    def write(self, operations: Sequence[edge.UpdateOperation], size_bytes: int) -> None:
        """Apply *operations* in order; returning means that they are on disk.

        *size_bytes* is about what they will add. A refused operation ends the sequence; what it and
        those before it changed is on disk too.
        """
        shard = self.opened()
        self._space.require(size_bytes)
        try:
            with edge_calls():
                for operation in operations:
                    before = shard.info().points_count
                    shard.update(operation)
                    self._deleted += max(0, before - shard.info().points_count)
        finally:
            self._flush()

    def _flush(self) -> None:
        """Flush; where that fails, the log still has everything: reopen, which replays it, and flush again."""
        shard = self.opened()
        try:
            with edge_calls():
                shard.flush()
        except Refused as refused:
            self._log(f"Flushing {self.path} failed, so it is opened anew: {refused.words}")
            self.close()
            self.opened()

    def vacuum_due(self) -> bool:
        """Whether enough was deleted since the last vacuum; once after opening, the engine itself decides."""
        if self._open is None or self._deleted <= self._vacuum_tried_at:
            return False
        total = self._open.info().points_count + self._deleted
        return self._vacuum_tried_at < 0 or self._deleted > self.deleted_threshold * total

    def vacuum(self) -> None:
        """Give back what deleted points occupy. Holds the interpreter lock: about 1.2 s for 100,000 points."""
        shard = self.opened()
        self._vacuum_tried_at = self._deleted
        self._space.require(allocated_bytes(self.path))
        with edge_calls():
            if shard.optimize():
                self._deleted = self._vacuum_tried_at = 0
        self._flush()

    def close(self) -> None:
        if self._open is not None:
            shard, self._open = self._open, None
            try:
                with edge_calls():
                    shard.close()
            except Refused as refused:
                self._log(f"Closing {self.path} failed: {refused.words}")
