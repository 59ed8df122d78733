"""Folder against collection, from scratch and without changing either."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from clipwatch.config import WatchConfig
from clipwatch.errors import CollectionMissing, FileNotReady, FileRejected
from clipwatch.folder.opened import open_file
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules
from clipwatch.folder.scan import walk
from clipwatch.mirror.ledger import Ledger, content_key
from clipwatch.mirror.pipeline import Decoder
from clipwatch.mirror.plan import cut_to_first, reason_for
from clipwatch.model.contract import Encoder
from clipwatch.records import Candidate, DecodedImage, FileStat, Reason, path_text, point_uuid, uuid_text
from clipwatch.store.contract import Store

DEEP_SAMPLE: Final = 50
"""How many images of each folder `verify --deep` embeds anew."""

SAME_COSINE: Final = 0.999
LOOK_AHEAD: Final = 32


@dataclass(slots=True)
class Difference:
    """One folder against its points."""

    watch: WatchConfig
    files: dict[bytes, FileStat] = field(default_factory=dict)
    """Files without an equal point: by path."""
    reasons: dict[bytes, Reason] = field(default_factory=dict)
    extra: dict[bytes, bytes | None] = field(default_factory=dict)
    """Points without a file: id to path."""
    equal: int = 0
    points: int = 0
    ignored: int = 0
    not_regular: list[bytes] = field(default_factory=list)
    unreadable: dict[bytes, str] = field(default_factory=dict)


def compare_folder(root: Root, watch: WatchConfig, store: Store, model: str) -> tuple[Difference, Ledger]:
    """One complete look and one complete read, by signature. *root* is open. Raises `FolderUnavailable`."""
    difference = Difference(watch)
    ledger = Ledger(watch.name, model)
    try:
        ledger.load(store.ledger(watch.name))
    except CollectionMissing:
        ledger.load([])
    ledger.begin_look()
    difference.points = len(ledger)
    for files in _listed(root, watch, difference):
        comparison = ledger.compare(files)
        difference.equal += len(files) - len(comparison.differing)
        for index in comparison.differing:
            path, stat = files[index]
            difference.files[path] = stat
            difference.reasons[path] = reason_for(stat.signature, ledger.get(comparison.ids[index])) or Reason.CHANGED
    root.check()
    unseen = ledger.unseen()
    for start in range(0, len(unseen), 1000):
        ids = {uuid_text(point): point for point in unseen[start : start + 1000]}
        paths = store.paths(list(ids))
        for text, point in ids.items():
            difference.extra[point] = paths.get(text)
    return difference, ledger


def _listed(root: Root, watch: WatchConfig, difference: Difference) -> Iterator[Sequence[tuple[bytes, FileStat]]]:
    everything: dict[bytes, FileStat] = {}
    rules = FileRules.from_config(watch)
    for listing in walk(root, rules, follow_symlinks=watch.follow_symlinks, stop=threading.Event()):
        difference.ignored += listing.ignored
        difference.not_regular += listing.not_regular
        if listing.unreadable:
            difference.unreadable[listing.directory] = listing.unreadable
        if watch.max_images:
            everything.update(listing.files)
        else:
            yield listing.files
    if watch.max_images:
        first = cut_to_first(everything, watch.max_images)
        yield [(path, stat) for path, stat in everything.items() if path in first]


def verify(
    watches: Sequence[WatchConfig],
    *,
    store: Store,
    encoder: Encoder,
    decoder: Decoder,
    file_bytes: int,
    deep: bool,
    step: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """The answer of the `verify` command. *decoder* must decode whatever it is given.

    Exact when every image has its own point, made of its present content by the present model, no
    other point is under the folder's name, and what has no point cannot be decoded.
    """
    result: dict[str, Any] = {"exact": True, "missing": [], "stale": [], "extra": [], "rejected": []}
    for watch in watches:
        root = Root(watch)
        try:
            root.open()
            _verify_folder(root, watch, result, store, encoder, decoder, file_bytes, deep, step)
        finally:
            root.close()
    result["exact"] = not (result["missing"] or result["stale"] or result["extra"])
    return result


def _verify_folder(
    root: Root,
    watch: WatchConfig,
    result: dict[str, Any],
    store: Store,
    encoder: Encoder,
    decoder: Decoder,
    file_bytes: int,
    deep: bool,
    step: Callable[[int], None],
) -> None:
    difference, ledger = compare_folder(root, watch, store, encoder.fingerprint)
    step(difference.equal)

    def entry(path: bytes, **more: str) -> dict[str, str]:
        return {"path": path_text(path), "folder": watch.name, **more}

    for path in difference.not_regular:
        result["rejected"].append(entry(path, reason="not_regular"))
    for path, outcome in _decoded(root, watch, difference.files, decoder, file_bytes):
        has_point = difference.reasons[path] is not Reason.NEW
        if has_point:
            result["stale"].append(entry(path))
        elif isinstance(outcome, FileRejected):
            result["rejected"].append(entry(path, reason=str(outcome.reason)))
        else:
            result["missing"].append(entry(path))
        step(1)
    for point, extra in difference.extra.items():
        result["extra"].append(
            entry(extra) if extra is not None else {"folder": watch.name, "path": "", "id": uuid_text(point)}
        )
    if deep:
        _verify_deep(root, watch, result, store, encoder, decoder, file_bytes, difference, ledger, step)


def _verify_deep(
    root: Root,
    watch: WatchConfig,
    result: dict[str, Any],
    store: Store,
    encoder: Encoder,
    decoder: Decoder,
    file_bytes: int,
    difference: Difference,
    ledger: Ledger,
    step: Callable[[int], None],
) -> None:
    equal = {
        path: stat
        for files in _listed(root, watch, Difference(watch))
        for path, stat in files
        if path not in difference.files
    }
    sample = set(sorted(equal, key=lambda path: point_uuid(watch.name, path))[:DEEP_SAMPLE])
    pictures: dict[str, tuple[bytes, DecodedImage]] = {}
    for path, outcome in _decoded(root, watch, equal, decoder, file_bytes):
        known = ledger.get(point_uuid(watch.name, path))
        if not isinstance(outcome, DecodedImage) or known is None or content_key(outcome.content) != known.content:
            result["stale"].append({"path": path_text(path), "folder": watch.name})
        elif path in sample:
            pictures[outcome.content] = (path, outcome)
        step(1)
    stored = store.vectors(list(pictures), encoder.fingerprint)
    for content, (path, image) in pictures.items():
        vector = encoder.encode([image.pixels])[0]
        if content not in stored or not float(np.dot(vector, stored[content][0])) >= SAME_COSINE:
            result["stale"].append({"path": path_text(path), "folder": watch.name})


def _decoded(
    root: Root, watch: WatchConfig, files: Mapping[bytes, FileStat], decoder: Decoder, file_bytes: int
) -> Iterator[tuple[bytes, Any]]:
    """Each file with its picture, or the error that decoding it gives; a few ahead of the reader."""
    waiting: list[tuple[bytes, Any]] = []

    def answer(path: bytes, future: Any) -> tuple[bytes, Any]:
        try:
            return path, future if isinstance(future, Exception) else future.result()
        except (FileRejected, FileNotReady) as error:
            return path, error

    for path, stat in files.items():
        candidate = Candidate(watch.name, path, stat, Reason.NEW)
        try:
            opened = open_file(root, candidate, follow_symlinks=watch.follow_symlinks, max_bytes=file_bytes)
        except (FileRejected, FileNotReady) as error:
            waiting.append((path, error))
        else:
            waiting.append((path, decoder.submit(opened)))
        if len(waiting) >= LOOK_AHEAD:
            yield answer(*waiting.pop(0))
    for item in waiting:
        yield answer(*item)
