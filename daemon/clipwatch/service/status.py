"""What a daemon is doing, as one value."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from clipwatch.folder.ignored import add_types, telling
from clipwatch.mirror.folder_mirror import FolderMirror
from clipwatch.mirror.mirror import Mirror
from clipwatch.mirror.unconfirmed import sentence
from clipwatch.model.contract import Encoder

STATES: Final = (
    "watching",
    "scanning",
    "held",
    "starting",
    "store-unavailable",
    "folder-missing",
    "owned-elsewhere",
    "stopping",
    "stopped",
)
"""From best to worst: a daemon's state is the worst of its folders'."""


def worst(states: list[str]) -> str:
    """The one to tell."""
    return max(states, key=STATES.index, default="starting")


def describe_model(encoder: Encoder) -> dict[str, Any]:
    """For log and status."""
    return {
        **encoder.describe,
        "name": encoder.name,
        "demonstration": encoder.demonstration,
        "fingerprint": encoder.fingerprint,
        "width": encoder.width,
    }


BUSY_SHARE: Final = 0.5
"""A stage that works less than this share of the time holds nothing up."""

WINDOW_SECONDS: Final = 60.0


def bottleneck(shares: Mapping[str, float]) -> str:
    """The stage that is busy most of the time; "" where none is busy for half of it. *shares*: 0 to 1 by stage."""
    stage = max(shares, key=lambda name: shares[name], default="")
    return stage if stage and shares[stage] >= BUSY_SHARE else ""


def busy_shares(seconds: Mapping[str, float], elapsed_seconds: float, decode_workers: int) -> dict[str, float]:
    """Which share of *elapsed_seconds* each stage worked, from the seconds of work by stage.

    Decoding goes on in several workers at once; storing and verifying take turns on one thread, so they are one.
    """
    if elapsed_seconds <= 0:
        return {}
    return {
        "decode": seconds["decode"] / decode_workers / elapsed_seconds,
        "encode": seconds["encode"] / elapsed_seconds,
        "store": (seconds["store"] + seconds["verify"]) / elapsed_seconds,
    }


class RecentWork:
    """What was done over about the last minute, from samples of totals; *now* is monotonic seconds."""

    def __init__(self, decode_workers: int) -> None:
        self._decode_workers = decode_workers
        self._samples: deque[tuple[float, dict[str, float]]] = deque()
        self._stored: deque[tuple[float, int]] = deque()

    def images_per_second(self, now: float, stored: int) -> float:
        """How many images were stored a second since the oldest sample, after taking this one."""
        while len(self._stored) > 1 and now - self._stored[1][0] >= WINDOW_SECONDS:
            self._stored.popleft()
        if not self._stored or now - self._stored[-1][0] >= 1:
            self._stored.append((now, stored))
        began, before = self._stored[0]
        return (stored - before) / (now - began) if now > began else 0.0

    def shares(self, now: float, totals: Mapping[str, float]) -> dict[str, float]:
        """Each stage's busy share since the oldest sample, after taking this one; *now* is monotonic."""
        while len(self._samples) > 1 and now - self._samples[1][0] >= WINDOW_SECONDS:
            self._samples.popleft()
        if not self._samples or now - self._samples[-1][0] >= 1:
            self._samples.append((now, dict(totals)))
        began, before = self._samples[0]
        worked = {stage: total - before[stage] for stage, total in totals.items()}
        return busy_shares(worked, now - began, self._decode_workers)


def ignored_in(folders: Iterable[FolderMirror]) -> dict[str, Any]:
    """What is passed over in all *folders* together; see `folder.ignored.telling`."""
    types: dict[str, int] = {}
    undecodable: dict[str, int] = {}
    for folder in folders:
        add_types(types, folder.ignored)
        add_types(undecodable, folder.undecodable)
    return telling(types, undecodable)


def describe_mirror(
    mirror: Mirror, watches: dict[str, dict[str, Any]], *, now: float, recent: RecentWork | None = None
) -> dict[str, Any]:
    """The `status` answer; on the mirror's thread, at monotonic *now*. *watches*: how each folder is watched."""
    seconds = mirror.pipeline.stage_seconds
    shares = recent.shares(now, seconds) if recent is not None else {}
    pending = mirror.pending()
    rate = recent.images_per_second(now, mirror.pipeline.times.images["store"]) if recent is not None else 0.0
    folders = []
    for folder in mirror.folders.values():
        if mirror.stopping:
            state = "stopping"
        elif folder.refused is not None:
            state = "owned-elsewhere"
        elif not folder.available:
            state = "folder-missing" if folder.trouble else "starting"
        elif not mirror.store_state.available:
            state = "store-unavailable"
        elif folder.in_doubt:
            state = "held"
        elif folder.ledger is None:
            state = "starting"
        elif folder.looking or len(folder.work.pending) or folder.work.in_hand:
            state = "scanning" if not folder.scans.done or folder.looking else "watching"
        else:
            state = "watching"
        folders.append(
            {
                "name": folder.name,
                "state": state,
                "path": folder.watch.path,
                "images": folder.images,
                "points": folder.points,
                "rejected": folder.rejected_images,
                **telling(folder.ignored, folder.undecodable),
                "held": folder.deletes.held,
                "put_aside": folder.aside_text,
                "unconfirmed": len(mirror.unconfirmed(folder.name)),
                "unconfirmed_why": sentence(folder.name, mirror.unconfirmed(folder.name)),
                "trouble": folder.trouble or folder.hold_text,
                "unreadable": {
                    path.decode("utf-8", "backslashreplace") or ".": why
                    for path, why in folder.counts.unreadable.items()
                },
                "last_scan": folder.last_look_finished,
                "last_scan_seconds": round(folder.last_look_seconds, 4),
                **watches.get(folder.name, {}),
            }
        )
    moving = pending - sum(folder["unconfirmed"] for folder in folders)
    return {
        "state": worst([folder["state"] for folder in folders]),
        "images": sum(folder["images"] for folder in folders),
        "points": sum(folder["points"] for folder in folders),
        "pending": pending,
        "images_per_second": round(rate, 2),
        "eta_seconds": round(moving / rate) if moving and rate else None,
        "lag_seconds": round(mirror.lag_seconds(now), 3),
        "rejected": sum(folder["rejected"] for folder in folders),
        "rejected_by_reason": dict(
            sum((folder.rejected_by_reason for folder in mirror.folders.values()), Counter[str]())
        ),
        **ignored_in(mirror.folders.values()),
        "held": sum(folder["held"] for folder in folders),
        "put_aside": sum(len(folder.work.aside) for folder in mirror.folders.values()),
        "unconfirmed": sum(folder["unconfirmed"] for folder in folders),
        "model": describe_model(mirror.encoder),
        "store": {
            "available": mirror.store_state.available,
            "trouble": mirror.store_state.trouble,
            "address": mirror.config.store.url,
            "collection": mirror.config.store.collection,
        },
        "watch": folders,
        "stages": {
            "depths": mirror.pipeline.depths,
            "seconds": {key: round(value, 3) for key, value in seconds.items()},
            "images": dict(mirror.pipeline.times.images),
            "busy": {key: round(share, 3) for key, share in shares.items()},
            "bottleneck": bottleneck(shares),
        },
        "done": {
            "embedded": mirror.counts.embedded,
            "reused": mirror.counts.reused,
            "refreshed": mirror.counts.refreshed,
            "deleted": mirror.counts.deleted,
        },
    }
