"""What is done about a collection of another model, decided over values."""

from __future__ import annotations

import pytest

from clipwatch.store.rebuild import Plan, Seen, Step, built_name, decide, leftovers

PRINT = "sha256:0123456789abcdef0123456789abcdef"
BUILT = "images-0123456789ab"


def seen(*names: str, live: str = "images", width: int | None = 8) -> Seen:
    return Seen(frozenset(names), live, width)


@pytest.mark.parametrize(
    ("found", "asked", "wanted"),
    [
        (seen(live="", width=None), False, Plan(Step.IN_PLACE, "images")),
        (seen(live="", width=None), True, Plan(Step.IN_PLACE, "images")),
        (seen("images"), False, Plan(Step.IN_PLACE, "images")),
        (seen("images"), True, Plan(Step.BESIDE, BUILT)),
        (seen("images", width=9), False, Plan(Step.BESIDE, BUILT)),
        (seen("images", width=None), False, Plan(Step.IN_PLACE, "images")),
        (seen("images", width=None), True, Plan(Step.IN_PLACE, "images")),
        (seen("images", BUILT), False, Plan(Step.BESIDE, BUILT)),
        (seen(BUILT, live="", width=None), False, Plan(Step.FINISH, BUILT)),
        (seen(BUILT, live=BUILT), False, Plan(Step.IN_PLACE, "images")),
        (seen(BUILT, live=BUILT), True, Plan(Step.BESIDE, f"{BUILT}-2")),
        (seen(BUILT, f"{BUILT}-2", live=BUILT), False, Plan(Step.BESIDE, f"{BUILT}-2")),
        (seen(BUILT, f"{BUILT}-2", live=f"{BUILT}-2"), False, Plan(Step.IN_PLACE, "images")),
        (seen(f"{BUILT}-3", live=f"{BUILT}-3"), True, Plan(Step.BESIDE, BUILT)),
        (seen("images-ffffffffffff", live="images-ffffffffffff", width=9), False, Plan(Step.BESIDE, BUILT)),
    ],
)
def test_the_plan_follows_from_the_names_in_the_store(found: Seen, asked: bool, wanted: Plan) -> None:
    assert decide("images", found, PRINT, width=8, asked=asked) == wanted


def test_a_name_holds_nothing_that_a_collection_may_not_be_called() -> None:
    assert built_name("images", PRINT) == BUILT
    assert built_name("images", "sha256:A/b c:D") == "images-d"
    assert built_name("images", "odd:///") == "images-model"


def test_only_what_is_called_like_a_built_collection_is_a_leftover() -> None:
    names = ("images", "images-2", "images-old", "images-0123456789abc", "other-0123456789ab", BUILT, f"{BUILT}-2")
    assert leftovers("images", seen(*names), ()) == [BUILT, f"{BUILT}-2"]
    assert leftovers("images", seen(*names, live=BUILT), ()) == [f"{BUILT}-2"]
    assert leftovers("images", seen(*names, live=BUILT), (f"{BUILT}-2",)) == []
