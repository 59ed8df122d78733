"""A collection built anew beside the old one, and put in its place when it is complete.

What to do is decided over values, from nothing but the names that the store has: so a program that died on
any line goes on where it was. The name in the settings is the collection at first and an alias ever after;
the collections behind it are called after the model that filled them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from clipwatch.errors import CollectionMissing, ConfigError, StoreRejected
from clipwatch.store.owners import MARK

if TYPE_CHECKING:
    from clipwatch.store.qdrant import QdrantStore

CURE: Final = (
    "Remove a folder that is watched no more with `clipwatch forget NAME`; else set store.collection to a new name, "
    "or model.path to the model that this collection was made with."
)
"""For a collection that holds what is not ours."""

_HEX_DIGITS: Final = 12
_TURNS: Final = ("", "-2", "-3")
"""Three in turn, for one model built anew again and again: after the one that is shown comes the one to build,
and before it lies the one to remove. With two, these could not be told apart after a kill."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the store has: all names, the collection behind the settings' name ("": none), and its width.

    *width* is None where it has not one plain vector under cosine.
    """

    collections: frozenset[str]
    live: str
    width: int | None


class Step(StrEnum):
    """What is to be done."""

    IN_PLACE = "in_place"
    """Work on what the settings' name means, as if there were no rebuilding."""
    BESIDE = "beside"
    """Fill another collection; the old one is shown until that is complete."""
    FINISH = "finish"
    """The old one is dropped already: only the alias is missing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A step, and the collection to write to."""

    step: Step
    collection: str


def built_name(collection: str, fingerprint: str, live: str = "") -> str:
    """What the collection is called that *fingerprint*'s model fills while *live* is shown."""
    first = f"{collection}-{_short(fingerprint)}"
    turns = [first + turn for turn in _TURNS]
    return turns[(turns.index(live) + 1) % len(turns)] if live in turns else first


def _short(fingerprint: str) -> str:
    return re.sub(r"[^0-9a-z]", "", fingerprint.rpartition(":")[2].lower())[:_HEX_DIGITS] or "model"


def decide(collection: str, seen: Seen, fingerprint: str, *, width: int, asked: bool) -> Plan:
    """The plan for the model of *fingerprint* and *width*; *asked*: a person wants everything built anew."""
    target = built_name(collection, fingerprint, seen.live)
    if not seen.live:
        made = [target + turn for turn in _TURNS if target + turn in seen.collections]
        return Plan(Step.FINISH, made[0]) if made else Plan(Step.IN_PLACE, collection)
    begun = target in seen.collections
    if begun or (seen.width is not None and (asked or seen.width != width)):
        return Plan(Step.BESIDE, target)
    return Plan(Step.IN_PLACE, collection)


def leftovers(collection: str, seen: Seen, keep: Collection[str]) -> list[str]:
    """Collections that were built for *collection* and are neither shown nor to be kept."""
    ours = re.compile(rf"{re.escape(collection)}-[0-9a-f]{{{_HEX_DIGITS}}}(-[23])?")
    return sorted(name for name in seen.collections if ours.fullmatch(name) and name not in {seen.live, *keep})


class Rebuild:
    """Chooses the collection that *store* writes to, and ends a rebuild. Safe to use from several threads."""

    def __init__(
        self,
        store: QdrantStore,
        *,
        folders: Callable[[], Collection[str]],
        asked: bool,
        fingerprint: Callable[[], str],
        logger: Any,
    ) -> None:
        """*folders*: the names in the settings. *fingerprint*: of the model, asked when it is needed."""
        self._store = store
        self._name = store.collection
        self._folders, self._asked = folders, asked
        self._fingerprint, self._logger = fingerprint, logger
        self._lock = threading.RLock()
        self.front = store.beside(self._name)
        """The collection by the name in the settings: what is shown, whatever is being built."""
        self.under_way = False
        """Another collection than the one that is shown is being filled."""
        self.shows_old = False
        """Questions are answered from the old collection."""
        self.old_points = 0
        self._told = ""
        store.placing = partial(self.place, writing=True)

    @property
    def target(self) -> str:
        """The collection that is written to."""
        return self._store.collection

    def place(self, width: int, *, writing: bool) -> None:
        """Have the store speak of the right collection for vectors *width* wide.

        *writing*: what is left to do after a kill is done too. Raises `ConfigError` where a collection that is
        not wholly ours would have to go.
        """
        with self._lock:
            seen = self._seen()
            plan = decide(self._name, seen, self._fingerprint(), width=width, asked=self._asked)
            if plan.step is Step.BESIDE:
                begun = plan.collection in seen.collections
                if writing:
                    self._begin(plan.collection, seen.width, resumed=begun)
                self.under_way = self.shows_old = True
                # Who only reads finds nothing in a collection that nobody has begun.
                self._store.speak_of(plan.collection if begun or writing or self._asked else self._name)
            else:
                self.under_way = self.shows_old = False
                self._store.speak_of(plan.collection)
                if writing:
                    self._asked = False
                    if plan.step is Step.FINISH:
                        self.finish()
                    elif seen.live != self._name:
                        self._tidy(seen)
                    else:
                        # Another machine may be at work on it: who is not past a switch removes nothing.
                        for name in leftovers(self._name, seen, ()):
                            points = self.front.beside(name).count()
                            self._logger.warning("collection.left", collection=name, points=points, reason=_GIVEN_UP)

    def judge(self, width: int) -> str:
        """What a run would find in its way, in words, "" for nothing; raises what it would, and changes nothing."""
        self.front.check_version()
        with self._lock:
            seen = self._seen()
            plan = decide(self._name, seen, self._fingerprint(), width=width, asked=self._asked)
            if plan.step is not Step.BESIDE:
                if seen.live:
                    self.front.check_shape(width)
                return "" if seen.live else "the next run makes it"
            begun = plan.collection in seen.collections
            self._refuse_foreign(seen.width, resumed=begun)
            return f"{'another is being' if begun else 'the next run has another'} built beside it, {plan.collection}"

    def _refuse_foreign(self, width: int | None, *, resumed: bool) -> None:
        foreign = self.foreign()
        if foreign:
            raise ConfigError(foreign, hint=CURE)
        if not (resumed or self._asked or self.front.count() or self.front.is_indexed()):
            raise ConfigError(
                f"The collection {self._name} is empty, {width} wide, and was not made by clipwatch.",
                hint="Set store.collection to a new name; or have it replaced, with `--rebuild`.",
            )

    def _begin(self, target: str, width: int | None, *, resumed: bool) -> None:
        self._refuse_foreign(width, resumed=resumed)
        self.old_points = self.front.count()
        if self._told != target:
            self._told = target
            self._logger.info(
                "rebuild.started", collection=target, beside=self._name, points=self.old_points, again=resumed
            )

    def foreign(self) -> str:
        """A sentence where the old collection holds a point that is not ours to remove; "" where it does not."""
        points, ours = self._counts(self.front)
        if points <= ours:
            return ""
        others = sorted(self.front.folders().keys() - set(self._folders()))
        whose = f", among them those of {', '.join(map(repr, others[:5]))}" if others else ""
        return (
            f"The collection {self._name} cannot be replaced by another one: {points - ours} of its {points} points "
            f"are not of the folders in this configuration{whose}."
        )

    def finish(self) -> None:
        """Show the new collection and remove the old one. May be repeated after any failure, and does only the rest."""
        with self._lock:
            self.shows_old = False
            target = self.target
            seen = self._look()
            gap = seen.live in ("", self._name)
            if seen.live != target:
                if seen.live == self._name:
                    if foreign := self.foreign():
                        raise StoreRejected(foreign, hint=CURE)
                    self.front.move_marks(seen.live, target)
                    self.front.drop()
                elif seen.live:
                    self.front.move_marks(seen.live, target)
                self.front.become_alias(target, moved=not gap)
                self._logger.info("collection.switched", collection=self._name, now=target, message=_WORDS[gap])
            self.under_way = self._asked = False
            self._store.speak_of(self._name)
            self._tidy(self._look())

    def _tidy(self, seen: Seen) -> None:
        """Remove what was built and is not shown, as far as it is ours alone."""
        aliased = frozenset(behind for alias, behind in self.front.aliases().items() if not alias.startswith(MARK))
        for name in leftovers(self._name, seen, aliased):
            left = self.front.beside(name)
            try:
                points, ours = self._counts(left)
            except CollectionMissing:
                continue
            if points == ours:
                left.drop()
                self._logger.info("collection.dropped", collection=name, points=points)
            else:
                self._logger.warning("collection.left", collection=name, points=points, reason="not wholly ours")

    def _counts(self, store: QdrantStore) -> tuple[int, int]:
        """All points of a collection, and those that carry our payload under a folder of this configuration."""
        ours = sum(row.model != "" for name in self._folders() for page in store.ledger(name) for row in page)
        return store.count(), ours

    def _seen(self) -> Seen:
        try:
            return self._look()
        except StoreRejected:
            # A key for this one collection does not let us see the others: there is only one way then.
            if self._asked:
                raise
            return Seen(frozenset(), self._name, None)

    def _look(self) -> Seen:
        collections = self.front.collections()
        name = self.front.aliases().get(self._name, self._name)
        if name not in collections:
            return Seen(collections, "", None)
        try:
            return Seen(collections, name, self.front.width())
        except CollectionMissing:
            return Seen(collections - {name}, "", None)


_GIVEN_UP: Final = "a rebuild that was given up; its model takes it up again, and the next rebuild removes it"
_WORDS: Final = {
    True: "The name was a collection and is an alias now; for one request in between it meant nothing.",
    False: "The alias was moved to the new collection in one step.",
}
