"""One folder against its points, by signature, in a look of its own: what `verify` and `sync --dry-run` begin with."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from clipwatch.config import WatchConfig
from clipwatch.errors import CollectionMissing
from clipwatch.folder.files import Files
from clipwatch.folder.ignored import add_types
from clipwatch.folder.mounts import unmounted
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules
from clipwatch.folder.scan import walk
from clipwatch.mirror.ledger import Ledger
from clipwatch.mirror.mounts import sentence
from clipwatch.mirror.plan import Verdict, cut_to_first, differs_in_ctime_alone, reason_for
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
    ctime_alone: set[bytes] = field(default_factory=set)
    """Those of *files* whose point says all the same but the ctime."""
    extra: dict[bytes, bytes | None] = field(default_factory=dict)
    """Points that a pass would delete: id to path."""
    excluded: set[bytes] = field(default_factory=set)
    """Those of them whose file the folder's rules no longer let in."""
    equal: int = 0
    not_regular: list[bytes] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    """How many entries were passed over, by type (see `folder.ignored`)."""
    unreadable: dict[bytes, str] = field(default_factory=dict)
    """Directories that were not seen whole, and why: a pass keeps the points below them."""
    unreachable: list[bytes] = field(default_factory=list)
    """Other paths that keep their point because nobody can tell what is there."""
    away: dict[bytes, bytes] = field(default_factory=dict)
    """Those of *extra* that a pass keeps until something is mounted again: id to where."""

    def take(self, files: Files) -> None:
        """Compare *files* with the ledger."""
        comparison = self.ledger.compare(files)
        self.equal += len(files) - len(comparison.differing)
        for index in comparison.differing:
            path, stat = files[index]
            known = self.ledger.get(comparison.ids[index])
            self.files[path] = stat
            self.reasons[path] = reason_for(stat.signature, known) or Reason.CHANGED
            if differs_in_ctime_alone(stat.signature, known):
                self.ctime_alone.add(path)

    def drop_same_content(self, content: Callable[[bytes, FileStat], bytes | None]) -> None:
        """Read what differs in ctime alone: a file whose content is its point's does not differ.

        *content*: the ledger's key for what is in a file, None where it cannot be read.
        """
        for path in self.ctime_alone:
            known = self.ledger.get(point_uuid(self.watch.name, path))
            if known is not None and content(path, self.files[path]) == known.content:
                del self.files[path], self.reasons[path]
                self.equal += 1

    def undone(self) -> list[str]:
        """Sentences about what could not be compared."""
        unread = [
            f"Directory {path_text(directory) or '.'} of folder {self.watch.name} could not be read: {reason}."
            for directory, reason in self.unreadable.items()
        ]
        held = sentence(Counter(self.away.values()))
        told = f"{len(self.away)} deletes in folder {self.watch.name} are held ({held})."
        return [*unread, told] if held else unread


def load_ledger(store: Store, folder: str, model: str) -> Ledger:
    """What the collection holds of one folder, in one complete read."""
    ledger = Ledger(folder, model)
    try:
        ledger.load(store.ledger(folder))
    except CollectionMissing:
        ledger.load([])
    return ledger


def compare_folder(
    root: Root,
    watch: WatchConfig,
    store: Store,
    ledger: Ledger,
    *,
    mounts: Collection[bytes] = (),
    rules_changed: bool = False,
) -> Difference:
    """One complete look. *root* is open, *ledger* just loaded. *mounts*: the mount points seen in the folder.

    *rules_changed*: see `unmet.judge`.

    Raises `FolderUnavailable`.
    """
    difference = Difference(watch, ledger)
    difference.ledger.begin_look()
    for files in listed(root, watch, difference):
        difference.take(files)
    unseen = difference.ledger.unseen()
    for start in range(0, len(unseen), PATHS_PER_READ):
        part = unseen[start : start + PATHS_PER_READ]
        _judge_unseen(root, difference, store, part, mounts, rules_changed=rules_changed)
    root.check()
    return difference


def _judge_unseen(
    root: Root,
    difference: Difference,
    store: Store,
    points: Sequence[bytes],
    mounts: Collection[bytes],
    *,
    rules_changed: bool,
) -> None:
    watch = difference.watch
    paths = store.paths([uuid_text(point) for point in points])
    own: list[bytes | None] = []
    for point in points:
        path = paths.get(uuid_text(point))
        own.append(path if path is not None and point_uuid(watch.name, path) == point else None)
    verdicts = judge(
        root,
        FileRules.from_config(watch),
        watch,
        own,
        unreadable=difference.unreadable,
        unmounted=partial(unmounted, root.path, mounts, follow_symlinks=watch.follow_symlinks),
        rules_changed=rules_changed,
    )
    back: list[tuple[bytes, FileStat]] = []
    for point, path, judged in zip(points, own, verdicts, strict=True):
        if path is None or judged.verdict is not Verdict.KEEP:
            difference.extra[point] = paths.get(uuid_text(point))
            if judged.excluded:
                difference.excluded.add(point)
            if judged.verdict is Verdict.WAIT:
                difference.away[point] = judged.mount
        elif isinstance(judged.found, FileStat):
            back.append((path, judged.found))
        elif not is_below(path, difference.unreadable):
            difference.unreachable.append(path)
    difference.take(Files(back))


def listed(root: Root, watch: WatchConfig, difference: Difference) -> Iterator[Files]:
    """The files that may have a point; *difference* is told of everything else."""
    everything: dict[bytes, FileStat] = {}
    rules = FileRules.from_config(watch)
    for listing in walk(root, rules, follow_symlinks=watch.follow_symlinks, stop=threading.Event()):
        difference.not_regular += listing.not_regular
        add_types(difference.ignored, listing.ignored)
        if listing.unreadable:
            difference.unreadable[listing.directory] = listing.unreadable
        if watch.max_images:
            everything.update(listing.files)
        else:
            yield listing.files
    if watch.max_images:
        first = cut_to_first(everything, watch.max_images)
        yield Files((path, stat) for path, stat in everything.items() if path in first)
