"""When the old collection may not go, though the new one is complete."""

from __future__ import annotations

import pytest

from clipwatch.config import LimitsConfig
from clipwatch.folder.mounts import Unmounted
from clipwatch.mirror.losses import HoldReason, Losses, reason_to_hold
from clipwatch.mirror.switchover import Known, sentence_about

LIMITS = LimitsConfig()


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        (Losses(points=100, lost=0, absent=0), None),
        (Losses(points=100, lost=10, absent=10), None),
        (Losses(points=3, lost=3, absent=3), HoldReason.EVERYTHING_GONE),
        (Losses(points=3, lost=3, absent=0), None),
        (Losses(points=100, lost=51, absent=51), HoldReason.UNUSUAL_SHARE),
        (Losses(points=100, lost=50, absent=50), None),
        (Losses(points=0, lost=0, absent=0), None),
        (Losses(points=100, lost=1, absent=0, unreadable=1), HoldReason.UNREADABLE),
    ],
)
def test_the_same_losses_are_in_doubt_as_for_deletes(losses: Losses, reason: HoldReason | None) -> None:
    assert reason_to_hold(losses, losses.points, LIMITS) is reason


def test_a_person_is_told_what_would_be_lost_and_why() -> None:
    one = Losses(points=100, lost=1, absent=1, unreadable=1)
    assert "directory 2024 of folder images" in sentence_about(
        "images", one, Known("2024", frozenset(), frozenset(), Unmounted(b""))
    )
    assert "1 files of folder images cannot be read" in sentence_about(
        "images", one, Known("", frozenset(), frozenset(), Unmounted(b""))
    )
