"""What we believe the collection holds under one folder name.

A belief, never the truth: read from the points' payload, dropped after any doubt, and small, since a
folder may have a million files: 65 bytes a point in sorted columns, and 8 more once contents are asked for.
Recent changes lie in a dictionary over the columns and are merged into them now and then.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipwatch.folder.files import Files
from clipwatch.records import POINT_NAMESPACE, LedgerRow

_MERGE_AT_LEAST: Final = 4096
_MERGE_SHARE: Final = 0.05


class Known(NamedTuple):
    """A point in short: its signature, the first 16 bytes of its content hash, and its model's number."""

    signature: bytes
    content: bytes
    model: int

    @property
    def size(self) -> int:
        """Bytes of the file that was embedded."""
        return int.from_bytes(self.signature[:8], "little", signed=True)


class Comparison(NamedTuple):
    """One chunk of a folder against the ledger; *differing* holds indices into the chunk."""

    ids: list[bytes]
    differing: list[int]


def content_key(content: str) -> bytes:
    """The first 16 bytes of an `algorithm:hex` hash; of other text, of its own hash."""
    _, _, digits = content.partition(":")
    try:
        return bytes.fromhex(digits[:32]).ljust(16, b"\0")
    except ValueError:
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()[:16]


class Ledger:
    """The belief about one folder. One thread writes; others may ask `content_points`."""

    def __init__(self, folder: str, model: str) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._prefix = hashlib.sha1(POINT_NAMESPACE.bytes + folder.encode() + b"\0", usedforsecurity=False)
        self._models: dict[str, int] = {model: 0}
        self._ids: NDArray[np.bytes_] = np.empty(0, "S16")
        self._heads: NDArray[np.uint64] = np.empty(0, np.uint64)
        """The first half of each id, in which a million of them are found six times as fast."""
        self._signatures: NDArray[np.int64] = np.empty((0, 3), np.int64)
        self._contents: NDArray[np.bytes_] = np.empty(0, "S16")
        self._model: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._present: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._seen: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._recent: dict[bytes, Known] = {}
        self._recent_seen: set[bytes] = set()
        self._recent_contents: dict[bytes, int] = {}
        self._content_index: NDArray[np.uint64] | None = None
        self._removed_contents: dict[bytes, int] = {}
        self._count = 0
        self.puts = 0
        """Points noted since the start: what was deduced from the ledger is out of date when this moved."""

    def __len__(self) -> int:
        return self._count

    # -- reading it from the store ---------------------------------------------------------

    def load(self, pages: Iterable[Sequence[LedgerRow]]) -> None:
        """Replace the belief by what the collection says, page by page."""
        ids: list[NDArray[np.bytes_]] = []
        signatures: list[NDArray[np.int64]] = []
        contents: list[NDArray[np.bytes_]] = []
        models: list[NDArray[np.uint8]] = []
        for page in pages:
            ids.append(np.array([row.id for row in page], "S16"))
            packed = b"".join(row.signature.pack() for row in page)
            signatures.append(np.frombuffer(packed, "<i8").reshape(-1, 3).astype(np.int64))
            contents.append(np.array([content_key(row.content) for row in page], "S16"))
            models.append(np.array([self._number(row.model) for row in page], np.uint8))
        with self._lock:
            self._recent.clear()
            self._recent_seen.clear()
            self._recent_contents.clear()
            self._replace(
                np.concatenate([np.empty(0, "S16"), *ids]),
                np.concatenate([np.empty((0, 3), np.int64), *signatures]),
                np.concatenate([np.empty(0, "S16"), *contents]),
                np.concatenate([np.empty(0, np.uint8), *models]),
            )

    def _number(self, model: str) -> int:
        # Models beyond 255 share the last number: all that is ever asked is whether it is the present one.
        return self._models.setdefault(model, min(len(self._models), 255))

    def _replace(
        self,
        ids: NDArray[np.bytes_],
        signatures: NDArray[np.int64],
        contents: NDArray[np.bytes_],
        model: NDArray[np.uint8],
    ) -> None:
        order = np.argsort(ids, kind="stable")
        self._ids, self._signatures = ids[order], signatures[order]
        self._heads = _heads(self._ids)
        self._contents, self._model = contents[order], model[order]
        self._present = np.ones(len(ids), np.bool_)
        self._seen = np.zeros(len(ids), np.bool_)
        self._content_index = None
        self._removed_contents.clear()
        self._count = len(ids)

    # -- asking ------------------------------------------------------------------------------

    def get(self, point: bytes) -> Known | None:
        """What is believed of one point, by the 16 bytes of its id."""
        recent = self._recent.get(point)
        if recent is not None:
            return recent
        row = self._row(point)
        if row is None:
            return None
        return Known(
            self._signatures[row].astype("<i8").tobytes(),
            bytes(self._contents[row]).ljust(16, b"\0"),
            int(self._model[row]),
        )

    def _row(self, point: bytes) -> int | None:
        row = int(np.searchsorted(self._ids, np.bytes_(point)))
        if row < len(self._ids) and self._present[row] and bytes(self._ids[row]).ljust(16, b"\0") == point:
            return row
        return None

    def content_points(self, keys: Sequence[bytes]) -> list[int]:
        """For each `content_key`, how many points made by the present model have it. Any thread may ask."""
        with self._lock:
            if self._content_index is None:
                self._content_index = np.sort(_prefixes(self._contents[self._present & (self._model == 0)]))
                self._removed_contents.clear()
            prefixes = _prefixes(np.array(keys, "S16"))
            left = np.searchsorted(self._content_index, prefixes, "left")
            right = np.searchsorted(self._content_index, prefixes, "right")
            removed, recent = self._removed_contents, self._recent_contents
            return [
                points - removed.get(key, 0) + recent.get(key, 0)
                for key, points in zip(keys, (right - left).tolist(), strict=True)
            ]

    def sizes(self) -> set[int]:
        """The sizes in bytes of the files whose points were made by the present model."""
        with self._lock:
            sizes = set(np.unique(self._signatures[self._present & (self._model == 0), 0]).tolist())
            return sizes | {known.size for known in self._recent.values() if known.model == 0}

    # -- changing, after the store did ------------------------------------------------------------

    def put(self, row: LedgerRow) -> None:
        """Note a point that the store now holds."""
        with self._lock:
            self._forget(row.id)
            self.puts += 1
            known = Known(row.signature.pack(), content_key(row.content), self._number(row.model))
            self._recent[row.id] = known
            self._recent_seen.add(row.id)
            if known.model == 0:
                self._recent_contents[known.content] = self._recent_contents.get(known.content, 0) + 1
            self._count += 1
            if len(self._recent) > max(_MERGE_AT_LEAST, _MERGE_SHARE * len(self._ids)):
                self._merge()

    def remove(self, point: bytes) -> None:
        """Note that the store no longer holds a point."""
        with self._lock:
            self._forget(point)

    def _forget(self, point: bytes) -> None:
        recent = self._recent.pop(point, None)
        self._recent_seen.discard(point)
        if recent is not None:
            self._count -= 1
            if recent.model == 0:
                left = self._recent_contents[recent.content] - 1
                if left:
                    self._recent_contents[recent.content] = left
                else:
                    del self._recent_contents[recent.content]
        row = self._row(point)
        if row is not None:
            self._present[row] = False
            self._count -= 1
            if self._content_index is not None and self._model[row] == 0:
                content = bytes(self._contents[row]).ljust(16, b"\0")
                self._removed_contents[content] = self._removed_contents.get(content, 0) + 1

    def _merge(self) -> None:
        keep = self._present
        recent = list(self._recent.items())
        seen_before = self._ids[keep][self._seen[keep]]
        seen_recent = np.array([point for point, _ in recent if point in self._recent_seen], "S16")
        self._replace(
            np.concatenate([self._ids[keep], np.array([point for point, _ in recent], "S16")]),
            np.concatenate(
                [
                    self._signatures[keep],
                    np.frombuffer(b"".join(known.signature for _, known in recent), "<i8").reshape(-1, 3),
                ]
            ).astype(np.int64),
            np.concatenate([self._contents[keep], np.array([known.content for _, known in recent], "S16")]),
            np.concatenate([self._model[keep], np.array([known.model for _, known in recent], np.uint8)]),
        )
        self._recent.clear()
        self._recent_seen.clear()
        self._recent_contents.clear()
        for seen in (seen_before, seen_recent):
            self._seen[np.searchsorted(self._ids, seen)] = True

    # -- a full look -------------------------------------------------------------------------------

    def ids(self, paths: Sequence[bytes]) -> list[bytes]:
        """`records.point_uuid` of each path, with the common part hashed once."""
        found = []
        for path in paths:
            digest = self._prefix.copy()
            digest.update(path)
            found.append(digest.digest()[:16])
        if not found:
            return []
        table = np.frombuffer(b"".join(found), np.uint8).reshape(-1, 16).copy()
        table[:, 6] = (table[:, 6] & 0x0F) | 0x50
        table[:, 8] = (table[:, 8] & 0x3F) | 0x80
        whole = table.tobytes()
        return [whole[at : at + 16] for at in range(0, len(whole), 16)]

    def begin_look(self) -> None:
        """From now on, what `compare` meets counts as seen."""
        self._seen[:] = False
        self._recent_seen.clear()

    def compare(self, files: Files) -> Comparison:
        """Mark *files* as seen; tell which differ from the ledger in signature or model, or are not in it."""
        ids = self.ids(files.paths)
        if not ids:
            return Comparison([], [])
        wanted = np.array(ids, "S16")
        stats = files.signatures()
        same = np.zeros(len(ids), np.bool_)
        if len(self._ids):
            rows = self._rows(wanted)
            there = (self._ids[rows] == wanted) & self._present[rows]
            self._seen[rows[there]] = True
            same = there & (self._signatures[rows] == stats).all(axis=1) & (self._model[rows] == 0)
        if self._recent:
            for index, point in enumerate(ids):
                known = self._recent.get(point)
                if known is not None:
                    self._recent_seen.add(point)
                    same[index] = known.model == 0 and known.signature == files[index][1].signature.pack()
        return Comparison(ids, np.flatnonzero(~same).tolist())

    def _rows(self, wanted: NDArray[np.bytes_]) -> NDArray[np.intp]:
        """Where each of *wanted* is, if it is anywhere."""
        heads, last = _heads(wanted), len(self._ids) - 1
        rows = np.minimum(np.searchsorted(self._heads, heads), last)
        # Whoever may name files can find two whose ids begin alike.
        for index in np.flatnonzero((self._heads[rows] == heads) & (self._ids[rows] != wanted)):
            rows[index] = min(int(np.searchsorted(self._ids, wanted[index])), last)
        return rows

    def unseen(self) -> list[bytes]:
        """Ids of points that no `compare` has met since `begin_look`."""
        base = self._ids[self._present & ~self._seen]
        return [bytes(point).ljust(16, b"\0") for point in base] + [
            point for point in self._recent if point not in self._recent_seen
        ]


def _heads(ids: NDArray[np.bytes_]) -> NDArray[np.uint64]:
    """The first eight bytes of each id, as a number that sorts as they do."""
    return np.ascontiguousarray(ids).view(">u8")[::2].astype(np.uint64)


def _prefixes(contents: NDArray[np.bytes_]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(contents).view(np.uint64).reshape(-1, 2)[:, 0].copy()
