"""The plan of one folder, told and not carried out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipwatch.config import Config, LimitsConfig, WatchConfig
from clipwatch.errors import FileNotReady, FileRejected, RejectReason
from clipwatch.folder.root import Root
from clipwatch.folder.rules import rules_digest
from clipwatch.image.magic import MAGIC_BYTES, MAGICS
from clipwatch.mirror.compare import Difference, compare_folder
from clipwatch.mirror.known_files import still_there
from clipwatch.mirror.ledger import Known, Ledger
from clipwatch.mirror.losses import Decision, HoldReason, Losses, Now, is_missed, judge, scan_begins, scan_ends
from clipwatch.mirror.notebook import NotedLosses, Rejection
from clipwatch.mirror.plan import KEEPS_ITS_POINT, is_same_but_ctime, may_have_healed
from clipwatch.mirror.reading import content_of, open_path
from clipwatch.records import FileStat, Reason, path_text, point_uuid, uuid_text
from clipwatch.store.contract import Store


def plan_folder(
    watch: WatchConfig,
    config: Config,
    *,
    store: Store,
    ledgers: Mapping[str, Ledger],
    rejections: Callable[[str], Mapping[bytes, Rejection]],
    losses: Callable[[str], NotedLosses],
    mounts: Callable[[str], Collection[bytes]],
    now: Now,
) -> tuple[list[dict[str, Any]], list[str]]:
    """`{"action": "embed" | "reuse" | "delete", "reason", "folder", "path", "held"?}`, and what could not be looked at.

    *ledgers*: of all folders by name, just loaded. *rejections*, *losses* and *mounts*: what the notebook says of the
    folder. A file is read whole where its size is that of another file or point, else its first bytes. It is in no
    plan where a pass would reject it, or write its new times only.
    """
    root = Root(watch)
    try:
        root.open()
        look = _Look(root, watch, config.limits.file_bytes, now.at)
        noted = losses(watch.name)
        changed = noted.rules not in ("", rules_digest(watch))
        difference = compare_folder(
            root, watch, store, ledgers[watch.name], mounts=mounts(watch.name), rules_changed=changed
        )
        rejected = _rejected(look, difference, rejections(watch.name) if difference.files else {})
        contents = _contents(look, difference, rejected, list(ledgers.values()))
    finally:
        root.close()

    def action(what: str, reason: Reason, path: bytes | str, **more: str) -> dict[str, Any]:
        text = path if isinstance(path, str) else path_text(path)
        return {"action": what, "reason": str(reason), "folder": watch.name, "path": text, **more}

    leaving = _leaving(difference)
    plan = [
        action(what, reason, path)
        for what, reason, path in _wanted(difference, rejected, contents, leaving, list(ledgers.values()))
    ]
    renamed = _renamed(difference, contents, leaving, list(ledgers.values()))
    dropped = [
        path
        for path, why in sorted(rejected.items())
        if difference.reasons[path] is not Reason.NEW and why not in KEEPS_ITS_POINT
    ]
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


def _own(difference: Difference, path: bytes) -> Known | None:
    return difference.ledger.get(point_uuid(difference.watch.name, path))


def _rejected(look: _Look, difference: Difference, noted: Mapping[bytes, Rejection]) -> dict[bytes, RejectReason]:
    """The files that a pass would not embed, as far as their first bytes tell, and why."""
    rejected = {}
    for path, stat in difference.files.items():
        own = _own(difference, path)
        was_embedded = own is not None and own.signature == stat.signature.pack()
        reason = look.noted(stat, noted.get(path)) or (None if was_embedded else look.rejection(path, stat))
        if reason is not None:
            rejected[path] = reason
    return rejected


def _contents(
    look: _Look, difference: Difference, rejected: Collection[bytes], ledgers: Sequence[Ledger]
) -> dict[bytes, bytes]:
    """What is in those of the other files whose content may be known, or may be that of another of them."""
    files = {path: stat for path, stat in difference.files.items() if path not in rejected}
    sizes = Counter(stat.signature.size for stat in files.values())
    known = set[int]().union(*(ledger.sizes() for ledger in ledgers)) if files else set()
    contents = {}
    for path, stat in files.items():
        own, size = _own(difference, path), stat.signature.size
        content = None
        if own is not None and own.signature == stat.signature.pack():
            content = own.content
        elif size in known or sizes[size] > 1:
            content = look.content(path, stat)
        if content is not None:
            contents[path] = content
    return contents


def _wanted(
    difference: Difference,
    rejected: Collection[bytes],
    contents: Mapping[bytes, bytes],
    leaving: Collection[bytes],
    ledgers: Sequence[Ledger],
) -> Iterator[tuple[str, Reason, bytes]]:
    """Action, reason and path of each file that gets a vector: made of it, or that of another with its content."""
    points = _content_points(set(contents.values()), ledgers)
    embedded: set[bytes] = set()
    for path in sorted(difference.files.keys() - rejected):
        own, content, reason = _own(difference, path), contents.get(path), difference.reasons[path]
        if content is None:
            yield "embed", reason, path
        elif own is not None and own.model == 0 and own.content == content:
            continue  # Its point has the right vector, and gets the new times.
        elif points[content] or content in embedded:
            yield "reuse", Reason.RENAMED if content in leaving else reason, path
        else:
            embedded.add(content)
            yield "embed", reason, path


def _leaving(difference: Difference) -> Counter[bytes]:
    """The contents of the points that go, and how many points have each."""
    going = (difference.ledger.get(point) for point in difference.extra.keys() - difference.away.keys())
    return Counter(row.content for row in going if row is not None and row.model == 0)


def _renamed(
    difference: Difference, contents: Mapping[bytes, bytes], leaving: Counter[bytes], ledgers: Sequence[Ledger]
) -> set[bytes]:
    """Points that are gone and whose content lives on."""
    living = leaving.keys() & contents.values()
    living |= {key for key, points in _content_points(leaving, ledgers).items() if points > leaving[key]}
    going = {point: difference.ledger.get(point) for point in difference.extra.keys() - difference.away.keys()}
    return {point for point, row in going.items() if row is not None and row.model == 0 and row.content in living}


def _content_points(contents: Collection[bytes], ledgers: Sequence[Ledger]) -> dict[bytes, int]:
    keys = list(contents)
    found = [ledger.content_points(keys) for ledger in ledgers] if keys else []
    return {key: sum(points) for key, points in zip(keys, zip(*found, strict=True), strict=True)}


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


@dataclass(frozen=True, slots=True)
class _Look:
    """Files of one folder, opened where their names alone do not tell enough."""

    root: Root
    watch: WatchConfig
    file_bytes: int
    now: float

    def noted(self, stat: FileStat, rejection: Rejection | None) -> RejectReason | None:
        """Why a pass would leave the file alone or be refused it again, by what the notebook says; None: unknown."""
        if rejection is None or not is_same_but_ctime(rejection.signature, stat.signature):
            return None
        return None if may_have_healed(rejection, self.now) else rejection.reason

    def rejection(self, path: bytes, stat: FileStat) -> RejectReason | None:
        """Why a pass would reject the file, as far as opening it and its first bytes tell."""
        try:
            descriptor = open_path(self.root, self.watch, path, stat, file_bytes=self.file_bytes).descriptor
        except FileRejected as rejected:
            return rejected.reason
        except FileNotReady:
            return None
        try:
            head = os.pread(descriptor, MAGIC_BYTES, 0)
        except OSError:
            return RejectReason.UNREADABLE
        finally:
            os.close(descriptor)
        return None if head.startswith(MAGICS) else RejectReason.UNSUPPORTED

    def content(self, path: bytes, stat: FileStat) -> bytes | None:
        """See `reading.content_of`."""
        return content_of(self.root, self.watch, path, stat, file_bytes=self.file_bytes)
