"""What is worth remembering and may be lost: rejections, suspects, holds and recent deletes.

One small SQLite file in the state directory. Losing it costs a second look at bad files or a longer
hold, never correctness; so every trouble with it (a full disk, a torn file) is told once and survived.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from clipwatch.clock import Moment
from clipwatch.errors import RejectReason

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS rejection (
    folder TEXT, path BLOB, signature BLOB, limits TEXT, reason TEXT, message TEXT, at REAL, PRIMARY KEY (folder, path)
) WITHOUT ROWID;
DROP TABLE IF EXISTS hold;
DROP TABLE IF EXISTS deletion;
CREATE TABLE IF NOT EXISTS held (
    folder TEXT PRIMARY KEY, since REAL, reason TEXT, points INTEGER, told INTEGER,
    waited REAL, boot TEXT, seconds REAL, at REAL
);
CREATE TABLE IF NOT EXISTS deleted (folder TEXT, at REAL, boot TEXT, seconds REAL, points INTEGER);
CREATE TABLE IF NOT EXISTS before (folder TEXT PRIMARY KEY, points INTEGER);
CREATE TABLE IF NOT EXISTS suspect (
    folder TEXT, path BLOB, deaths INTEGER, in_hand INTEGER, PRIMARY KEY (folder, path)
) WITHOUT ROWID;
"""

_REASONS: Final = frozenset(RejectReason)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one file has no point, as long as its signature and the limits stay the same."""

    folder: str
    path: bytes
    signature: bytes
    reason: RejectReason
    message: str
    at: float = field(default=0.0, compare=False)
    """When, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Deletes in doubt. *since*: when it began, in seconds since the epoch, for people only."""

    since: float
    reason: str
    points: int
    """How many were in doubt when it began."""
    told: int
    """How many were gone when last told: what somebody who confirms knows of."""
    waited: float = field(compare=False)
    """For how many seconds it had lasted at *noted*."""
    noted: Moment = field(compare=False)
    noted_at: float = field(compare=False)
    """*noted* by the wall clock, in seconds since the epoch."""

    def age(self, now: Moment) -> float:
        """Seconds that it has lasted for certain."""
        return self.waited + now.after(self.noted)

    def as_of(self, now: Moment, at: float, most: float) -> Hold:
        """The same, noted *now*. Since another boot, what the wall clock says counts, up to *most* seconds."""
        across = 0.0 if now.boot == self.noted.boot else min(max(0.0, at - self.noted_at), most)
        return replace(self, waited=self.age(now) + across, noted=now, noted_at=at)


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
                return _connect(str(file))
            except sqlite3.Error as error:
                self._logger.warning("notebook.lost", file=str(file), opened=attempt, error=str(error))
                if isinstance(error, sqlite3.OperationalError):
                    break  # A full or read-only disk says nothing against what is in the file.
                for suffix in ("", "-wal", "-shm"):
                    with contextlib.suppress(OSError):
                        file.with_name(file.name + suffix).unlink()
        return _connect(":memory:")

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
            return _rejections(self._connection, folder, self._limits)
        return []

    def judge_by(self, limits: str) -> None:
        """Other limits from now on: what was rejected under the old ones is judged anew."""
        self._limits = limits

    def reject(self, rejection: Rejection) -> None:
        """Remember it."""
        with self._noting():
            self._connection.execute(
                "INSERT OR REPLACE INTO rejection VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    rejection.folder,
                    rejection.path,
                    rejection.signature,
                    self._limits,
                    rejection.reason,
                    rejection.message,
                    rejection.at,
                ),
            )

    def accept(self, folder: str, path: bytes) -> None:
        """Forget a rejection: the file is gone, or good now."""
        with self._noting():
            self._connection.execute("DELETE FROM rejection WHERE folder = ? AND path = ?", (folder, path))

    # -- holds -----------------------------------------------------------------------------------------

    def hold(self, folder: str) -> Hold | None:
        """Since when and why this folder's deletes are held."""
        with self._noting():
            select = "SELECT since, reason, points, told, waited, boot, seconds, at FROM held WHERE folder = ?"
            row = self._connection.execute(select, (folder,)).fetchone()
            return Hold(row[0], row[1], row[2], row[3], row[4], Moment(row[5], row[6]), row[7]) if row else None
        return None

    def set_hold(self, folder: str, hold: Hold) -> None:
        """Note that a hold began, or how it goes on."""
        noted = hold.noted
        with self._noting():
            self._connection.execute(
                "INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    folder,
                    hold.since,
                    hold.reason,
                    hold.points,
                    hold.told,
                    hold.waited,
                    noted.boot,
                    noted.seconds,
                    hold.noted_at,
                ),
            )

    def end_hold(self, folder: str) -> None:
        """Note that it ended."""
        with self._noting():
            self._connection.execute("DELETE FROM held WHERE folder = ?", (folder,))

    def note_deletion(self, folder: str, at: float, moment: Moment, points: int) -> None:
        """Count *points* deleted now towards the share of the hold time. *at*: now, in seconds since the epoch."""
        with self._noting():
            row = (folder, at, moment.boot, moment.seconds, points)
            self._connection.execute("INSERT INTO deleted VALUES (?, ?, ?, ?, ?)", row)

    def deleted_lately(self, folder: str, at: float, moment: Moment, seconds: float) -> int:
        """Points deleted within the last *seconds*; older deletes are forgotten. *at* and *moment*: now.

        The wall clock is asked about deletes of another boot only; where it has gone back, they count as new.
        """
        now = {"folder": folder, "at": at, "boot": moment.boot, "now": moment.seconds, "window": seconds}
        with self._noting():
            self._connection.execute(
                "UPDATE deleted SET at = :at, boot = :boot, seconds = :now "
                "WHERE folder = :folder AND ((boot != :boot AND at > :at) OR (boot = :boot AND seconds > :now))",
                now,
            )
            self._connection.execute(
                "DELETE FROM deleted WHERE folder = :folder AND "
                "CASE boot WHEN :boot THEN :now - seconds ELSE :at - at END > :window",
                now,
            )
            total = "SELECT COALESCE(SUM(points), 0) FROM deleted WHERE folder = ?"
            return int(self._connection.execute(total, (folder,)).fetchone()[0])
        return 0

    def points_before(self, folder: str) -> int | None:
        """How many points there were before what is gone was missed, where that has not been settled."""
        with self._noting():
            row = self._connection.execute("SELECT points FROM before WHERE folder = ?", (folder,)).fetchone()
            return int(row[0]) if row else None
        return None

    def note_points_before(self, folder: str, points: int | None) -> None:
        """Note it; None: nothing is missed any more."""
        with self._noting():
            if points is None:
                self._connection.execute("DELETE FROM before WHERE folder = ?", (folder,))
            else:
                self._connection.execute("INSERT OR REPLACE INTO before VALUES (?, ?)", (folder, points))

    # -- suspects ----------------------------------------------------------------------------------------

    def begin(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Note files as in hand before anything of them is read."""
        insert = "INSERT INTO suspect VALUES (?, ?, 0, 1) ON CONFLICT DO UPDATE SET in_hand = 1"
        with self._noting():
            self._connection.executemany(insert, list(files))

    def end(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Those are done, one way or the other."""
        with self._noting():
            self._connection.executemany("DELETE FROM suspect WHERE folder = ? AND path = ?", list(files))

    def survivors(self) -> dict[tuple[str, bytes], int]:
        """Files in hand when a process died, each with how often that has happened; counts the last time in.

        One that has not been taken up again since it was first suspected is not blamed for a second death.
        """
        with self._noting():
            self._connection.execute("UPDATE suspect SET deaths = deaths + 1, in_hand = 0 WHERE in_hand")
            rows = self._connection.execute("SELECT folder, path, deaths FROM suspect")
            return {(folder, path): deaths for folder, path, deaths in rows}
        return {}

    def close(self) -> None:
        """Let go of the file."""
        with self._noting():
            self._connection.close()


def read_rejections(file: Path, folder: str, *, limits: str) -> dict[bytes, Rejection]:
    """By path what its owner has noted in *file*, changing nothing; nothing where it cannot be read."""
    try:
        with contextlib.closing(_read_only(file)) as connection:
            return {item.path: item for item in _rejections(connection, folder, limits)}
    except sqlite3.Error:
        return {}


def read_hold(file: Path, folder: str) -> str:
    """Why the deletes of *folder* are held, as its owner has noted in *file*; "" where nothing says so."""
    try:
        with contextlib.closing(_read_only(file)) as connection:
            row = connection.execute("SELECT reason FROM held WHERE folder = ?", (folder,)).fetchone()
            return str(row[0]) if row else ""
    except sqlite3.Error:
        return ""


def _read_only(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)


def _rejections(connection: sqlite3.Connection, folder: str, limits: str) -> list[Rejection]:
    rows = connection.execute(
        "SELECT path, signature, reason, message, at FROM rejection WHERE folder = ? AND limits = ?", (folder, limits)
    )
    return [
        Rejection(folder, path, signature, RejectReason(reason), text, at)
        for path, signature, reason, text, at in rows
        if reason in _REASONS
    ]


def _connect(file: str) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    try:
        # A crash of the machine may cost the last notes; that is what this file is for.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection
