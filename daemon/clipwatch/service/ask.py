"""The other end of the control socket: a question to the running daemon, and how long its answer is waited for.

A daemon that is stopped, or hangs whole, keeps its socket: connecting succeeds, and nothing is ever answered. So while
there is silence it is asked by `ping`, on another connection, whether it is alive; any answer, an old version's "I do
not know this request" too, says that it is.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from clipwatch.errors import ClipwatchError
from clipwatch.service.control import PAUSE_SECONDS, PIECE_BYTES, Answer, short_path
from clipwatch.service.state import LOCK_NAME, is_stopped

_LOOK_SECONDS: Final = 1.0
"""After so much silence a daemon is asked whether it is alive."""
_PING_SECONDS: Final = 2.0
SILENT_SECONDS: Final = 3.0
"""For a daemon that has said nothing yet, or is stopped: people are told within five."""
BUSY_SECONDS: Final = 30.0
"""For one that has begun to answer and is not known to be stopped: its machine may be overloaded."""


def _send_request(connection: socket.socket, request: dict[str, Any]) -> None:
    descriptor = os.memfd_create("attached", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:

        def attach(value: Any) -> dict[str, list[int]]:
            start = file.tell()
            file.write(value)
            return {"attached": [start, file.tell()]}

        line = json.dumps(request, default=attach).encode() + b"\n"
        file.flush()
        sent = socket.send_fds(connection, [line], [descriptor])
        if sent < len(line):
            connection.sendall(line[sent:])


class RemoteError(ClipwatchError):
    """What the daemon answered instead of a result; *status* is the exit status it stands for."""

    def __init__(self, message: str, *, hint: str, status: int) -> None:
        super().__init__(message, hint=hint)
        self.status = status


def ask(state: Path, request: dict[str, Any], timeout_seconds: float | None = None) -> Answer | None:
    """Ask the daemon; None where none is running. Iterating raises `RemoteError`.

    *timeout_seconds*: for each part of the answer; None waits as long as the daemon lives. One that is there
    but does not live is given up after `SILENT_SECONDS`.
    """
    try:
        connection = _connected(state, SILENT_SECONDS)
    except PermissionError as error:
        raise RemoteError(
            f"The daemon's control socket below {state} may not be used by this user.",
            hint=f"Run the command as the daemon's user{_owner_of(state)}.",
            status=1,
        ) from error
    except (BlockingIOError, TimeoutError) as error:
        raise _silent(state) from error
    if connection is None:
        return None
    return _converse(connection, request, _Patience(state, _peer_of(connection), timeout_seconds))


def _connected(state: Path, seconds: float) -> socket.socket | None:
    """None where nobody listens. Raises OSError; one whose queue stays full is `BlockingIOError`."""
    deadline = time.monotonic() + seconds
    never = threading.Event()
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(seconds)
        try:
            with short_path(state) as address:
                connection.connect(address)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            connection.close()
            return None
        except BlockingIOError:
            connection.close()
            if time.monotonic() >= deadline:
                raise
            never.wait(PAUSE_SECONDS)
        except BaseException:
            connection.close()
            raise
        else:
            return connection


def _peer_of(connection: socket.socket) -> int:
    """The process that listens; 0 where it is in another namespace."""
    peer = struct.Struct("3i")
    return int(peer.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, peer.size))[0])


class _Patience:
    """How long one conversation goes on with a daemon that says nothing."""

    def __init__(self, state: Path, pid: int, timeout_seconds: float | None) -> None:
        self._state, self._pid, self._timeout_seconds = state, pid, timeout_seconds
        self._told = self._alive = time.monotonic()
        self._limit = SILENT_SECONDS

    def heard(self) -> None:
        """A part of the answer has come."""
        self._told = self._alive = time.monotonic()
        self._limit = BUSY_SECONDS

    def silent(self) -> None:
        """Nothing has come for `_LOOK_SECONDS`; raises `RemoteError` when it is time to give up."""
        if self._timeout_seconds is not None and time.monotonic() - self._told >= self._timeout_seconds:
            raise self.end()
        left = SILENT_SECONDS - (time.monotonic() - self._alive)
        if left > 0 and self._answers(min(_PING_SECONDS, left)):
            self._alive, self._limit = time.monotonic(), BUSY_SECONDS
            return
        silence = time.monotonic() - self._alive
        if silence >= (SILENT_SECONDS if is_stopped(self._pid) else self._limit):
            raise self.end()

    def end(self) -> RemoteError:
        """What is said then."""
        return _silent(self._state, self._pid)

    def _answers(self, seconds: float) -> bool:
        try:
            connection = _connected(self._state, seconds)
            if connection is None:
                return True  # it has ended, which the conversation itself will tell
            with connection:
                connection.settimeout(seconds)
                connection.sendall(b'{"command": "ping"}\n')
                connection.recv(1)
        except (BlockingIOError, TimeoutError):
            return False
        except OSError:
            return True
        return True


def _owner_of(state: Path) -> str:
    try:
        return f", with `sudo -u {pwd.getpwuid(state.stat().st_uid).pw_name}`"
    except (OSError, KeyError):
        return ""


def _holder_of(state: Path) -> int:
    """The process that holds the state directory, by its own word; 0 where that is not known."""
    try:
        return int((state / LOCK_NAME).read_bytes()[:32])
    except (OSError, ValueError):
        return 0


def _silent(state: Path, pid: int = 0) -> RemoteError:
    pid = pid or _holder_of(state)
    who = f"The daemon (pid {pid})" if pid else "The daemon"
    if pid and is_stopped(pid):
        return RemoteError(
            f"{who} holds the lock of {state} and does not answer: it is stopped.",
            hint=f"Let it go on with `kill -CONT {pid}`; or end it with `kill -KILL {pid}`, which loses nothing, and "
            "start it again.",
            status=3,
        )
    end = f"`kill -KILL {pid}`, which loses nothing" if pid else "a signal, or its container"
    return RemoteError(
        f"{who} holds the lock of {state} and does not answer.",
        hint="Its machine may be overloaded, or its container paused: see its log, and try again; or end it with "
        f"{end}, and start it again.",
        status=3,
    )


def _converse(connection: socket.socket, request: dict[str, Any], patience: _Patience) -> Answer:
    try:
        with connection:
            connection.settimeout(SILENT_SECONDS)
            _send_request(connection, request)
            connection.settimeout(_LOOK_SECONDS)
            for line in _lines(connection, patience):
                message = json.loads(line)
                if "item" in message:
                    yield message["item"]
                    patience.heard()  # whoever took the item may have taken his time
                elif "error" in message:
                    raise RemoteError(**message["error"])
                else:
                    result: dict[str, Any] = message["result"]
                    return result
    except TimeoutError as error:
        raise patience.end() from error
    except (OSError, ValueError) as error:
        raise RemoteError("The daemon stopped answering.", hint="Try again.", status=1) from error
    raise RemoteError("The daemon stopped before it had answered.", hint="Try again.", status=1)


def _lines(connection: socket.socket, patience: _Patience) -> Iterator[bytes]:
    begun: list[bytes] = []
    while True:
        try:
            piece = connection.recv(PIECE_BYTES)
        except TimeoutError:
            patience.silent()
            continue
        if not piece:
            return
        patience.heard()
        first, *others = piece.split(b"\n")
        begun.append(first)
        for other in others:
            yield b"".join(begun)
            begun = [other]
