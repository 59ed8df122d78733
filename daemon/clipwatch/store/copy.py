"""A collection from one store into another: vectors and payloads as they are, nothing is computed anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from clipwatch.records import Point
from clipwatch.store.contract import Store, StoredPoint

POINTS_PER_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy came to."""

    points: int
    """In the source."""
    copied: int
    present: int
    """Were in the target already, from a copy that was interrupted."""
    refused: int
    """Have no usable vector, or the target would not take them."""
    exact: bool
    """Whether each folder has the same number of points in both, counted by the stores themselves."""


def copy_points(source: Store, target: Store, progress: Callable[[int], None] = lambda _: None) -> Copied:
    """Every point of *source* into *target*, whose collection is made where missing. May be repeated.

    *progress* hears how many points are done. Raises what stores raise, and `ConfigError` where the target's collection
    has another width.
    """
    copied = present = refused = done = 0
    for page in _pages(source.points(vectors=True)):
        points = [Point(item.id, item.vector, item.payload) for item in page if item.vector is not None]
        if points and not done:
            target.ensure(len(points[0].vector))
        ids = [point.id for point in points]
        wanted, there = source.rows(ids), target.rows(ids)
        missing = [point for point in points if there.get(point.id) != wanted[point.id]]
        refusals = target.upsert(missing) if missing else ()
        copied += len(missing) - len(refusals)
        present += len(points) - len(missing)
        refused += len(page) - len(points) + len(refusals)
        done += len(page)
        progress(done)
    counted = target.folders() if done else {}
    exact = not refused and all(counted.get(folder) == number for folder, number in source.folders().items())
    return Copied(done, copied, present, refused, exact)


def _pages(points: Iterator[StoredPoint]) -> Iterator[list[StoredPoint]]:
    while page := list(islice(points, POINTS_PER_PAGE)):
        yield page
