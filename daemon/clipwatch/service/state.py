"""The state directory: one process at a time holds it, and makes it again where somebody deletes it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from clipwatch.errors import ClipwatchError, ConfigError, LockHeld

LOCK_NAME: Final = "lock"
"""The file in the state directory that its holder locks, and writes its pid into."""

_TIME_HEALS: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.ENFILE, errno.EMFILE, errno.ESTALE}
)


def unusable(state: Path, error: OSError) -> ClipwatchError:
    """What to raise: `ConfigError` (nobody tries again) only where the operator must act."""
    if error.errno in _TIME_HEALS:
        return ClipwatchError(
            f"The state directory {state} cannot be used now: {error.strerror}.",
            hint="Where its disk is full, free some space; then try again.",
        )
    return ConfigError(
        f"The state directory {state} cannot be used: {error.strerror}.",
        hint="Set state.path to a directory that this user may write to.",
    )


def make_state_directory(state: Path) -> None:
    """With mode 0700. Raises as `unusable` says."""
    try:
        refuse_root_beside_another(state)
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = state / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise unusable(state, error) from error


def check_state_directory(state: Path) -> None:
    """Raise as `make_state_directory` would, as far as that can be told without making anything."""
    try:
        refuse_root_beside_another(state)
        there = _nearest(state)
        if not there.is_dir():
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if os.statvfs(there).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if not os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise unusable(state, error) from error


def _nearest(place: Path) -> Path:
    """*place*, or what there is of the way to it."""
    return next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())


def refuse_root_beside_another(place: Path, what: str = "state directory", key: str = "state.path") -> None:
    """Raise `ConfigError`: what root makes there, the user whom the directory belongs to could never open."""
    if os.geteuid() != 0:
        return
    owner = _nearest(place).stat().st_uid
    if owner == 0:
        return
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"'#{owner}'"
    raise ConfigError(
        f"The {what} {place} belongs to another user, {name}, who could not open what root makes there.",
        hint=f"Run it as that user, with `sudo -u {name}`, or give this one its own {key}.",
    )


class StateLock:
    """Holds the state directory until `close`, or the end of the process."""

    def __init__(self, state: Path) -> None:
        """Raises `LockHeld` naming the other's pid, or as `make_state_directory` does."""
        self._state, self._file = state, state / LOCK_NAME
        self._descriptor = self._take()

    def renew(self) -> bool:
        """Make and take it anew where it is gone; True where that was needed. Raises as at first, nothing let go."""
        if self._is_there(self._descriptor):
            return False
        descriptor = self._take()
        os.close(self._descriptor)
        self._descriptor = descriptor
        return True

    def close(self) -> None:
        """Let go."""
        os.close(self._descriptor)

    def _take(self) -> int:
        while True:
            make_state_directory(self._state)
            try:
                descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue  # deleted once more in between
            except OSError as error:
                raise unusable(self._state, error) from error
            try:
                self._flock(descriptor)
                if self._is_there(descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _flock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise LockHeld(
                f"Another clipwatch (pid {pid}) uses the state directory {self._state}.",
                hint=_cure(pid),
            ) from error
        except OSError as error:
            raise unusable(self._state, error) from error
        with contextlib.suppress(OSError):  # a full disk has no room for it, and it only serves the sentence above
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def _is_there(self, descriptor: int) -> bool:
        """Whether the name still leads to the file that is locked: a lock on a deleted one keeps nobody out."""
        try:
            return os.path.samestat(self._file.stat(), os.fstat(descriptor))
        except OSError:
            return False


@contextlib.contextmanager
def state_lock(state: Path) -> Iterator[StateLock]:
    """Hold the state directory: one daemon or `sync` at a time. Raises as `StateLock` does."""
    lock = StateLock(state)
    try:
        yield lock
    finally:
        lock.close()


def keeper(renewals: dict[str, Callable[[], bool]], logger: Any) -> Callable[[], None]:
    """What makes again, in this order, whatever of the directory was deleted under a running daemon; never raises.

    *renewals*: by what they renew, True where that was needed.
    """
    failing = False

    def keep() -> None:
        nonlocal failing
        try:
            renewed = [what for what, renew in renewals.items() if renew()]
        except ClipwatchError as error:
            if not failing:
                logger.warning("state.lost", reason=error.message, hint=error.hint)
            failing = True
            return
        failing = False
        if renewed:
            logger.warning("state.renewed", what=renewed, message=f"Made again: {', '.join(renewed)}.")

    return keep


def is_stopped(pid: int) -> bool:
    """Whether the process is stopped, by SIGSTOP, a terminal or a debugger."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[:1]
    except OSError:
        return False
    return state in ([b"T"], [b"t"])


def _cure(pid: str) -> str:
    """What to do about another process that holds the state directory."""
    if pid.isdecimal() and is_stopped(int(pid)):
        go_on, end = f"`kill -CONT {pid}`", f"`kill -KILL {pid}`"
        return f"It is stopped: let it go on with {go_on}, or end it with {end}, which loses nothing."
    return "Stop it first, or give this one its own state.path."
