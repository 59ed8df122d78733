"""The plan of one folder, told and not carried out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from clipwatch.config import Config, LimitsConfig, WatchConfig
from clipwatch.errors import FileNotReady, FileRejected, RejectReason
from clipwatch.folder.root import Root
from clipwatch.folder.rules import rules_digest
from clipwatch.mirror.compare import Difference, compare_folder
from clipwatch.mirror.known_files import still_there
from clipwatch.mirror.losses import Decision, HoldReason, Losses, Now, is_missed, judge, scan_begins, scan_ends
from clipwatch.mirror.notebook import NotedLosses, Rejection
from clipwatch.mirror.plan import KEEPS_ITS_POINT, may_have_healed
from clipwatch.mirror.reading import content_of, open_path
from clipwatch.records import FileStat, Reason, path_text, uuid_text
from clipwatch.store.contract import Store


def plan_folder(
    watch: WatchConfig,
    config: Config,
    *,
    store: Store,
    model: str,
    rejections: Callable[[str], Mapping[bytes, Rejection]],
    losses: Callable[[str], NotedLosses],
    mounts: Callable[[str], Collection[bytes]],
    now: Now,
) -> tuple[list[dict[str, Any]], list[str]]:
    """`{"action": "embed" | "reuse" | "delete", "reason", "folder", "path", "held"?}`, and what could not be looked at.

    A new file as large as one that is gone is read, to tell a rename; copies show as new: only reading every new
    file would tell. *rejections*, *losses* and *mounts*: what the notebook says of the folder.
    """
    root = Root(watch)
    try:
        root.open()
        look = _Look(root, watch, config.limits.file_bytes, now.at)
        noted = losses(watch.name)
        changed = noted.rules not in ("", rules_digest(watch))
        difference = compare_folder(root, watch, store, model, mounts=mounts(watch.name), rules_changed=changed)
        difference.drop_same_content(look.content)
        known = rejections(watch.name) if difference.files else {}
        rejected = {path for path, stat in difference.files.items() if look.is_still_rejected(path, stat, known)}
        renamed, came = _renames(look, difference, rejected)
    finally:
        root.close()

    def action(what: str, reason: Reason, path: bytes | str, **more: str) -> dict[str, Any]:
        text = path if isinstance(path, str) else path_text(path)
        return {"action": what, "reason": str(reason), "folder": watch.name, "path": text, **more}

    plan = []
    dropped: list[bytes] = []
    for path in sorted(difference.files):
        if path in came:
            plan.append(action("reuse", Reason.RENAMED, path))
        elif path not in rejected:
            plan.append(action("embed", difference.reasons[path], path))
        elif difference.reasons[path] is not Reason.NEW and known[path].reason not in KEEPS_ITS_POINT:
            dropped.append(path)
    lost = difference.extra.keys() - renamed - difference.away.keys()
    reason = _hold_reason(
        difference,
        lost=len(lost),
        excluded=len(lost & difference.excluded),
        dropped=len(dropped),
        renamed=len(renamed),
        noted=noted,
        now=now,
        limits=config.limits,
    )
    doubt = {"held": reason} if reason else {}
    plan += [action("delete", Reason.CHANGED, path, **doubt) for path in dropped]
    for point, gone in sorted(difference.extra.items(), key=lambda item: item[1] or b""):
        told = gone if gone is not None else uuid_text(point)
        if point in renamed:
            plan.append(action("delete", Reason.RENAMED, told))
        elif point in difference.away:
            plan.append(action("delete", Reason.GONE, told, held=str(HoldReason.UNMOUNTED)))
        else:
            plan.append(action("delete", Reason.GONE, told, **doubt))
    return plan, difference.undone()


def _hold_reason(
    difference: Difference,
    *,
    lost: int,
    excluded: int,
    dropped: int,
    renamed: int,
    noted: NotedLosses,
    now: Now,
    limits: LimitsConfig,
) -> str:
    """Why a scan that began now would hold the losses; "" where it would carry them out."""
    points = len(difference.ledger) - len(difference.away)
    state = is_missed(scan_begins(noted.state, points), None) if lost or renamed else noted.state
    kept = still_there(noted.known_files, difference.files.get)
    found = Losses(
        points=points - renamed,
        lost=lost + dropped,
        absent=lost,
        excluded=excluded,
        renamed=renamed,
        kept=kept,
        lost_lately=noted.lost_lately,
    )
    state, decision = judge(scan_ends(state, now.moment, limits), found, now, limits)
    return state.hold.reason if decision is Decision.HOLD and state.hold is not None else ""


def _renames(look: _Look, difference: Difference, rejected: set[bytes]) -> tuple[set[bytes], set[bytes]]:
    """Points that are gone and whose content lives on, and the new files it lives on in."""
    ledger = difference.ledger
    going = difference.extra.keys() - difference.away.keys()
    known = {point: row for point in going if (row := ledger.get(point)) is not None and row.model == 0}
    leaving = Counter(row.content for row in known.values())
    sizes = {row.size for row in known.values()}
    contents = {
        path: look.content(path, stat)
        for path, stat in difference.files.items()
        if difference.reasons[path] is Reason.NEW and path not in rejected and stat.signature.size in sizes
    }
    came = {path for path, content in contents.items() if content in leaving}
    living = {contents[path] for path in came}
    keys = list(leaving)
    living |= {key for key, points in zip(keys, ledger.content_points(keys), strict=True) if points > leaving[key]}
    return {point for point, row in known.items() if row.content in living}, came


@dataclass(frozen=True, slots=True)
class _Look:
    """Files of one folder, opened where their names alone do not tell enough."""

    root: Root
    watch: WatchConfig
    file_bytes: int
    now: float

    def is_still_rejected(self, path: bytes, stat: FileStat, known: Mapping[bytes, Rejection]) -> bool:
        """Whether a pass would leave the file alone, or be refused it again."""
        rejection = known.get(path)
        if rejection is None or rejection.signature != stat.signature.pack():
            return False
        if rejection.reason is not RejectReason.UNREADABLE:
            return not may_have_healed(rejection, self.now)
        try:
            os.close(open_path(self.root, self.watch, path, stat, file_bytes=self.file_bytes).descriptor)
        except FileRejected:
            return True
        except FileNotReady:
            return False
        return False

    def content(self, path: bytes, stat: FileStat) -> bytes | None:
        """See `reading.content_of`."""
        return content_of(self.root, self.watch, path, stat, file_bytes=self.file_bytes)
