"""What is worth remembering and may be lost: rejections, suspects, holds and recent deletes.

One small SQLite file in the state directory. Losing it costs a second look at bad files or a longer
hold, never correctness; so every trouble with it (a full disk, a torn file) is told once and survived.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clipwatch.errors import RejectReason

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS rejection (
    folder TEXT, path BLOB, signature BLOB, limits TEXT, reason TEXT, message TEXT, PRIMARY KEY (folder, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hold (folder TEXT PRIMARY KEY, since REAL, reason TEXT);
CREATE TABLE IF NOT EXISTS deletion (folder TEXT, at REAL, points INTEGER);
CREATE TABLE IF NOT EXISTS in_hand (folder TEXT, path BLOB, deaths INTEGER, PRIMARY KEY (folder, path)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one file has no point, as long as its signature and the limits stay the same."""

    folder: str
    path: bytes
    signature: bytes
    reason: RejectReason
    message: str


class Notebook:
    """All of it, behind calls that cannot fail."""

    def __init__(self, file: Path, *, limits: str, logger: Any) -> None:
        self._limits = limits
        self._logger = logger
        self._failing = False
        self._connection = self._open(file)

    def _open(self, file: Path) -> sqlite3.Connection:
        for attempt in ("as it is", "anew"):
            try:
                connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
                # A crash of the machine may cost the last notes; that is what this file is for.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = OFF")
                connection.executescript(_SCHEMA)
            except sqlite3.Error as error:
                self._logger.warning("notebook.lost", file=str(file), opened=attempt, error=str(error))
                for suffix in ("", "-wal", "-shm"):
                    with contextlib.suppress(OSError):
                        file.with_name(file.name + suffix).unlink()
            else:
                return connection
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.executescript(_SCHEMA)
        return connection

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if not self._failing:
                self._logger.warning("notebook.failing", error=str(error))
            self._failing = True
        else:
            self._failing = False

    # -- rejections ----------------------------------------------------------------------------------

    def rejections(self, folder: str) -> list[Rejection]:
        """Those made under the present limits."""
        with self._noting():
            rows = self._connection.execute(
                "SELECT path, signature, reason, message FROM rejection WHERE folder = ? AND limits = ?",
                (folder, self._limits),
            )
            return [
                Rejection(folder, path, signature, RejectReason(reason), text) for path, signature, reason, text in rows
            ]
        return []

    def reject(self, rejection: Rejection) -> None:
        """Remember it."""
        with self._noting():
            self._connection.execute(
                "INSERT OR REPLACE INTO rejection VALUES (?, ?, ?, ?, ?, ?)",
                (
                    rejection.folder,
                    rejection.path,
                    rejection.signature,
                    self._limits,
                    rejection.reason,
                    rejection.message,
                ),
            )

    def accept(self, folder: str, path: bytes) -> None:
        """Forget a rejection: the file is gone, or good now."""
        with self._noting():
            self._connection.execute("DELETE FROM rejection WHERE folder = ? AND path = ?", (folder, path))

    # -- holds -----------------------------------------------------------------------------------------

    def hold(self, folder: str) -> tuple[float, str] | None:
        """Since when (seconds since the epoch) and why this folder's deletes are held."""
        with self._noting():
            row = self._connection.execute("SELECT since, reason FROM hold WHERE folder = ?", (folder,)).fetchone()
            return (float(row[0]), str(row[1])) if row else None
        return None

    def set_hold(self, folder: str, since: float, reason: str) -> None:
        """Note that a hold began."""
        with self._noting():
            self._connection.execute("INSERT OR REPLACE INTO hold VALUES (?, ?, ?)", (folder, since, reason))

    def end_hold(self, folder: str) -> None:
        """Note that it ended."""
        with self._noting():
            self._connection.execute("DELETE FROM hold WHERE folder = ?", (folder,))

    def note_deletion(self, folder: str, at: float, points: int) -> None:
        """Count *points* deleted *at* (seconds since the epoch) towards the share of the hold time."""
        with self._noting():
            self._connection.execute("INSERT INTO deletion VALUES (?, ?, ?)", (folder, at, points))

    def deletions(self, folder: str, since: float) -> list[tuple[float, int]]:
        """Deletes after *since*; older ones are forgotten."""
        with self._noting():
            self._connection.execute("DELETE FROM deletion WHERE folder = ? AND at < ?", (folder, since))
            rows = self._connection.execute("SELECT at, points FROM deletion WHERE folder = ?", (folder,))
            return [(float(at), int(points)) for at, points in rows]
        return []

    # -- suspects ----------------------------------------------------------------------------------------

    def begin(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Note files as in hand before anything of them is read."""
        with self._noting():
            self._connection.executemany("INSERT OR IGNORE INTO in_hand VALUES (?, ?, 0)", list(files))

    def end(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Those are done, one way or the other."""
        with self._noting():
            self._connection.executemany("DELETE FROM in_hand WHERE folder = ? AND path = ?", list(files))

    def survivors(self) -> dict[tuple[str, bytes], int]:
        """Files in hand when the last process died, each with how often that has happened; counts this time in."""
        with self._noting():
            self._connection.execute("UPDATE in_hand SET deaths = deaths + 1")
            rows = self._connection.execute("SELECT folder, path, deaths FROM in_hand")
            return {(folder, path): deaths for folder, path, deaths in rows}
        return {}

    def close(self) -> None:
        """Let go of the file."""
        with self._noting():
            self._connection.close()
