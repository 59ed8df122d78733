"""Folders, pictures and patience for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipwatch.clock import Moment
from clipwatch.config import WatchConfig
from clipwatch.folder.root import Root


def write_image(path: Path | str | bytes, seed: int, *, side: int = 32) -> None:
    """A small real picture, the same for the same *seed*; PNG where the name ends so, else JPEG."""
    cells = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    picture = Image.fromarray(cells.repeat(side // 4, axis=0).repeat(side // 4, axis=1))
    name = path if isinstance(path, bytes) else str(path).encode("utf-8", "surrogateescape")
    with open(path, "wb") as file:  # noqa: PTH123 - names that are no text
        picture.save(file, "PNG" if name.lower().endswith(b".png") else "JPEG")


def wait_until(condition: Callable[[], object], seconds: float = 20.0, *, every: float = 0.02) -> None:
    """Return once *condition* holds; AssertionError when it does not within *seconds*."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {getattr(condition, '__name__', condition)}")
        pause.wait(every)


def opened_root(path: Path | str, **settings: Any) -> Root:
    """An open `Root` on *path*; close it."""
    root = Root(WatchConfig(path=str(path), **settings))
    root.open()
    return root


def watch_threads() -> set[threading.Thread]:
    """Those that read a folder's events, whoever started them."""
    return {thread for thread in threading.enumerate() if thread.name == "clipwatch-watch"}


class HandClock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def moment(self) -> Moment:
        return Moment("boot", self.seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.seconds += seconds
        return event.is_set()


@dataclass
class LogBook:
    """A logger that keeps what it is told."""

    lines: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def debug(self, event: str, **fields: Any) -> None:
        self.lines.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append(("error", event, fields))

    def reasons(self, event: str) -> list[str]:
        return [str(fields.get("reason", "")) for _, name, fields in self.lines if name == event]
