"""Copying a collection between two stores: whole, repeatable, counted by the stores themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipwatch.errors import ConfigError, StoreUnavailable
from clipwatch.records import Point
from clipwatch.store import copy
from clipwatch.store.copy import Copied, copy_points
from clipwatch.store.qdrant import QdrantStore
from support.stores import open_test_store, sample_point


@pytest.fixture
def source(tmp_path: Path) -> Iterator[QdrantStore]:
    with open_test_store(tmp_path) as store:
        yield store


@pytest.fixture
def target(tmp_path: Path) -> Iterator[QdrantStore]:
    with open_test_store(tmp_path, ensure=False) as store:
        yield store


def _points(store: QdrantStore) -> list[tuple[str, dict[str, Any], list[float]]]:
    return [
        (point.id, point.payload, [] if point.vector is None else point.vector.tolist())
        for point in store.points(vectors=True)
    ]


def _fill(store: QdrantStore, count: int) -> list[Point]:
    points = [sample_point(f"{number}.jpg", folder=("a", "b")[number % 2]) for number in range(count)]
    store.upsert(points)
    return points


def test_every_point_arrives_as_it_was_in_a_collection_that_was_not_there(
    source: QdrantStore, target: QdrantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "POINTS_PER_PAGE", 7)
    _fill(source, 30)
    heard: list[int] = []
    assert copy_points(source, target, heard.append) == Copied(30, 30, 0, 0, exact=True)
    assert _points(target) == _points(source)
    assert heard == [7, 14, 21, 28, 30]


def test_a_copy_that_broke_off_goes_on_and_what_changed_meanwhile_is_copied_again(
    source: QdrantStore, target: QdrantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "POINTS_PER_PAGE", 10)
    points = _fill(source, 30)

    def broken(done: int) -> None:
        if done == 20:
            raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        copy_points(source, target, broken)
    assert target.count() == 20
    old = next(iter(target.points(vectors=False))).id
    changed = next(point for point in points if point.id == old)
    source.upsert([Point(changed.id, -changed.vector, {**changed.payload, "content": "sha256:other"})])
    assert copy_points(source, target) == Copied(30, 11, 19, 0, exact=True)
    assert _points(target) == _points(source)


def test_what_the_target_has_too_much_makes_it_inexact(source: QdrantStore, target: QdrantStore) -> None:
    _fill(source, 4)
    copy_points(source, target)
    target.upsert([sample_point("stranger.jpg", folder="a")])
    assert copy_points(source, target).exact is False
    target.delete("a", [sample_point("stranger.jpg", folder="a").id])
    target.upsert([sample_point("of-another-machine.jpg", folder="c")])
    assert copy_points(source, target).exact is True


def test_a_target_of_another_width_is_refused_untouched(source: QdrantStore, target: QdrantStore) -> None:
    target.ensure(3)
    _fill(source, 2)
    with pytest.raises(ConfigError):
        copy_points(source, target)
    assert target.count() == 0


def test_an_empty_collection_makes_nothing(source: QdrantStore, target: QdrantStore) -> None:
    assert copy_points(source, target) == Copied(0, 0, 0, 0, exact=True)
