"""The promise of a store; the mirror knows nothing else of Qdrant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from clipwatch.errors import StoreRejected
from clipwatch.records import LedgerRow, Point, Vector


@dataclass(frozen=True, slots=True)
class Refusal:
    """A point that the store did not take, and its words for why.

    *error*: where these do not say that the point itself is to blame, what a person must do about it; None where the
    store will never take this point as it is.
    """

    point: Point
    message: str
    error: StoreRejected | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer of a search."""

    id: str
    score: float
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point as it lies in the collection; *vector* only where it was asked for."""

    id: str
    payload: dict[str, Any]
    vector: Vector | None


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What `status` and `check` tell: e.g. kind "embedded" or "server", address, version, collection state."""

    kind: str
    address: str
    version: str
    collection: str
    details: Mapping[str, Any]


class Store(Protocol):
    """Points of one collection.

    Every call is idempotent and may be repeated. Returning means durable. Nothing but
    `StoreUnavailable` (time heals it), `CollectionMissing` (a 404 that names the collection) and
    `StoreRejected` (the operator must act) is raised. Safe to call from several threads.
    Ids are canonical UUID text; a number *n*, as others may give, shows as the UUID with the value *n*.
    Nothing here ever creates or drops a collection but `ensure`. An iterator that raised may be asked again
    and goes on with the page that failed (so none of them is a generator).
    """

    def ensure(self, width: int) -> None:
        """Create the collection (cosine, *width*) with its payload indexes where missing.

        Raises `ConfigError` where one exists with another width or distance; never recreates.
        """
        ...

    def upsert(self, points: Sequence[Point]) -> tuple[Refusal, ...]:
        """Write all *points*; those that are refused while others are taken are isolated and returned.

        Raises `StoreRejected` where the store refuses whatever it is sent. Splits by bytes and by the store's limits.
        Vectors must be finite and non-zero (ValueError).
        """
        ...

    def refresh(self, payloads: Mapping[str, Mapping[str, Any]]) -> None:
        """Merge keys into the payloads of points by id; vectors stay; absent ids are ignored."""
        ...

    def delete(self, folder: str, ids: Sequence[str]) -> None:
        """Remove points by id, of *folder* only: an id under another folder's name is left alone."""
        ...

    def delete_folder(self, folder: str) -> int:
        """Remove every point under *folder*; how many there were."""
        ...

    def ledger(self, folder: str) -> Iterator[Sequence[LedgerRow]]:
        """Everything the collection says of *folder*, in pages. A payload that is not ours has model ""."""
        ...

    def rows(self, ids: Sequence[str]) -> dict[str, LedgerRow]:
        """The rows of those *ids* that exist."""
        ...

    def paths(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The paths of those *ids* that exist and name one."""
        ...

    def vectors(self, contents: Sequence[str], model: str) -> dict[str, tuple[Vector, dict[str, Any]]]:
        """For each content hash that some point, of any folder, has a vector of *model* for: it and that payload."""
        ...

    def count(self, folder: str | None = None, *, model: str | None = None) -> int:
        """Exact number of points, of *folder* or of the whole collection, made by *model* or by any."""
        ...

    def folders(self) -> dict[str, int]:
        """Exact number of points under each folder name."""
        ...

    def search(self, vector: Vector, limit: int, *, model: str, filters: Mapping[str, str] | None = None) -> list[Hit]:
        """The nearest points made by *model*, best first; *filters* are payload equalities."""
        ...

    def points(self, *, vectors: bool) -> Iterator[StoredPoint]:
        """Every point, in id order."""
        ...

    def info(self) -> StoreInfo:
        """What the store says of itself."""
        ...

    def close(self) -> None:
        """Let go; the store cannot be used afterwards."""
        ...
