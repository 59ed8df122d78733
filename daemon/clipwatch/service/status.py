"""What a daemon is doing, as one value."""

from __future__ import annotations

from typing import Any, Final

from clipwatch.mirror.mirror import Mirror
from clipwatch.model.contract import Encoder

STATES: Final = (
    "watching",
    "scanning",
    "held",
    "starting",
    "store-unavailable",
    "folder-missing",
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


def describe_mirror(mirror: Mirror, watches: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The `status` answer; on the mirror's thread. *watches*: how each folder is watched."""
    folders = []
    for folder in mirror.folders.values():
        if mirror.stopping:
            state = "stopping"
        elif not folder.available:
            state = "folder-missing" if folder.trouble else "starting"
        elif not mirror.store_state.available:
            state = "store-unavailable"
        elif folder.deletes.hold is not None:
            state = "held"
        elif folder.ledger is None:
            state = "starting"
        elif folder.looking or len(folder.pending) or folder.in_hand:
            state = "scanning" if not folder.looks or folder.looking else "watching"
        else:
            state = "watching"
        folders.append(
            {
                "name": folder.name,
                "state": state,
                "path": folder.watch.path,
                "images": folder.images,
                "points": folder.points,
                "rejected": len(folder.rejected),
                "ignored": folder.counts.ignored,
                "held": folder.deletes.held,
                "trouble": folder.trouble or folder.deletes.hold_text,
                "unreadable": {
                    path.decode("utf-8", "backslashreplace") or ".": why
                    for path, why in folder.counts.unreadable.items()
                },
                "last_scan": folder.last_look_finished,
                "last_scan_seconds": round(folder.last_look_seconds, 4),
                **watches.get(folder.name, {}),
            }
        )
    return {
        "state": worst([folder["state"] for folder in folders]),
        "images": sum(folder["images"] for folder in folders),
        "points": sum(folder["points"] for folder in folders),
        "pending": mirror.pending(),
        "rejected": sum(folder["rejected"] for folder in folders),
        "ignored": sum(folder["ignored"] for folder in folders),
        "held": sum(folder["held"] for folder in folders),
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
            "seconds": {key: round(value, 3) for key, value in mirror.pipeline.times.seconds.items()},
            "images": dict(mirror.pipeline.times.images),
        },
        "done": {
            "embedded": mirror.counts.embedded,
            "reused": mirror.counts.reused,
            "refreshed": mirror.counts.refreshed,
            "deleted": mirror.counts.deleted,
        },
    }
