"""How long to wait before what has failed is tried again."""

from __future__ import annotations

from typing import Final

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 600.0
TRIES: Final = 5
"""After so many failures in a row, over 15 s, a pass that somebody waits for, such as `sync`, ends without it."""


def pause_seconds(failures: int) -> float:
    """The pause after so many *failures* in a row, from 1: a second, then twice as long each time, up to 10 minutes."""
    return float(min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(failures - 1, 16)))
