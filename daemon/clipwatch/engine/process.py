"""The engine as the daemon sees it: a child process with a socket, started, watched and started again."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO, Any, Final, Protocol

from clipwatch.deaths import Kills, grown, oom_kills
from clipwatch.errors import ClipwatchError, ConfigError, LockHeld, StoreUnavailable

API_KEY_VARIABLE: Final = "CLIPWATCH_ENGINE_API_KEY"
_SOCKET_PATH_BYTES: Final = 107
_START_SECONDS: Final = 60.0
_END_SECONDS: Final = 8.0
_CLOSE_SECONDS: Final = 3.0
"""A program that was told to end within ten seconds waits for this too; a kill loses nothing acknowledged."""
_GUARD_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 0.1
"""How often a start looks whether it is still wanted."""
_PING_SECONDS: Final = 2.0
_DYING_SECONDS: Final = 1.0
"""A killed process closes its socket a moment before it can be waited for."""
_ERRORS: Final[dict[int, type[ClipwatchError]]] = {2: ConfigError, 4: LockHeld}


class Logger(Protocol):
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_PING_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PING_SECONDS)
        self.sock.connect(str(self._path))


def _short_temporary(name: str) -> str:
    """A directory for temporary files in which a socket called *name* has a path that is short enough."""
    there = tempfile.gettempdir()
    candidates = [there, *(base for base in ("/tmp", "/dev/shm") if os.access(base, os.W_OK | os.X_OK))]  # noqa: S108
    made = "/clipwatch-" + "x" * 8 + "/" + name  # as `mkdtemp` will call it
    return next((base for base in candidates if len(os.fsencode(base + made)) <= _SOCKET_PATH_BYTES), there)


def _no_directory(error: OSError) -> ClipwatchError:
    message = f"No directory for the embedded store's socket could be made: {error}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreUnavailable(message, hint="Free some space on its disk.")
    return ConfigError(message, hint="Check the permissions of state.path, or of store.url's parent directory.")


def _ends_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _how_it_ended(status: int, out_of_memory_in: str) -> str:
    """*out_of_memory_in*: the control group in which the kernel has killed meanwhile, "" where it has not."""
    if status == -signal.SIGKILL and out_of_memory_in:
        return f"The kernel ended it for want of memory (oom_kill of the control group {out_of_memory_in})."
    return f"It ended with status {status}." if status >= 0 else f"Signal {-status} ended it."


class Engine:
    """One embedded store. Its death is never more than `StoreUnavailable` for whoever talks to it.

    *runtime*: where the socket goes (default: `<directory>.run`, or a private directory in the
    system's temporary one where that path would be too long). *listen*: "host:port" for others, who then
    need *api_key*. *lock_wait_seconds*: how long to wait for an orphan of a killed daemon to let go.
    *hung_seconds*: without an answer for this long, `ensure_running` starts a new process; replaying
    or vacuuming a large collection holds every answer back, so it must be generous.
    *reserve_bytes*: kept free on the disk, None for the engine's own choice. *idle_seconds*: without a
    request before deleted points are vacuumed. *stop*: once it is set, no start is waited for. Safe to use from
    several threads.
    """

    def __init__(
        self,
        directory: Path,
        *,
        logger: Logger,
        runtime: Path | None = None,
        listen: str = "",
        api_key: str = "",
        lock_wait_seconds: float = 10.0,
        hung_seconds: float = 120.0,
        reserve_bytes: int | None = None,
        idle_seconds: float = 5.0,
        stop: threading.Event | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.listen_address = ""
        """Where TCP is really answered (the port chosen for ":0"); valid after start."""
        self._logger = logger
        self._runtime = runtime
        self._listen = listen
        self._api_key = api_key
        self._lock_wait_seconds = lock_wait_seconds
        self._hung_seconds = hung_seconds
        self._options = ["--idle", str(idle_seconds)]
        if reserve_bytes is not None:
            self._options += ["--reserve", str(reserve_bytes)]
        self._stop = stop or threading.Event()
        self._guard = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._launched: tuple[subprocess.Popen[bytes], float] | None = None
        """One that has not answered yet, and since when it lives."""
        self._output: threading.Thread | None = None
        self._oom_kills: Kills = {}
        self._last_lines: deque[str] = deque(maxlen=20)
        self._socket_path: Path | None = None
        self._temporary: Path | None = None
        self._silent_since: float | None = None
        self._closed = False

    @property
    def socket_path(self) -> Path:
        """Fixed for the life of this object, also across restarts; valid after start."""
        if self._socket_path is None:
            raise StoreUnavailable("The embedded store has not been started.")
        return self._socket_path

    @property
    def pid(self) -> int | None:
        """The running process, or None."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def launch(self) -> None:
        """Spawn it where none runs, and wait for nothing; for who has something to do until `start`.

        Raises `ConfigError` or `StoreUnavailable`.
        """
        with self._guard:
            if self.pid is not None or self._launched is not None:
                return
            self._give_up()
            self._closed = False
            if self._socket_path is None:
                self._socket_path = self._choose_socket_path()
            self._make_directory(self._socket_path.parent)
            since = time.monotonic()
            self._launched = self._spawn(), since

    def start(self) -> None:
        """Return when the engine answers. Raises `LockHeld`, `ConfigError` or `StoreUnavailable`."""
        with self._guard:
            self.launch()
            if self._launched is None:
                return
            process, since = self._launched
            try:
                told = self._first_line(process)
            except BaseException:
                self._kill(process)
                raise
            finally:
                self._launched = None
            self.listen_address = str(told.get("listen", ""))
            self._process = process
            self._silent_since = None
            self._logger.info("engine.started", pid=process.pid, seconds=round(time.monotonic() - since, 3))

    def _choose_socket_path(self) -> Path:
        """Two stores may share *runtime*, so the name tells which one it is."""
        name = f"engine-{hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:8]}.sock"
        chosen = self._runtime or self.directory.with_name(self.directory.name + ".run")
        if len(os.fsencode(chosen.absolute() / name)) <= _SOCKET_PATH_BYTES:
            return chosen.absolute() / name
        try:
            self._temporary = Path(tempfile.mkdtemp(prefix="clipwatch-", dir=_short_temporary(name)))
        except OSError as error:
            raise _no_directory(error) from error
        return self._temporary / name

    def _make_directory(self, directory: Path) -> None:
        """Again at each start: somebody may have deleted it, or cleaned the system's temporary one."""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if directory == self._temporary and directory.stat().st_uid != os.geteuid():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(directory))
        except OSError as error:
            raise _no_directory(error) from error

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "clipwatch.engine", str(self.directory)]
        command += ["--socket", str(self.socket_path), "--lock-wait", str(self._lock_wait_seconds), *self._options]
        environment = dict(os.environ)
        environment.pop(API_KEY_VARIABLE, None)
        if self._listen:
            command += ["--listen", self._listen]
            environment[API_KEY_VARIABLE] = self._api_key
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
            )
        except OSError as error:
            raise StoreUnavailable(f"The embedded store could not be started: {error}.") from error
        self._oom_kills = oom_kills()
        self._last_lines = deque(maxlen=20)
        assert process.stderr is not None  # noqa: S101 - PIPE above
        self._output = threading.Thread(
            target=self._pump, args=(process.stderr, self._last_lines), name="engine-output", daemon=True
        )
        self._output.start()
        return process

    def _pump(self, stream: IO[bytes], last_lines: deque[str]) -> None:
        """Nothing the engine says is lost, a Rust panic least of all."""
        with stream:
            for raw in stream:
                line = raw.decode("utf-8", "replace").rstrip()
                last_lines.append(line)
                self._logger.warning("engine.output", line=line)

    def _first_line(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        assert process.stdout is not None  # noqa: S101 - PIPE in _spawn
        limit_seconds = self._lock_wait_seconds + _START_SECONDS
        readable = self._readable(process.stdout, limit_seconds)
        line = process.stdout.readline() if readable else b""
        if line:
            return dict(json.loads(line))
        if readable:
            status = process.wait(_END_SECONDS)
            if self._output is not None:
                self._output.join(_END_SECONDS)
            words = self._last_lines[-1] if self._last_lines else f"The embedded store ended with status {status}."
            raise _ERRORS.get(status, StoreUnavailable)(words)
        if self._stop.is_set():
            raise StoreUnavailable("The embedded store is not started any more: the end was asked for.")
        raise StoreUnavailable(f"The embedded store did not answer within {limit_seconds:g} seconds of its start.")

    def _readable(self, stream: IO[bytes], limit_seconds: float) -> bool:
        deadline = time.monotonic() + limit_seconds
        while not self._stop.is_set() and time.monotonic() < deadline:
            if select.select([stream], [], [], _LOOK_SECONDS)[0]:
                return True
        return False

    def ensure_running(self) -> bool:
        """Start a new process where the old one is dead or hung; True where that was needed.

        Raises as `start` does. Returns soon: a hung process is only given up after `hung_seconds`
        of calls that got no answer.
        """
        with self._guard:
            if self._closed:
                return False
            process = self._process
            if process is not None and process.poll() is None:
                if self._answers():
                    self._silent_since = None
                    return False
                if not self.socket_path.exists():
                    # It is well, but nobody can reach it any more.
                    self._logger.warning("engine.socket_lost", pid=process.pid)
                    self._process = None
                    self._end(process)
                    self.start()
                    return True
                now = time.monotonic()
                self._silent_since = self._silent_since or now
                if now - self._silent_since < self._hung_seconds and not _ends_within(process, _DYING_SECONDS):
                    return False
            self._give_up()
            self.start()
            return True

    def _answers(self) -> bool:
        connection = _UnixConnection(self.socket_path)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _give_up(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            hung = process.poll() is None
            self._kill(process)
            status = process.returncode
            message = (
                "It did not answer, and was killed."
                if hung
                else _how_it_ended(status, grown(self._oom_kills, oom_kills()))
            )
            self._logger.warning("engine.died", pid=process.pid, status=status, hung=hung, message=message)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self._let_go(process)

    def _let_go(self, process: subprocess.Popen[bytes]) -> None:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        if self._output is not None:
            self._output.join(_END_SECONDS)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None  # noqa: S101 - PIPE in _spawn
        process.stdin.close()
        if not _ends_within(process, _CLOSE_SECONDS):
            self._logger.warning("engine.killed", pid=process.pid)
        self._kill(process)

    def close(self) -> None:
        """End the process cleanly: its pipe closes, it flushes and goes; killed after 3 s. May be repeated."""
        self._closed = True
        # Whoever asks a hung process whether it lives may hold the guard for longer than there is time at an end.
        guarded = self._guard.acquire(timeout=_GUARD_SECONDS)
        try:
            process, self._process = self._process, None
            launched, self._launched = self._launched, None
            if process is not None:
                self._end(process)
            if launched is not None:
                self._kill(launched[0])
            if self._temporary is not None:
                shutil.rmtree(self._temporary, ignore_errors=True)
                self._temporary = self._socket_path = None
        finally:
            if guarded:
                self._guard.release()
