"""What is worth remembering and may be lost: rejections, suspects, holds, recent deletes, mount points, the last run.

One small SQLite file in the state directory. Losing it costs a second look at bad files, a longer hold, or the
knowledge that a disk is missing; every trouble with it (a full disk, a torn file) is told once and survived.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from clipwatch.clock import Moment
from clipwatch.deaths import Cause, Death, RunRecord
from clipwatch.errors import RejectReason
from clipwatch.mirror.losses import Hold, HoldState, Now

_SCHEMA: Final = """
DROP TABLE IF EXISTS rejection;
CREATE TABLE IF NOT EXISTS rejected (
    folder TEXT, path BLOB, signature BLOB, limits TEXT, reason TEXT, message TEXT, at REAL, ignored_as TEXT,
    PRIMARY KEY (folder, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hold_state (
    folder TEXT, kind TEXT, points_before INTEGER, points_at_scan INTEGER, since REAL, reason TEXT, points INTEGER,
    told INTEGER, waited REAL, boot TEXT, seconds REAL, at REAL, PRIMARY KEY (folder, kind)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deleted (folder TEXT, at REAL, boot TEXT, seconds REAL, points INTEGER);
CREATE TABLE IF NOT EXISTS rules (folder TEXT PRIMARY KEY, digest TEXT);
CREATE TABLE IF NOT EXISTS known (folder TEXT, path BLOB, signature BLOB, PRIMARY KEY (folder, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mount (folder TEXT, path BLOB, points INTEGER, PRIMARY KEY (folder, path)) WITHOUT ROWID;
DROP TABLE IF EXISTS suspect;
CREATE TABLE IF NOT EXISTS suspected (
    folder TEXT, path BLOB, signature BLOB, limits TEXT, in_hand INTEGER, deaths INTEGER, boot TEXT, seconds REAL,
    PRIMARY KEY (folder, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS run (boot TEXT, kills TEXT);
"""

_REASONS: Final = frozenset(RejectReason)
_TOGETHER: Final = 1
_ALONE: Final = 2
"""Values of `suspected.in_hand`."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A file that was in hand when a process died.

    *deaths*: how many of them it was alone in hand at. *tried*: when it was last taken up.
    """

    folder: str
    path: bytes
    signature: bytes
    deaths: int
    tried: Moment


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
    ignored_as: str = ""
    """Not told as rejected, but as ignored, under this type: see `ignored.other_picture`."""


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
                "INSERT OR REPLACE INTO rejected VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    rejection.folder,
                    rejection.path,
                    rejection.signature,
                    self._limits,
                    rejection.reason,
                    rejection.message,
                    rejection.at,
                    rejection.ignored_as,
                ),
            )

    def accept(self, folder: str, path: bytes) -> None:
        """Forget a rejection: the file is gone, or good now."""
        with self._noting():
            self._connection.execute("DELETE FROM rejected WHERE folder = ? AND path = ?", (folder, path))

    # -- holds -----------------------------------------------------------------------------------------

    def hold_state(self, folder: str, kind: str) -> HoldState:
        """What is remembered of this folder's losses."""
        with self._noting():
            return _hold_state(self._connection, folder, kind)
        return HoldState()

    def set_hold_state(self, folder: str, kind: str, state: HoldState) -> None:
        """Note how it is now."""
        hold = state.hold
        held: list[Any] = [None] * 8
        if hold is not None:
            moment = (hold.waited, hold.noted.boot, hold.noted.seconds, hold.noted_at)
            held = [hold.since, hold.reason, hold.points, hold.told, *moment]
        with self._noting():
            if state == HoldState():
                self._connection.execute("DELETE FROM hold_state WHERE folder = ? AND kind = ?", (folder, kind))
            else:
                self._connection.execute(
                    "INSERT OR REPLACE INTO hold_state VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (folder, kind, state.points_before, state.points_at_scan, *held),
                )

    def rules(self, folder: str) -> str:
        """Under which rules nothing of the folder was missing last; "" where that is not known."""
        with self._noting():
            return _rules(self._connection, folder)
        return ""

    def note_rules(self, folder: str, digest: str) -> None:
        """Note that nothing is missing under these rules (see `folder.rules.rules_digest`)."""
        with self._noting():
            self._connection.execute("INSERT OR REPLACE INTO rules VALUES (?, ?)", (folder, digest))

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

    def known_files(self, folder: str) -> dict[bytes, bytes]:
        """Some files that had no point when they were last seen: path to signature."""
        with self._noting():
            select = "SELECT path, signature FROM known WHERE folder = ?"
            return dict(self._connection.execute(select, (folder,)).fetchall())
        return {}

    def set_known_files(self, folder: str, files: Mapping[bytes, bytes]) -> None:
        """Note other ones in their place."""
        with self._noting():
            self._connection.execute("DELETE FROM known WHERE folder = ?", (folder,))
            rows = [(folder, path, signature) for path, signature in files.items()]
            self._connection.executemany("INSERT INTO known VALUES (?, ?, ?)", rows)

    # -- mount points ------------------------------------------------------------------------------------

    def mounts(self, folder: str) -> dict[bytes, int]:
        """The mount points seen in this folder, each with how many points wait for it to be mounted again."""
        with self._noting():
            return _mounts(self._connection, folder)
        return {}

    def note_mount(self, folder: str, path: bytes, points: int) -> None:
        """Note a mount point, and how many points wait for it."""
        with self._noting():
            self._connection.execute("INSERT OR REPLACE INTO mount VALUES (?, ?, ?)", (folder, path, points))

    def forget_mount(self, folder: str, path: bytes) -> None:
        """Nothing waits for it any more."""
        with self._noting():
            self._connection.execute("DELETE FROM mount WHERE folder = ? AND path = ?", (folder, path))

    # -- how the last run ended, and what was in hand ---------------------------------------------------------

    def begin_run(self, run: RunRecord) -> RunRecord | None:
        """Note that *run* is under way; what is still noted of one that did not end in good order."""
        with self._noting():
            row = self._connection.execute("SELECT boot, kills FROM run").fetchone()
            self.note_run(run)
            return RunRecord(str(row[0]), json.loads(row[1])) if row else None
        return None

    def note_run(self, run: RunRecord) -> None:
        """Note *run* as it is now, in place of what was noted of it before."""
        with self._noting():
            self._connection.execute("DELETE FROM run")
            self._connection.execute("INSERT INTO run VALUES (?, ?)", (run.boot, json.dumps(dict(run.kills))))

    def end_run(self) -> None:
        """The run ends in good order: whatever was in hand is not to blame for anything."""
        with self._noting():
            self._connection.execute("DELETE FROM suspected WHERE in_hand AND deaths = 0")
            self._connection.execute("UPDATE suspected SET in_hand = 0")
            self._connection.execute("DELETE FROM run")

    def begin(self, files: Iterable[tuple[str, bytes, bytes]], moment: Moment, *, alone: bool) -> None:
        """Note files (folder, path, packed signature) as in hand before anything of them is read. *moment*: now.

        The deaths of a file that has changed, or that was tried under other limits, are forgotten.
        """
        in_hand = _ALONE if alone else _TOGETHER
        rows = [(*file, self._limits, in_hand, moment.boot, moment.seconds) for file in files]
        with self._noting():
            self._connection.executemany(
                "INSERT INTO suspected VALUES (?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT DO UPDATE SET "
                "deaths = (signature = excluded.signature AND limits = excluded.limits) * deaths, "
                "signature = excluded.signature, limits = excluded.limits, in_hand = excluded.in_hand, "
                "boot = excluded.boot, seconds = excluded.seconds",
                rows,
            )

    def end(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Those are done, one way or the other."""
        with self._noting():
            self._connection.executemany("DELETE FROM suspected WHERE folder = ? AND path = ?", list(files))

    def blame(self, file: tuple[str, bytes], deaths: int) -> None:
        """Note that *file* is not in hand any more, and how many deaths it was alone in hand at."""
        with self._noting():
            self._connection.execute(
                "UPDATE suspected SET in_hand = 0, deaths = ? WHERE folder = ? AND path = ?", (deaths, *file)
            )

    def suspects(self, death: Death | None) -> list[Suspicion]:
        """The files that were in hand when a process died, *death* of the last run included.

        A file that was alone in hand counts one more death, at least two where the program itself crashed; none where
        the machine went down.
        """
        counted = {Cause.REBOOT: "deaths", Cause.CRASH: "MAX(deaths + 1, 2)"}
        deaths = counted.get(death.cause, "deaths + 1") if death is not None else "deaths"
        with self._noting():
            self._connection.execute(f"UPDATE suspected SET deaths = {deaths} WHERE in_hand = ?", (_ALONE,))  # noqa: S608
            self._connection.execute("UPDATE suspected SET in_hand = 0")
            return _suspicions(self._connection, self._limits)
        return []

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


@dataclass(frozen=True, slots=True)
class NotedLosses:
    """What is remembered of one folder's losses, read without changing it."""

    state: HoldState = field(default_factory=HoldState)
    lost_lately: int = 0
    """Points deleted within the hold time."""
    known_files: Mapping[bytes, bytes] = field(default_factory=dict)
    """See `Notebook.known_files`."""
    rules: str = ""
    """See `Notebook.rules`."""


def read_losses(file: Path, folder: str, *, kind: str, now: Now, seconds: float) -> NotedLosses:
    """What the owner of *file* has noted; nothing where it cannot be read. *seconds*: the hold time."""
    try:
        with contextlib.closing(_read_only(file)) as connection:
            rows = connection.execute("SELECT at, boot, seconds, points FROM deleted WHERE folder = ?", (folder,))
            lately = sum(
                points
                for at, boot, noted, points in rows
                if (now.moment.seconds - noted if boot == now.moment.boot else now.at - at) <= seconds
            )
            known = connection.execute("SELECT path, signature FROM known WHERE folder = ?", (folder,)).fetchall()
            return NotedLosses(_hold_state(connection, folder, kind), lately, dict(known), _rules(connection, folder))
    except sqlite3.Error:
        return NotedLosses()


def read_suspects(file: Path, folder: str, *, limits: str) -> list[Suspicion]:
    """Those of *folder* that its owner has noted in *file*, changing nothing; none where it cannot be read."""
    try:
        with contextlib.closing(_read_only(file)) as connection:
            return [item for item in _suspicions(connection, limits) if item.folder == folder]
    except sqlite3.Error:
        return []


def _rules(connection: sqlite3.Connection, folder: str) -> str:
    row = connection.execute("SELECT digest FROM rules WHERE folder = ?", (folder,)).fetchone()
    return str(row[0]) if row else ""


def read_mounts(file: Path, folder: str) -> dict[bytes, int]:
    """What `Notebook.mounts` says, read from *file* and changing nothing; nothing where it cannot be read."""
    try:
        with contextlib.closing(_read_only(file)) as connection:
            return _mounts(connection, folder)
    except sqlite3.Error:
        return {}


def _read_only(file: Path) -> sqlite3.Connection:
    """Without a trace: SQLite would make a log beside a file that has none, which its owner might not be able to open
    where root asked.
    """
    logged = file.with_name(f"{file.name}-wal").exists()
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro{'' if logged else '&immutable=1'}", uri=True)


def _hold_state(connection: sqlite3.Connection, folder: str, kind: str) -> HoldState:
    select = "SELECT * FROM hold_state WHERE folder = ? AND kind = ?"
    row = connection.execute(select, (folder, kind)).fetchone()
    if row is None:
        return HoldState()
    before, at_scan, since, reason, points, told, waited, boot, seconds, at = row[2:]
    hold = None if since is None else Hold(since, reason, points, told, waited, Moment(boot, seconds), at)
    return HoldState(hold, before, at_scan)


def _mounts(connection: sqlite3.Connection, folder: str) -> dict[bytes, int]:
    rows = connection.execute("SELECT path, points FROM mount WHERE folder = ?", (folder,))
    return {bytes(path): int(points) for path, points in rows}


def _rejections(connection: sqlite3.Connection, folder: str, limits: str) -> list[Rejection]:
    rows = connection.execute(
        "SELECT path, signature, reason, message, at, ignored_as FROM rejected WHERE folder = ? AND limits = ?",
        (folder, limits),
    )
    return [
        Rejection(folder, path, signature, RejectReason(reason), sys.intern(text), at, sys.intern(ignored_as))
        for path, signature, reason, text, at, ignored_as in rows
        if reason in _REASONS
    ]


def _suspicions(connection: sqlite3.Connection, limits: str) -> list[Suspicion]:
    rows = connection.execute("SELECT folder, path, signature, limits, deaths, boot, seconds FROM suspected")
    return [
        Suspicion(folder, path, signature, deaths if tried_under == limits else 0, Moment(boot, seconds))
        for folder, path, signature, tried_under, deaths, boot, seconds in rows
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
