"""What can be asked of folder, model and collection; the same in the daemon and without one."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from clipwatch.config import Config
from clipwatch.errors import ClipwatchError, CollectionMissing, ConfigError, FileRejected
from clipwatch.folder.opened import restat
from clipwatch.mirror.compare import load_ledger
from clipwatch.mirror.dry_run import plan_folder
from clipwatch.mirror.losses import Now
from clipwatch.mirror.notebook import NotedLosses, Rejection
from clipwatch.mirror.pipeline import Decoder
from clipwatch.mirror.plan import KEEPS_ITS_POINT
from clipwatch.mirror.verify import verify
from clipwatch.model.combine import combine
from clipwatch.model.contract import Encoder
from clipwatch.records import Candidate, DecodedImage, OpenedFile, Reason, Vector, point_uuid, uuid_text
from clipwatch.store.contract import Store
from clipwatch.store.owners import Owners

MOST_HITS: Final = 1000
MOST_WEIGHT: Final = 1000


@dataclass(frozen=True, slots=True)
class Before:
    """The collection as it was, shown while another one is built: *done* images *of* so many are in that.

    *answers*: by the model that made the old one; None where that is no longer to be had.
    """

    done: int
    of: int
    answers: Answers | None


class Answers:
    """Searches, exports and comparisons. Safe to use from several threads."""

    def __init__(
        self,
        config: Config,
        *,
        store: Store,
        encoder: Encoder,
        decoder: Callable[[], Decoder],
        text: Callable[[Sequence[str]], Any],
        rejections: Callable[[str], Mapping[bytes, Rejection]] = lambda _folder: {},
        losses: Callable[[str], NotedLosses] = lambda _folder: NotedLosses(),
        mounts: Callable[[str], Collection[bytes]] = lambda _folder: (),
        front: Store | None = None,
        before: Callable[[], Before | None] = lambda: None,
        check_owner: Callable[[str], None] = lambda _folder: None,
    ) -> None:
        """*decoder* decodes whatever it is given; *text* turns words into unit rows, or raises `ModelError`.

        *rejections*, *losses*, *mounts*: what the notebook says of a folder's files, by path, of its losses, and of the
        mount points seen in it.
        *front*: the collection that is shown, where it is not *store*. *before*: what answers instead, now.
        *check_owner* raises `OwnedElsewhere` for a folder whose points are another's.
        """
        self._config, self.store, self._encoder = config, store, encoder
        self.front, self._before = front or store, before
        self._decoder, self._text = decoder, text
        self._rejections, self._losses, self._mounts = rejections, losses, mounts
        self._check_owner = check_owner

    def reconfigure(self, config: Config) -> None:
        """Answer by *config* from now on."""
        self._config = config

    # -- search ------------------------------------------------------------------------------------------

    def search(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The nearest images to words and pictures.

        *request*: `plus` and `minus`, lists of `{"text": …}` or `{"image": a file's bytes}`, each with a `weight`
        where it is not 1; `limit`; `filter`.
        """
        before = self._before()
        if before is not None:
            answer = _from_before(before, request)
            if answer["hits"] or self._before() is not None:
                return answer
            # The old collection went while it was asked: the new one is whole.
        limit = int(request.get("limit", 10))
        if not 1 <= limit <= MOST_HITS:
            raise ConfigError(f"The limit must be between 1 and {MOST_HITS}, not {limit}.")
        parts = [(_weight(part), self._vector(part)) for part in request.get("plus", [])]
        parts += [(-_weight(part), self._vector(part)) for part in request.get("minus", [])]
        if not any(weight > 0 for weight, _ in parts):
            raise ConfigError("There is nothing to search for.", hint="Give words, or --image FILE.")
        filters = {str(key): _stored(str(key), str(value)) for key, value in dict(request.get("filter", {})).items()}
        model = self._encoder.fingerprint
        try:
            hits = self.store.search(combine(parts), limit, model=model, filters=filters)
            partial = self._partial(model)
        except CollectionMissing:
            hits, partial = [], None
        result: dict[str, Any] = {
            "hits": [
                {
                    "path": hit.payload.get("path", ""),
                    "folder": hit.payload.get("folder", ""),
                    "score": round(float(hit.score), 6),
                    "id": hit.id,
                    # where the text does not give the name's bytes
                    **{key: hit.payload[key] for key in ("path_base64",) if key in hit.payload},
                }
                for hit in hits
            ]
        }
        if partial is not None:
            result["partial"] = partial
        return result

    def _partial(self, model: str) -> dict[str, int] | None:
        """How far a change to *model* is, while one is under way.

        Points of others are none of its business, nor are those that stay as they are because their files cannot be
        read or the store refuses their successors: else it would never end.
        """
        if self.store.count(model=model) == self.store.count():
            return None
        names = [watch.name for watch in self._config.watch]
        done, of = (sum(self.store.count(name, model=made_by) for name in names) for made_by in (model, None))
        if done < of:
            of -= sum(self._kept(name, model) for name in names)
        return {"done": done, "of": of} if done < of else None

    def _kept(self, folder: str, model: str) -> int:
        noted = self._rejections(folder).items()
        paths = [path for path, rejection in noted if rejection.reason in KEEPS_ITS_POINT]
        rows = self.store.rows([uuid_text(point_uuid(folder, path)) for path in paths])
        return sum(row.model != model for row in rows.values())

    def _vector(self, part: Mapping[str, Any]) -> Vector:
        if "text" in part:
            if not str(part["text"]).strip():
                raise ConfigError("The words to search for are empty.")
            vector: Vector = self._text([str(part["text"])])[0]
            return vector
        return self.picture_vector(part["image"])

    def picture_vector(self, picture: bytes) -> Vector:
        """A picture file's bytes, through the same decoder and model as those of the folder."""
        descriptor = os.memfd_create("query", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(picture)
            os.lseek(descriptor, 0, os.SEEK_SET)
            candidate = Candidate("", b"the query", restat(descriptor), Reason.NEW)
        except BaseException:
            os.close(descriptor)
            raise
        try:
            image = self._decoder().submit(OpenedFile(candidate, descriptor)).result()
        except FileRejected as rejected:
            raise ConfigError(f"The picture to search with cannot be used: {rejected.message}") from rejected
        if not isinstance(image, DecodedImage):
            raise ClipwatchError("The picture was not decoded.")
        row: Vector = self._encoder.encode([image.pixels])[0]
        if not np.isfinite(row).all():
            raise ConfigError("The model makes no usable vector of this picture.", hint="Search with another one.")
        return row

    # -- the rest ------------------------------------------------------------------------------------------

    def verify(self, *, deep: bool, step: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
        """Folder against collection; see `mirror.verify.verify`."""
        self._check_owners()
        return verify(
            self._config.watch,
            store=self.store,
            encoder=self._encoder,
            decoder=self._decoder(),
            file_bytes=self._config.limits.file_bytes,
            rejections=self._rejections,
            mounts=self._mounts,
            deep=deep,
            step=step,
        )

    def _check_owners(self) -> None:
        for watch in self._config.watch:
            self._check_owner(watch.name)

    def plan(self, now: Now) -> Generator[dict[str, Any], None, dict[str, Any]]:
        """What a pass would do *now*; see `mirror.dry_run.plan_folder`. At the end `undone`, sentences."""
        self._check_owners()
        undone: list[str] = []
        names, model = [watch.name for watch in self._config.watch], self._encoder.fingerprint
        ledgers = {name: load_ledger(self.store, name, model) for name in names}
        for watch in self._config.watch:
            actions, sentences = plan_folder(
                watch,
                self._config,
                store=self.store,
                ledgers=ledgers,
                rejections=self._rejections,
                losses=self._losses,
                mounts=self._mounts,
                now=now,
            )
            yield from actions
            undone += sentences
        return {"undone": undone}


def _stored(key: str, value: str) -> str:
    """*value* as payloads spell it: people write `png` and `jpg` for the formats that are stored as PNG and JPEG."""
    if key != "format":
        return value
    return {"JPG": "JPEG"}.get(value.upper(), value.upper())


def _weight(part: Mapping[str, Any]) -> float:
    weight = part.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= MOST_WEIGHT:
        raise ConfigError(f"A weight must be above 0 and at most {MOST_WEIGHT}, not {weight!r}.")
    return float(weight)


def _from_before(before: Before, request: Mapping[str, Any]) -> dict[str, Any]:
    if before.answers is None:
        raise ClipwatchError(
            f"The collection is being built anew for another model, {before.done} of {before.of} images so far, and "
            "the model that made the old one is no longer there to search with.",
            hint="Search again when it is done, or put the old model file back where it was.",
        )
    answer = before.answers.search(request)
    answer["partial"] = {"done": before.done, "of": before.of, "old": True}
    return answer


def export(store: Store, *, vectors: bool) -> Iterator[dict[str, Any]]:
    """Every point of the collection as a JSON object."""
    try:
        for point in store.points(vectors=vectors):
            item: dict[str, Any] = {
                "id": point.id,
                "path": point.payload.get("path", ""),
                "folder": point.payload.get("folder", ""),
                "payload": point.payload,
            }
            if point.vector is not None:
                item["vector"] = [float(number) for number in point.vector]
            yield item
    except CollectionMissing:
        return


def stored_status(config: Config, store: Store) -> dict[str, Any]:
    """`status` without a daemon: what the store says, and None for what only a look at the folders could tell."""
    try:
        folders = store.folders()
    except CollectionMissing:
        folders = {}
    info = store.info()
    return {
        "state": "stopped",
        "images": None,
        "points": sum(folders.get(watch.name, 0) for watch in config.watch),
        "pending": None,
        "rejected": None,
        "ignored": None,
        "held": None,
        "model": {},
        "store": {
            "available": True,
            "kind": info.kind,
            "address": info.address,
            "version": info.version,
            "collection": info.collection,
        },
        "watch": [
            {"name": watch.name, "state": "stopped", "path": watch.path, "points": folders.get(watch.name, 0)}
            for watch in config.watch
        ],
    }


def adopt(config: Config, owners: Owners, name: str) -> dict[str, Any]:
    """Make this machine the owner of a configured folder's points; *before*: who was it, or None."""
    if all(watch.name != name for watch in config.watch):
        names = ", ".join(watch.name for watch in config.watch)
        raise ConfigError(f"No [[watch]] table is named {name!r}.", hint=f"There are: {names}.")
    try:
        before = owners.adopt(name)
    except CollectionMissing:
        before = None  # Whoever makes it, owns it.
    return {"folder": name, "before": None if before is None else str(before)}


def forget(config: Config, store: Store, name: str, owners: Owners, *, force: bool = False) -> dict[str, Any]:
    """Delete the points of a folder name that is no longer in the configuration.

    *force*: also where another machine owns them.
    """
    if any(watch.name == name for watch in config.watch):
        raise ConfigError(
            f"Folder {name!r} is in the configuration, so its points are kept.",
            hint="Remove its [[watch]] table first.",
        )
    try:
        known = store.folders()
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"The collection has no points under the name {name!r}.", hint=f"It has: {names}.")
        if not force:
            owners.check(name, "Forget them there; or, if that one no longer mirrors them, add `--force`.")
        deleted = store.delete_folder(name)
        owners.release(name)
    except CollectionMissing:
        return {"deleted": 0}
    return {"deleted": deleted}
