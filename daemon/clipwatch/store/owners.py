"""Who owns a folder name in a collection: one machine and folder, so that two never delete each other's points.

The owner is noted in the name of an alias of the collection, a mark. Every version of the server has aliases, no reader
of points meets them, and one request changes several at once. Metadata of the collection would do from Qdrant 1.16 on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from clipwatch.config import WatchConfig
from clipwatch.errors import OwnedElsewhere, StoreRejected
from clipwatch.machine import directory_id, is_container, machine_id

if TYPE_CHECKING:
    from clipwatch.store.qdrant import QdrantStore

MARK: Final = "clipwatch-owner"
"""How the name of such an alias begins."""

FILE: Final = "owners.json"
"""In the state directory: which owners of this machine were noted from here. It may be lost."""

_SEPARATOR: Final = "@"
_CUT: Final = "..."
"""Before what was too long."""
_HOST_BYTES: Final = 40
_PATH_BYTES: Final = 140
"""Of what is in a mark for people only; a server takes 255 bytes for a name."""


@dataclass(frozen=True, slots=True)
class Owner:
    """*key* tells one from another; *host* and *path* are for people."""

    key: str
    host: str
    path: str

    def __str__(self) -> str:
        return f"{self.path} on {self.host}"


@dataclass(frozen=True, slots=True)
class Mark:
    """An owner as noted in a collection, *since* so many seconds since the epoch, by the alias *name*."""

    since: int
    owner: Owner
    name: str


class Standing(StrEnum):
    """Who owns a folder name, as seen from here."""

    FREE = "free"
    OURS = "ours"
    MOVED = "moved"
    """Ours before the folder moved, or got another `owner` setting: noted from this state directory."""
    OTHER = "another's"


def scope_of(collection: str, folder: str) -> str:
    """What marks of *folder* in *collection* have in common."""
    return hashlib.sha256(f"{collection}\0{folder}".encode()).hexdigest()[:16]


def mark_name(scope: str, owner: Owner, since: int) -> str:
    """The alias that notes *owner*."""
    texts = (_quoted(owner.host, _HOST_BYTES), _quoted(owner.path, _PATH_BYTES))
    return _SEPARATOR.join((MARK, scope, f"{since:010}", owner.key, *texts))


def _quoted(text: str, most: int) -> str:
    """As much of the end of *text* as fits, in letters that any server takes in a name."""
    whole = quote(text, safe="")
    if len(whole) <= most:
        return whole
    while len(whole) > most - len(_CUT):
        text = text[1:]
        whole = quote(text, safe="")
    return _CUT + whole


def read_mark(name: str, scope: str) -> Mark | None:
    """What the alias *name* notes; None where it is no mark of *scope*."""
    parts = name.split(_SEPARATOR)
    if len(parts) != 6 or parts[:2] != [MARK, scope] or not parts[2].isdecimal():
        return None
    return Mark(int(parts[2]), Owner(parts[3], unquote(parts[4]), unquote(parts[5])), name)


def first_of(marks: Iterable[Mark]) -> Mark | None:
    """The one that counts: the earliest, and of two equal ones the same one for everybody."""
    return min(marks, key=lambda mark: (mark.since, mark.owner.key), default=None)


@dataclass(frozen=True, slots=True)
class Noted:
    """What the state directory remembers of a folder name: the owner's *key* ("": none), and where the folder was."""

    key: str = ""
    path: str = ""

    def is_copied(self, path: str) -> bool:
        """Whether the folder is still at the noted path, though ours is at *path*: the state directory was copied."""
        if not self.path:
            return False
        try:
            there = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # Every other error does not tell that the folder is gone.
        with contextlib.suppress(OSError):
            return stat.S_ISDIR(there.st_mode) and not os.path.samestat(there, os.stat(path))
        return True


def judge(marks: Iterable[Mark], ours: str, known: str) -> Standing:
    """*ours*: our key; *known*: the one that this machine has noted before, from the same state directory, or "".

    *known* is "" too where the folder is still where it was then: what is here is a copy.
    """
    first = first_of(marks)
    if first is None:
        return Standing.FREE
    if first.owner.key == ours:
        return Standing.OURS
    return Standing.MOVED if first.owner.key == known else Standing.OTHER


def owner_of(watch: WatchConfig) -> Owner:
    """Who mirrors *watch* here: by its `owner` setting, else by machine and path.

    In a container, where the machine-id proves little, the directory itself comes first, where it can be told.
    """
    path = os.path.realpath(watch.path)
    if watch.owner:
        told = ["owner", watch.owner]
    else:
        evidence = [("machine", machine_id()), ("directory", directory_id(path))]
        if is_container():
            evidence.reverse()
        kind, value = next((item for item in evidence if item[1]), ("unknown", ""))
        told = [kind, value, path]
    key = hashlib.sha256("\0".join(told).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return Owner(key, socket.gethostname(), path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


class Owners:
    """Reads and writes the marks of one collection. Safe to use from several threads."""

    def __init__(
        self,
        store: QdrantStore,
        *,
        state: Path,
        watches: Callable[[], Sequence[WatchConfig]],
        now: Callable[[], float],
        logger: Any,
        identify: Callable[[WatchConfig], Owner] = owner_of,
    ) -> None:
        """*store* speaks of the collection by the settings' name. *watches*: the settings' tables, as of now."""
        self._store, self._file, self._watches = store, state / FILE, watches
        self._now, self._logger, self._identify = now, logger, identify
        self._lock = threading.Lock()
        self._unmarked = False

    def claim(self, folder: str) -> None:
        """Note us as the owner of *folder*, a configured name, where nobody is. Raises `OwnedElsewhere`.

        Of two that claim at the same moment, each sees the other when it reads back, and withdraws. A key that may not
        change aliases leaves the folder unprotected, which is said once.
        """
        watch = self._watch(folder)
        if watch is None:
            return
        with self._lock:
            try:
                self._claim(folder, self._identify(watch))
            except StoreRejected as error:
                if not self._unmarked:
                    self._logger.warning("owner.unmarked", folder=folder, reason=error.message, hint=_UNMARKED)
                self._unmarked = True

    def _claim(self, folder: str, ours: Owner) -> None:
        marks = self._marks(folder)
        standing = judge(marks, ours.key, self._known(folder))
        if standing is Standing.OTHER:
            raise self._refusal(folder, marks, ours)
        if standing is Standing.FREE:
            mine = self._mark(folder, ours, remove=())
            others = [mark for mark in self._marks(folder) if mark.owner.key != ours.key]
            if others:
                self._store.mark(remove=[mine], add=[])
                raise self._refusal(folder, others, ours)
        elif standing is Standing.MOVED:
            self._mark(folder, ours, remove=marks)
        if standing is not Standing.OURS:
            self._logger.info("owner.noted", folder=folder, owner=str(ours))
        self._note(folder, ours.key)

    def check(self, folder: str, hint: str = "") -> None:
        """Raise `OwnedElsewhere`, with *hint* or the usual one, where another owns *folder*; changes nothing.

        A name that is not configured is ours where this state directory's owner was noted for it.
        """
        watch = self._watch(folder)
        ours = self._identify(watch) if watch is not None else None
        with contextlib.suppress(StoreRejected):
            marks = self._marks(folder)
            if judge(marks, ours.key if ours else "", self._known(folder)) is Standing.OTHER:
                raise self._refusal(folder, marks, ours, hint)

    def adopt(self, folder: str) -> Owner | None:
        """Note us as the owner of *folder* whoever was it: None, or the one before."""
        watch = self._watch(folder)
        assert watch is not None  # noqa: S101 - callers have checked the name
        ours = self._identify(watch)
        with self._lock:
            marks = self._marks(folder)
            self._mark(folder, ours, remove=marks)
            self._note(folder, ours.key)
        before = first_of(marks)
        return before.owner if before is not None and before.owner.key != ours.key else None

    def release(self, folder: str) -> None:
        """Nobody owns *folder* any more."""
        with contextlib.suppress(StoreRejected):
            names = [mark.name for mark in self._marks(folder)]
            if names:
                self._store.mark(remove=names, add=[])

    # -- marks ------------------------------------------------------------------------------------------

    def _watch(self, folder: str) -> WatchConfig | None:
        return next((watch for watch in self._watches() if watch.name == folder), None)

    def _scope(self, folder: str) -> str:
        return scope_of(self._store.collection, folder)

    def _marks(self, folder: str) -> list[Mark]:
        scope = self._scope(folder)
        return [mark for name in self._store.marks() if (mark := read_mark(name, scope)) is not None]

    def _mark(self, folder: str, owner: Owner, *, remove: Iterable[Mark]) -> str:
        name = mark_name(self._scope(folder), owner, int(self._now()))
        self._store.mark(remove=[mark.name for mark in remove], add=[name])
        return name

    def _refusal(self, folder: str, marks: Iterable[Mark], ours: Owner | None, hint: str = "") -> OwnedElsewhere:
        first = first_of(marks)
        theirs = first.owner if first is not None else "another machine"
        return OwnedElsewhere(
            f"The points of folder {folder} in collection {self._store.collection} belong to {theirs}"
            f"{f'; this is {ours}' if ours else ''}.",
            hint=hint
            or "Give this folder another `name`; or, if that one no longer mirrors it, take it over with "
            f"`clipwatch adopt {folder}`; or, if both mirror the very same share, give both the same `owner`.",
        )

    # -- what this state directory remembers --------------------------------------------------------------

    def _known(self, folder: str) -> str:
        """The key noted for *folder* from here; "" where none was, or where this state directory is a copy."""
        noted = self._noted().get(self._scope(folder), Noted())
        watch = self._watch(folder)
        return "" if watch is not None and noted.is_copied(watch.path) else noted.key

    def _noted(self) -> dict[str, Noted]:
        """By scope, what was noted from here on this very machine; nothing where the file is lost or from another."""
        try:
            said = json.loads(self._file.read_bytes())
            if said["machine"] and said["machine"] == machine_id():
                return {str(scope): Noted(str(it["key"]), str(it["path"])) for scope, it in said["held"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            pass
        return {}

    def _note(self, folder: str, key: str) -> None:
        watch = self._watch(folder)
        noted = Noted(key, os.path.realpath(watch.path) if watch is not None else "")
        held = self._noted()
        if held.get(self._scope(folder)) == noted:
            return
        held[self._scope(folder)] = noted
        told = {scope: {"key": it.key, "path": it.path} for scope, it in held.items()}
        unborn = self._file.with_name(f".{self._file.name}.part")
        try:
            unborn.write_text(json.dumps({"machine": machine_id(), "held": told}))
            unborn.replace(self._file)
        except OSError as error:
            self._logger.debug("owner.not_remembered", reason=str(error))


_UNMARKED: Final = (
    "The store does not let this key change aliases: nothing keeps another machine from using the same folder name. "
    "Give each machine its own `name`."
)
