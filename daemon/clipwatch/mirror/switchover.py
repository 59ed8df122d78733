"""The end of a rebuild: once the new collection is exact, and nothing would be lost in doubt, it is shown.

The old collection goes then, with every point that the new one lacks. So the same doubts hold here as for
any delete: an emptied folder, an unusual share, a directory that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from clipwatch.clock import Clock
from clipwatch.errors import CollectionMissing
from clipwatch.mirror.ledger import Ledger, content_key
from clipwatch.mirror.mirror import Mirror
from clipwatch.mirror.plan import KEEPS_ITS_POINT, hold_reason
from clipwatch.records import path_text, point_uuid
from clipwatch.store.contract import Store
from clipwatch.store.rebuild import CURE, Rebuild


@dataclass(frozen=True, slots=True)
class Known:
    """What the mirror knows of one folder: a directory it cannot read ("": none), and ids of rejected files.

    *kept*: those among them whose points are kept, since what is in the file is not known.
    """

    unreadable: str
    rejected: frozenset[bytes]
    kept: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why the new collection is not shown, and what ends that."""

    sentence: str
    hint: str


@dataclass(frozen=True, slots=True)
class Loss:
    """What one folder would lose: of *points*, *gone* that live on nowhere, *absent* of them without a file.

    *kept*: those of them whose file cannot be read now.
    """

    points: int
    gone: int
    absent: int
    kept: int = 0


def doubt_about(folder: str, loss: Loss, known: Known, *, fraction: float) -> str:
    """Why the old points of a folder may not go yet; "" where they may."""
    if not loss.gone:
        return ""
    if known.unreadable:
        return f"directory {known.unreadable} of folder {folder} cannot be read, and {loss.gone} points would be lost"
    if loss.kept:
        return f"{loss.kept} files of folder {folder} cannot be read, and their points would be lost"
    held = hold_reason(points=loss.points, gone=loss.gone, absent=loss.absent, deleted_lately=0, fraction=fraction)
    return f"{loss.gone} of the {loss.points} points of folder {folder} would be lost" if held is not None else ""


def loss_of(old: Store, new: Store, folder: str, model: str, known: Known) -> Loss:
    """Compare what two collections say of *folder*; blocking."""
    ledger = Ledger(folder, model)
    ledger.load(new.ledger(folder))
    points = gone = absent = kept = 0
    try:
        for page in old.ledger(folder):
            points += len(page)
            missing = [row for row in page if ledger.get(row.id) is None]
            living = ledger.content_points([content_key(row.content) for row in missing]) if missing else []
            lost = [row for row, copies in zip(missing, living, strict=True) if not copies]
            gone += len(lost)
            absent += sum(row.id not in known.rejected for row in lost)
            kept += sum(row.id in known.kept for row in lost)
    except CollectionMissing:
        return Loss(0, 0, 0)
    return Loss(points, gone, absent, kept)


class Switchover:
    """Listens to *mirror* for the moment when *rebuild* can end."""

    def __init__(
        self,
        mirror: Mirror,
        rebuild: Rebuild,
        *,
        patiently: Callable[[Callable[[], Doubt | None]], Doubt | None],
        clock: Clock,
        logger: Any,
    ) -> None:
        """*patiently* repeats a call on the store until it answers."""
        self._mirror, self._rebuild, self._patiently = mirror, rebuild, patiently
        self._clock, self._logger = clock, logger
        self._doubted: float | None = None
        mirror.on_exact = self._exact

    def _exact(self) -> None:
        if self._rebuild.under_way:
            known = {
                name: Known(
                    next((path_text(path) or "." for path in folder.counts.unreadable), ""),
                    frozenset(point_uuid(name, path) for path in folder.rejected),
                    frozenset(
                        point_uuid(name, path) for path, it in folder.rejected.items() if it.reason in KEEPS_ITS_POINT
                    ),
                )
                for name, folder in self._mirror.folders.items()
            }
            trusted = self._mirror.vouched or self._has_waited()
            self._mirror.ask_store(partial(self._patiently, partial(self._end, known, trusted)), self._take)

    def _has_waited(self) -> bool:
        hold_seconds = self._mirror.config.limits.delete_hold_minutes * 60
        return self._doubted is not None and self._clock.monotonic() - self._doubted >= hold_seconds

    def _end(self, known: Mapping[str, Known], trusted: bool) -> Doubt | None:
        """End the rebuild, or say why not."""
        if foreign := self._rebuild.foreign():
            return Doubt(foreign, CURE)
        if not trusted:
            for name, facts in known.items():
                loss = loss_of(self._rebuild.front, self._mirror.store, name, self._mirror.encoder.fingerprint, facts)
                doubt = doubt_about(name, loss, facts, fraction=self._mirror.config.limits.delete_fraction)
                if doubt:
                    minutes = self._mirror.config.limits.delete_hold_minutes
                    return Doubt(
                        f"The collection that was built anew is complete, but {doubt}; so the old one stays.",
                        f"It is replaced when a scan {minutes:g} minutes from now agrees, or by `clipwatch confirm`.",
                    )
        self._rebuild.finish()
        return None

    def _take(self, doubt: Doubt | None) -> None:
        self._mirror.doubt = f"{doubt.sentence} {doubt.hint}" if doubt else ""
        if doubt is None:
            self._doubted, self._mirror.vouched = None, False
        elif self._doubted is None:
            self._doubted = self._clock.monotonic()
            self._logger.warning("rebuild.held", reason=doubt.sentence, hint=doubt.hint)
