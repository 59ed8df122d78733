"""Folder against collection, from scratch and without changing either."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np

from clipwatch.config import WatchConfig
from clipwatch.errors import FileNotReady, FileRejected, RejectReason
from clipwatch.folder.ignored import add_types, other_picture, telling
from clipwatch.folder.opened import open_file
from clipwatch.folder.root import Root
from clipwatch.mirror.compare import Difference, compare_folder, listed, load_ledger
from clipwatch.mirror.ledger import content_key
from clipwatch.mirror.notebook import Rejection
from clipwatch.mirror.pipeline import Decoder
from clipwatch.mirror.plan import KEEPS_ITS_POINT
from clipwatch.mirror.reading import content_of
from clipwatch.model.contract import Encoder
from clipwatch.records import Candidate, DecodedImage, FileStat, Reason, path_text, point_uuid, uuid_text
from clipwatch.store.contract import Store

DEEP_SAMPLE: Final = 50
"""How many images of each folder `verify --deep` embeds anew."""

SAME_COSINE: Final = 0.999
LOOK_AHEAD: Final = 32

BEYOND_DECODING: Final = frozenset({RejectReason.BAD_VECTOR, RejectReason.STORE_REFUSED})
"""What keeps a picture that can be decoded from having a point: only the notebook knows.

Not a death: a picture that was put aside for one and can be decoded should have a point.
"""


def verify(
    watches: Sequence[WatchConfig],
    *,
    store: Store,
    encoder: Encoder,
    decoder: Decoder,
    file_bytes: int,
    rejections: Callable[[str], Mapping[bytes, Rejection]],
    mounts: Callable[[str], Collection[bytes]],
    deep: bool,
    step: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """The answer of the `verify` command, and `undone`: sentences about what could not be compared.

    Exact when all of the folder could be read, every image has its own point, made of its present content by the
    present model, no other point is under the folder's name, and what has no point is rejected for its own sake: what
    the store refused is missing too. *decoder* must decode whatever it is given. *rejections*, *mounts*: what the
    notebook says of a folder's files and mount points.
    """
    verification = _Verification(store, encoder, decoder, file_bytes, rejections, mounts, step)
    for watch in watches:
        root = Root(watch)
        try:
            root.open()
            verification.compare(root, watch, deep=deep)
        finally:
            root.close()
    result = verification.result
    different = any(result[kind] for kind in ("missing", "stale", "extra", "undone"))
    return {"exact": not different, **result, **telling(verification.ignored, verification.undecodable)}


@dataclass(slots=True)
class _Verification:
    store: Store
    encoder: Encoder
    decoder: Decoder
    file_bytes: int
    rejections: Callable[[str], Mapping[bytes, Rejection]]
    mounts: Callable[[str], Collection[bytes]]
    step: Callable[[int], None]
    ignored: dict[str, int] = field(default_factory=dict)
    undecodable: dict[str, int] = field(default_factory=dict)
    result: dict[str, list[Any]] = field(
        default_factory=lambda: {"missing": [], "stale": [], "extra": [], "rejected": [], "undone": []}
    )

    def compare(self, root: Root, watch: WatchConfig, *, deep: bool) -> None:
        ledger = load_ledger(self.store, watch.name, self.encoder.fingerprint)
        difference = compare_folder(root, watch, self.store, ledger, mounts=self.mounts(watch.name))
        difference.drop_same_content(partial(content_of, root, watch, file_bytes=self.file_bytes))
        self.result["undone"] += difference.undone()
        add_types(self.ignored, difference.ignored)
        self.step(difference.equal)
        for path in difference.not_regular:
            self._reject(watch, path, RejectReason.NOT_REGULAR)
        unread = len(difference.unreachable)
        for path in difference.unreachable:
            self._reject(watch, path, RejectReason.UNREADABLE)
        noted = self.rejections(watch.name) if difference.files else {}
        for path, outcome in self._decoded(root, watch, difference.files):
            reason = _reason(outcome, noted.get(path), difference.files[path])
            has_point = difference.reasons[path] is not Reason.NEW
            if reason is not None and (not has_point or reason in KEEPS_ITS_POINT):
                self._tell_rejected(watch, path, reason, outcome)
            if has_point and reason is RejectReason.UNREADABLE:
                # Nobody can say whether its point is old.
                unread += 1
            elif has_point:
                self._tell("stale", watch, path)
            elif reason is None or reason is RejectReason.STORE_REFUSED:
                # A picture that can be decoded must have a point: that the store does not take it is no excuse.
                self._tell("missing", watch, path)
            self.step(1)
        for point, extra in difference.extra.items():
            if extra is not None:
                self._tell("extra", watch, extra)
            else:
                self.result["extra"].append({"path": "", "folder": watch.name, "id": uuid_text(point)})
        if deep:
            unread += self._compare_contents(root, watch, difference)
        if unread:
            told = f"Images of folder {watch.name} that could not be read, and whose points may be old: {unread}."
            self.result["undone"].append(told)

    def _tell_rejected(self, watch: WatchConfig, path: bytes, reason: RejectReason, outcome: object) -> None:
        """As `sync` counts it: rejected, or ignored where it is a whole picture of another format."""
        ignored_as = other_picture(path, outcome.other_format) if isinstance(outcome, FileRejected) else ""
        if ignored_as:
            add_types(self.ignored, {ignored_as: 1})
            add_types(self.undecodable, {ignored_as: 1})
        else:
            self._reject(watch, path, reason)

    def _tell(self, kind: str, watch: WatchConfig, path: bytes, **more: str) -> None:
        self.result[kind].append({"path": path_text(path), "folder": watch.name, **more})

    def _reject(self, watch: WatchConfig, path: bytes, reason: RejectReason) -> None:
        self._tell("rejected", watch, path, reason=str(reason))

    def _compare_contents(self, root: Root, watch: WatchConfig, difference: Difference) -> int:
        """How many could not be read."""
        unread = 0
        ledger, again = difference.ledger, Difference(watch, difference.ledger)
        equal = {
            path: stat for files in listed(root, watch, again) for path, stat in files if path not in difference.files
        }
        sample = set(sorted(equal, key=lambda path: point_uuid(watch.name, path))[:DEEP_SAMPLE])
        pictures: dict[str, tuple[bytes, DecodedImage]] = {}
        for path, outcome in self._decoded(root, watch, equal):
            known = ledger.get(point_uuid(watch.name, path))
            if isinstance(outcome, FileRejected) and outcome.reason is RejectReason.UNREADABLE:
                self._reject(watch, path, outcome.reason)
                unread += 1
            elif (
                not isinstance(outcome, DecodedImage) or known is None or content_key(outcome.content) != known.content
            ):
                self._tell("stale", watch, path)
            elif path in sample:
                pictures[outcome.content] = (path, outcome)
            self.step(1)
        stored = self.store.vectors(list(pictures), self.encoder.fingerprint)
        for content, (path, image) in pictures.items():
            vector = self.encoder.encode([image.pixels])[0]
            if content not in stored or not float(np.dot(vector, stored[content][0])) >= SAME_COSINE:
                self._tell("stale", watch, path)
        return unread

    def _decoded(self, root: Root, watch: WatchConfig, files: Mapping[bytes, FileStat]) -> Iterator[tuple[bytes, Any]]:
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
                opened = open_file(root, candidate, follow_symlinks=watch.follow_symlinks, max_bytes=self.file_bytes)
            except (FileRejected, FileNotReady) as error:
                waiting.append((path, error))
            else:
                waiting.append((path, self.decoder.submit(opened)))
            if len(waiting) >= LOOK_AHEAD:
                yield answer(*waiting.pop(0))
        for item in waiting:
            yield answer(*item)


def _reason(outcome: object, noted: Rejection | None, stat: FileStat) -> RejectReason | None:
    """Why this file may have no point of its present content; None where it must have one."""
    if isinstance(outcome, FileRejected):
        return outcome.reason
    if isinstance(outcome, DecodedImage) and noted is not None and noted.signature == stat.signature.pack():
        return noted.reason if noted.reason in BEYOND_DECODING else None
    return None
