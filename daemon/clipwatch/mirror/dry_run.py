"""The plan of one folder, told and not carried out."""

from __future__ import annotations

from typing import Any

from clipwatch.config import LimitsConfig, WatchConfig
from clipwatch.folder.root import Root
from clipwatch.mirror.plan import hold_reason
from clipwatch.mirror.verify import compare_folder
from clipwatch.records import Reason, path_text, uuid_text
from clipwatch.store.contract import Store


def plan_folder(watch: WatchConfig, store: Store, model: str, limits: LimitsConfig) -> list[dict[str, Any]]:
    """`{"action": "embed" | "delete", "reason", "folder", "path", "held"?}` in order of paths.

    Renames and copies show as new (and gone): only reading the files would tell.
    """
    root = Root(watch)
    try:
        root.open()
        difference, _ = compare_folder(root, watch, store, model)
    finally:
        root.close()
    plan = [
        {"action": "embed", "reason": str(difference.reasons[path]), "folder": watch.name, "path": path_text(path)}
        for path in sorted(difference.files)
    ]
    held = hold_reason(
        points=difference.points,
        gone=len(difference.extra),
        absent=len(difference.extra),
        deleted_lately=0,
        fraction=limits.delete_fraction,
    )
    for point, path in sorted(difference.extra.items(), key=lambda item: item[1] or b""):
        action: dict[str, Any] = {"action": "delete", "reason": str(Reason.GONE), "folder": watch.name}
        action["path"] = path_text(path) if path is not None else uuid_text(point)
        if held is not None:
            action["held"] = str(held)
        plan.append(action)
    return plan
