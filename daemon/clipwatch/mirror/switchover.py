"""The end of a rebuild: the finished new collection replaces the old one, unless too much would be lost with that.

The old collection goes with every point that the new one lacks. So the same decision is made as for any delete, by
`losses.judge`: an emptied folder, an unusual share or files that cannot be read make the replacement wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from clipwatch.errors import CollectionMissing
from clipwatch.folder.mounts import Unmounted
from clipwatch.mirror.folder_mirror import FolderMirror
from clipwatch.mirror.ledger import Ledger, content_key
from clipwatch.mirror.losses import Decision, Losses
from clipwatch.mirror.mirror import Mirror
from clipwatch.mirror.plan import KEEPS_ITS_POINT
from clipwatch.records import LedgerRow, path_text, point_uuid, uuid_text
from clipwatch.store.contract import Store
from clipwatch.store.rebuild import CURE, Rebuild

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known:
    """What the mirror knows of one folder: a directory it cannot read ("": none), and ids of rejected files.

    *kept*: those among them whose points are kept, since what is in the file is not known. *unmounted*: the mount
    points at which nothing is mounted now.
    """

    unreadable: str
    rejected: frozenset[bytes]
    kept: frozenset[bytes]
    unmounted: Unmounted

    @staticmethod
    def of(folder: FolderMirror) -> Known:
        """A snapshot, for another thread."""
        return Known(
            next((path_text(path) or "." for path in folder.counts.unreadable), ""),
            frozenset(point_uuid(folder.name, path) for path in folder.rejected),
            frozenset(
                point_uuid(folder.name, path) for path, it in folder.rejected.items() if it.reason in KEEPS_ITS_POINT
            ),
            folder.mounts.gone(),
        )


def losses_of(old: Store, new: Store, folder: str, model: str, known: Known) -> Losses:
    """What *folder* would lose if *new* replaced *old*; blocking."""
    ledger = Ledger(folder, model)
    ledger.load(new.ledger(folder))
    points = lost = absent = kept = renamed = unmounted = 0
    try:
        for page in old.ledger(folder):
            points += len(page)
            missing = [row for row in page if ledger.get(row.id) is None]
            living = ledger.content_points([content_key(row.content) for row in missing]) if missing else []
            away = _unmounted(old, missing, known.unmounted)
            gone = [row for row, copies in zip(missing, living, strict=True) if not copies or row.id in away]
            unmounted += len(away)
            renamed += len(missing) - len(gone)
            lost += len(gone)
            absent += sum(row.id not in known.rejected for row in gone)
            kept += sum(row.id in known.kept for row in gone)
    except CollectionMissing:
        return Losses(0, 0, 0)
    unreadable = lost if known.unreadable else kept
    return Losses(points - renamed, lost, absent, unreadable=unreadable, unmounted=unmounted, renamed=renamed)


def _unmounted(old: Store, rows: Sequence[LedgerRow], unmounted: Unmounted) -> set[bytes]:
    """Ids of those *rows* whose file lies where nothing is mounted now."""
    if not unmounted.points or not rows:
        return set()
    paths = old.paths([uuid_text(row.id) for row in rows])
    return {row.id for row in rows if unmounted.over(paths.get(uuid_text(row.id), b"")) is not None}


def sentence_about(folder: str, losses: Losses, known: Known) -> str:
    """What would be lost, for people."""
    if losses.unmounted:
        where = ", ".join(sorted(path_text(point) for point in known.unmounted.points))
        return f"nothing is mounted at {where} of folder {folder}, and {losses.unmounted} points would be lost"
    if known.unreadable:
        return f"directory {known.unreadable} of folder {folder} cannot be read, and {losses.lost} points would be lost"
    if losses.unreadable:
        return f"{losses.unreadable} files of folder {folder} cannot be read, and their points would be lost"
    return f"{losses.lost} of the {losses.points} points of folder {folder} would be lost"


class Switchover:
    """Ends *rebuild* when *mirror* is exact and every folder's losses may be carried out.

    On the owner's thread, but for what is handed to `Mirror.ask_store`.
    """

    def __init__(
        self,
        mirror: Mirror,
        rebuild: Rebuild,
        *,
        patiently: Callable[[Callable[[], Any]], Any],
        logger: Any,
    ) -> None:
        """*patiently* repeats a call on the store until it answers."""
        self._mirror, self._rebuild, self._patiently = mirror, rebuild, patiently
        self._logger = logger
        mirror.on_exact = self._compare

    def _compare(self) -> None:
        """First step: find out what would be lost."""
        folders = self._mirror.folders
        if not self._rebuild.under_way:
            for folder in folders.values():
                folder.rebuild_hold.nothing_is_missing()
            self._mirror.forget_unused_mounts()
            return
        known = {name: Known.of(folder) for name, folder in folders.items()}
        self._ask(partial(self._losses, known), partial(self._judge, known))

    def _ask(self, call: Callable[[], T], then: Callable[[T], None]) -> None:
        self._mirror.ask_store(partial(self._patiently, call), then)

    def _losses(self, known: Mapping[str, Known]) -> dict[str, Losses]:
        old, new, model = self._rebuild.front, self._mirror.store, self._mirror.encoder.fingerprint
        return {name: losses_of(old, new, name, model, facts) for name, facts in known.items()}

    def _judge(self, known: Mapping[str, Known], found: Mapping[str, Losses]) -> None:
        """Second step: hold what is in doubt, or go on."""
        sentence = hint = ""
        for name, losses in found.items():
            folder = self._mirror.folders.get(name)
            if folder is None:
                return  # The settings changed meanwhile; the next exact moment compares anew.
            holding = folder.rebuild_hold
            before = holding.hold
            if holding.judge(losses) is Decision.ALLOW:
                continue
            reason = sentence_about(name, losses, known[name])
            sentence = f"The new collection is complete, but {reason}; so the old one stays."
            hint = self._hint_for(losses)
            if before is None:
                self._logger.warning("rebuild.held", reason=sentence, hint=hint)
        if sentence:
            self._mirror.doubt = f"{sentence} {hint}"
        else:
            self._ask(self._finish, self._finished)

    def _hint_for(self, losses: Losses) -> str:
        if losses.unmounted:
            return "It is replaced when something is mounted there again, or by `clipwatch confirm`."
        minutes = self._mirror.config.limits.delete_hold_minutes
        return f"It is replaced when a scan {minutes:g} minutes from now agrees, or by `clipwatch confirm`."

    def _finish(self) -> str:
        """Last step: replace the old collection. Returns why not, where it holds points that are not ours."""
        foreign = self._rebuild.foreign()
        if not foreign:
            self._rebuild.finish()
        return foreign

    def _finished(self, foreign: str) -> None:
        if foreign:
            if not self._mirror.doubt:
                self._logger.warning("rebuild.held", reason=foreign, hint=CURE)
            self._mirror.doubt = f"{foreign} {CURE}"
            return
        self._mirror.doubt = ""
        for folder in self._mirror.folders.values():
            folder.rebuild_hold.nothing_is_missing()
