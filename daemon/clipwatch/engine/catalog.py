"""The collections of one directory and their aliases.

`collections/<directory>/` holds `collection.json` (ours) and `shard/` (the engine's). A name that starts
with a dot is a half-made or half-deleted collection: debris, removed at the next start. So a directory
that counts is always whole. `aliases.json` is replaced at once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import qdrant_edge as edge
from qdrant_client.http.models import models

from clipwatch.engine.files import FreeSpace, Held, is_gone, sync_directory, sync_tree, write_json
from clipwatch.engine.replies import Refused, collection_exists, collection_missing, edge_calls, wrong
from clipwatch.engine.shard import Log, Shape, Shard
from clipwatch.errors import ConfigError

FORMAT: Final = 1
DEFAULT_DELETED_THRESHOLD: Final = 0.2
_CREATE_BYTES: Final = 72 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Meta:
    """What the engine does not keep of a collection."""

    name: str
    width: int
    distance: str
    created_at: str
    deleted_threshold: float = DEFAULT_DELETED_THRESHOLD
    metadata: dict[str, Any] | None = None
    format: int = FORMAT


class Collection:
    """A directory, its meta and its points."""

    def __init__(self, directory: Path, meta: Meta, space: FreeSpace, log: Log) -> None:
        self.directory = directory
        self.meta = meta
        self.operations = 0
        shape = Shape(meta.width, meta.distance)
        self.shard = Shard(directory / "shard", shape, space, log, deleted_threshold=meta.deleted_threshold)

    def change(self, meta: Meta) -> None:
        write_json(self.directory / "collection.json", asdict(meta))
        self.meta = meta
        self.shard.deleted_threshold = meta.deleted_threshold


class Catalog:
    """Not thread-safe: one thread owns it. Calls raise `Refused`; opening raises `ConfigError`.

    *held*: what it stands and falls with beside its own files.
    """

    def __init__(self, root: Path, space: FreeSpace, log: Log, held: Sequence[Held] = ()) -> None:
        self._space = space
        self._held = held
        self.log = log
        self._home = root / "collections"
        self._aliases_file = root / "aliases.json"
        self._home.mkdir(mode=0o700, exist_ok=True)
        self._collections = {item.meta.name: item for item in self._read_collections()}
        self._aliases = self._read_aliases()

    def _read_collections(self) -> list[Collection]:
        found = []
        for directory in sorted(self._home.iterdir()):
            if directory.name.startswith("."):
                shutil.rmtree(directory, ignore_errors=True)
            elif directory.is_dir():
                found.append(Collection(directory, _read_meta(directory), self._space, self.log))
        return found

    def _read_aliases(self) -> dict[str, str]:
        """A crash between deleting a collection and its aliases leaves some that name nothing: passed over."""
        if not self._aliases_file.exists():
            return {}
        stored = _read_json(self._aliases_file)
        return {alias: name for alias, name in stored.items() if name in self._collections}

    def lost(self) -> Path | None:
        """Something that was deleted, moved or replaced: then what is open is not what is there."""
        ours = [self._home, *(item.directory / "collection.json" for item in self._collections.values())]
        lost = [item.path for item in self._held if item.is_lost()] + [path for path in ours if is_gone(path)]
        return lost[0] if lost else None

    def names(self) -> list[str]:
        return list(self._collections)

    def aliases(self) -> dict[str, str]:
        """Collection names by alias."""
        return dict(self._aliases)

    def has(self, name: str) -> bool:
        return name in self._collections or name in self._aliases

    def get(self, name: str) -> Collection:
        """The collection of that name or alias."""
        found = self._collections.get(self._aliases.get(name, name))
        if found is None:
            raise collection_missing(name)
        return found

    def open_collections(self) -> list[Collection]:
        return list(self._collections.values())

    def create(self, name: str, shape: Shape, metadata: dict[str, Any] | None) -> None:
        """Returning means that it survives a power cut; a crash before leaves only debris."""
        if name in self._collections:
            raise collection_exists(name)
        if name in self._aliases:
            raise wrong(f"Can't create collection with name {name}. Alias with the same name already exists")
        self._space.require(_CREATE_BYTES)
        readable = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:40] or "_"
        directory = self._home / f"{readable}-{uuid.uuid4().hex[:12]}"
        unborn = directory.with_name(f".new-{directory.name}")
        created = datetime.now(UTC).isoformat(timespec="seconds")
        meta = Meta(name, shape.width, shape.distance, created, metadata=metadata)
        unborn.mkdir(mode=0o700)
        try:
            with edge_calls():
                shard = edge.EdgeShard.create(str(unborn / "shard"), shape.config())
                shard.flush()
                shard.close()
            write_json(unborn / "collection.json", asdict(meta))
            sync_tree(unborn)
            os.rename(unborn, directory)
        except BaseException:
            shutil.rmtree(unborn, ignore_errors=True)
            raise
        sync_directory(self._home)
        self._collections[name] = Collection(directory, meta, self._space, self.log)

    def drop(self, name: str) -> bool:
        """Delete a collection and its aliases; False where there was none: an alias is none, as on a server."""
        collection = self._collections.get(name)
        if collection is None:
            return False
        collection.shard.close()
        gone = collection.directory.with_name(f".gone-{collection.directory.name}")
        os.rename(collection.directory, gone)
        sync_directory(self._home)
        del self._collections[collection.meta.name]
        self._keep_aliases({a: n for a, n in self._aliases.items() if n != collection.meta.name})
        shutil.rmtree(gone, ignore_errors=True)
        return True

    def change_aliases(self, actions: Sequence[Any]) -> None:
        """All of *actions* in order, or none of them."""
        aliases = dict(self._aliases)
        for action in actions:
            self._apply(action, aliases)
        self._keep_aliases(aliases)

    def _apply(self, action: Any, aliases: dict[str, str]) -> None:
        if isinstance(action, models.CreateAliasOperation):
            wanted = action.create_alias
            if wanted.collection_name not in self._collections:
                raise collection_missing(wanted.collection_name)
            self._check_alias_name(wanted.alias_name)
            aliases[wanted.alias_name] = wanted.collection_name
        elif isinstance(action, models.RenameAliasOperation):
            renamed = action.rename_alias
            if renamed.old_alias_name not in aliases:
                raise Refused(404, f"Not found: Alias {renamed.old_alias_name} does not exists!")
            self._check_alias_name(renamed.new_alias_name)
            aliases[renamed.new_alias_name] = aliases.pop(renamed.old_alias_name)
        else:
            aliases.pop(action.delete_alias.alias_name, None)

    def _check_alias_name(self, alias: str) -> None:
        if alias in self._collections:
            raise collection_exists(alias)

    def _keep_aliases(self, aliases: dict[str, str]) -> None:
        if aliases != self._aliases:
            write_json(self._aliases_file, aliases)
            self._aliases = aliases

    def update(self, name: str, *, deleted_threshold: float | None, metadata: dict[str, Any] | None) -> None:
        """Change what can be changed of a collection; None leaves a thing as it is. Metadata is merged."""
        collection = self.get(name)
        meta = collection.meta
        if deleted_threshold is not None:
            meta = replace(meta, deleted_threshold=deleted_threshold)
        if metadata is not None:
            meta = replace(meta, metadata={**(meta.metadata or {}), **metadata})
        if meta != collection.meta:
            collection.change(meta)

    def vacuum(self) -> None:
        """For an idle moment."""
        for collection in self.open_collections():
            if collection.shard.vacuum_due():
                try:
                    collection.shard.vacuum()
                except (Refused, OSError) as error:
                    self.log(f"Collection {collection.meta.name!r} could not be vacuumed: {error}")

    def close(self) -> None:
        for collection in self.open_collections():
            collection.shard.close()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The store's file {path} cannot be read: {error}.",
            hint="Restore it, or move its directory away: the collection is made anew from the images.",
        ) from error
    return value if isinstance(value, dict) else {}


def _read_meta(directory: Path) -> Meta:
    stored = _read_json(directory / "collection.json")
    known = {field.name for field in fields(Meta)}
    if stored.get("format") != FORMAT or not {"name", "width", "distance", "created_at"} <= set(stored) <= known:
        raise ConfigError(
            f"The collection in {directory} was written by another version of clipwatch.",
            hint="Use that version, or move the directory away: the collection is made anew from the images.",
        )
    return Meta(**stored)
