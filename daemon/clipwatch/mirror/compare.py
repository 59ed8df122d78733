"""One folder against its points, by signature, in a look of its own: what `verify` and `sync --dry-run` begin with."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from clipwatch.config import WatchConfig
from clipwatch.errors import CollectionMissing
from clipwatch.folder.files import Files
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules
from clipwatch.folder.scan import walk
from clipwatch.mirror.ledger import Ledger
from clipwatch.mirror.plan import Verdict, cut_to_first, reason_for
from clipwatch.mirror.unmet import is_below, judge
from clipwatch.records import FileStat, Reason, path_text, point_uuid, uuid_text
from clipwatch.store.contract import Store

PATHS_PER_READ: Final = 1000


@dataclass(slots=True)
class Difference:
    """One folder against its points."""

    watch: WatchConfig
    ledger: Ledger
    files: dict[bytes, FileStat] = field(default_factory=dict)
    """Files without an equal point: by path."""
    reasons: dict[bytes, Reason] = field(default_factory=dict)
    extra: dict[bytes, bytes | None] = field(default_factory=dict)
    """Points that a pass would delete: id to path."""
    excluded: set[bytes] = field(default_factory=set)
    """Those of them whose file the folder's rules no longer let in."""
    equal: int = 0
    not_regular: list[bytes] = field(default_factory=list)
    unreadable: dict[bytes, str] = field(default_factory=dict)
    """Directories that were not seen whole, and why: a pass keeps the points below them."""
    unreachable: list[bytes] = field(default_factory=list)
    """Other paths that keep their point because nobody can tell what is there."""

    def take(self, files: Files) -> None:
        """Compare *files* with the ledger."""
        comparison = self.ledger.compare(files)
        self.equal += len(files) - len(comparison.differing)
        for index in comparison.differing:
            path, stat = files[index]
            known = self.ledger.get(comparison.ids[index])
            self.files[path] = stat
            self.reasons[path] = reason_for(stat.signature, known) or Reason.CHANGED

    def undone(self) -> list[str]:
        """Sentences about what could not be compared."""
        return [
            f"Directory {path_text(directory) or '.'} of folder {self.watch.name} could not be read: {reason}."
            for directory, reason in self.unreadable.items()
        ]


def compare_folder(
    root: Root, watch: WatchConfig, store: Store, model: str, *, rules_changed: bool = False
) -> Difference:
    """One complete look and one complete read. *root* is open. *rules_changed*: see `unmet.judge`.

    Raises `FolderUnavailable`.
    """
    difference = Difference(watch, Ledger(watch.name, model))
    try:
        difference.ledger.load(store.ledger(watch.name))
    except CollectionMissing:
        difference.ledger.load([])
    difference.ledger.begin_look()
    for files in listed(root, watch, difference):
        difference.take(files)
    unseen = difference.ledger.unseen()
    for start in range(0, len(unseen), PATHS_PER_READ):
        _judge_unseen(root, difference, store, unseen[start : start + PATHS_PER_READ], rules_changed=rules_changed)
    root.check()
    return difference


def _judge_unseen(
    root: Root, difference: Difference, store: Store, points: Sequence[bytes], *, rules_changed: bool
) -> None:
    watch, rules = difference.watch, FileRules.from_config(difference.watch)
    paths = store.paths([uuid_text(point) for point in points])
    back: list[tuple[bytes, FileStat]] = []
    for point in points:
        path = paths.get(uuid_text(point))
        own = path if path is not None and point_uuid(watch.name, path) == point else None
        verdict, found, excluded = judge(root, rules, watch, own, difference.unreadable, rules_changed=rules_changed)
        if own is None or verdict is Verdict.DELETE:
            difference.extra[point] = path
            if excluded:
                difference.excluded.add(point)
        elif isinstance(found, FileStat):
            back.append((own, found))
        elif not is_below(own, difference.unreadable):
            difference.unreachable.append(own)
    difference.take(Files(back))


def listed(root: Root, watch: WatchConfig, difference: Difference) -> Iterator[Files]:
    """The files that may have a point; *difference* is told of everything else."""
    everything: dict[bytes, FileStat] = {}
    rules = FileRules.from_config(watch)
    for listing in walk(root, rules, follow_symlinks=watch.follow_symlinks, stop=threading.Event()):
        difference.not_regular += listing.not_regular
        if listing.unreadable:
            difference.unreadable[listing.directory] = listing.unreadable
        if watch.max_images:
            everything.update(listing.files)
        else:
            yield listing.files
    if watch.max_images:
        first = cut_to_first(everything, watch.max_images)
        yield Files((path, stat) for path, stat in everything.items() if path in first)
