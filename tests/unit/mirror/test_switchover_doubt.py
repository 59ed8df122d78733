"""When the old collection may not go, though the new one is complete."""

from __future__ import annotations

import pytest

from clipwatch.mirror.switchover import Known, Loss, doubt_about

READABLE = Known("", frozenset(), frozenset())


@pytest.mark.parametrize(
    ("loss", "doubted"),
    [
        (Loss(points=100, gone=0, absent=0), False),
        (Loss(points=100, gone=10, absent=10), False),
        (Loss(points=3, gone=3, absent=3), True),
        (Loss(points=3, gone=3, absent=0), False),
        (Loss(points=100, gone=51, absent=51), True),
        (Loss(points=100, gone=50, absent=50), False),
        (Loss(points=0, gone=0, absent=0), False),
        (Loss(points=100, gone=1, absent=0, kept=1), True),
    ],
)
def test_the_same_shares_are_in_doubt_as_for_deletes(loss: Loss, doubted: bool) -> None:
    assert bool(doubt_about("images", loss, READABLE, fraction=0.5)) == doubted


def test_one_point_is_enough_where_a_directory_cannot_be_read() -> None:
    known = Known("2024", frozenset(), frozenset())
    assert "2024" in doubt_about("images", Loss(points=100, gone=1, absent=1), known, fraction=0.5)
    assert not doubt_about("images", Loss(points=100, gone=0, absent=0), known, fraction=0.5)
