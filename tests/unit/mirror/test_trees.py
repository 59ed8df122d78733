"""What lies below a named directory is looked at soon, once, and never for longer than a slice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipwatch.config import WatchConfig
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules
from clipwatch.folder.scan import Listing, walk
from clipwatch.mirror import trees
from clipwatch.mirror.trees import MANY_TREES, Trees
from support.mirrors import FakeClock, bench, fill, picture, put


class Walks:
    """Every directory takes half a second and has ten below it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.begun, self.seen = FakeClock(), list[bytes](), list[bytes]()
        watch = WatchConfig()
        self.trees = Trees(Root(watch), FileRules.from_config(watch), share=0.2, clock=self.clock)
        monkeypatch.setattr(trees, "walk", self._walk)

    def _walk(self, *_: Any, below: bytes, **__: Any) -> Iterator[Listing]:
        self.begun.append(below)
        for number in range(10):
            self.clock.jump(0.5)
            yield Listing(below + b"/%d" % number)

    def step(self) -> bool:
        """With a slice of a second."""
        now = self.clock.monotonic()
        return self.trees.step(now, now + 1.0, lambda listing: self.seen.append(listing.directory))


@pytest.fixture(name="walks")
def _walks(monkeypatch: pytest.MonkeyPatch) -> Walks:
    return Walks(monkeypatch)


def test_a_large_tree_is_seen_in_slices(walks: Walks) -> None:
    walks.trees.add(b"a")
    steps = 1
    while walks.step():
        steps += 1
    assert len(walks.seen) == 10
    assert steps >= 5
    assert not walks.trees


def test_a_tree_that_changes_while_it_is_seen_is_seen_once_more_after_a_while(walks: Walks) -> None:
    walks.trees.add(b"a")
    while walks.step():
        walks.trees.add(b"a")
    assert walks.begun == [b"a"]
    wanted = walks.trees.next_moment()
    assert wanted == pytest.approx(walks.clock.monotonic() + 4 * 5.0), "a fifth of the time"
    walks.clock.jump(4 * 5.0)
    while walks.step():
        pass
    assert walks.begun == [b"a", b"a"]
    assert walks.trees.next_moment() is None


def test_what_lies_in_another_one_that_waits_is_seen_with_it(walks: Walks) -> None:
    for directory in (b"a/b/c", b"z", b"a/b", b"ab", b"a"):
        walks.trees.add(directory)
    while walks.trees:
        if not walks.step():
            walks.clock.jump(60)
    assert walks.begun == [b"a", b"z", b"ab"]


def test_very_many_are_left_to_the_look_at_everything(walks: Walks) -> None:
    for number in range(MANY_TREES + 1):
        walks.trees.add(b"%d" % number)
    assert not walks.trees


def test_a_file_is_taken_while_a_large_tree_is_still_being_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench(tmp_path) as b:
        fill(b.folder, 2)
        b.start()
        b.quiet()
        fill(b.folder, 3, first=10, below="large/")
        walking = 0

        def slow(*arguments: Any, **keywords: Any) -> Iterator[Listing]:
            nonlocal walking
            for listing in walk(*arguments, **keywords):
                for _ in range(100):
                    walking += 1
                    b.clock.jump(0.05)
                    yield Listing(b"large")
                yield listing

        monkeypatch.setattr(trees, "walk", slow)
        put(b.folder, "fresh.png", picture(50))
        b.touch_tree("large")
        b.now.step()
        b.touch("fresh.png")
        b.now.step()
        assert 0 < walking <= 4
        assert b"fresh.png" in b.one.work.in_hand
        b.quiet()
        b.assert_exact()
