"""The control socket: how the other commands ask a running daemon.

A Unix socket in the state directory, mode 0600. One request a connection: a JSON object on a line; the
answer is lines `{"item": …}`, ended by `{"result": …}` or `{"error": {"message", "hint", "status"}}`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Final

from clipwatch.errors import ClipwatchError

SOCKET_NAME: Final = "control.sock"
REQUEST_BYTES: Final = 64 * 1024 * 1024
"""A request may carry a picture."""

Answer = Generator[dict[str, Any], None, dict[str, Any]]
"""Items, then the result."""
Handler = Callable[[dict[str, Any]], Answer]


@contextlib.contextmanager
def _short_path(directory: Path) -> Iterator[str]:
    """An address of the socket that fits into `sun_path` (108 bytes) however deep the directory lies."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


class ControlServer:
    """Answers on the control socket, each connection on a thread of its own."""

    def __init__(self, state: Path, handlers: dict[str, Handler], logger: Any) -> None:
        """Bind; the caller holds the state directory's lock, so that a socket found there is a dead one's."""
        self._handlers, self._logger = handlers, logger
        self._file = state / SOCKET_NAME
        with contextlib.suppress(FileNotFoundError):
            self._file.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            with _short_path(state) as address:
                self._socket.bind(address)
        finally:
            os.umask(before)
        self._socket.listen(64)
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ECONNABORTED):
                    continue
                return
            threading.Thread(target=self._serve, args=(connection,), name="control-answer", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError), connection.makefile("rwb") as stream:
            connection.settimeout(3600)
            try:
                request = json.loads(stream.readline(REQUEST_BYTES))
                handler = self._handlers[request["command"]]
            except (ValueError, KeyError, TypeError):
                _send(stream, {"error": {"message": "The daemon does not know this request.", "hint": "", "status": 2}})
                return
            try:
                answer = handler(request)
                while True:
                    try:
                        _send(stream, {"item": next(answer)})
                    except StopIteration as end:
                        _send(stream, {"result": end.value})
                        return
            except ClipwatchError as error:
                status = error.exit_status
                _send(stream, {"error": {"message": error.message, "hint": error.hint, "status": status}})
            except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
                if isinstance(error, OSError):
                    raise
                self._logger.error("control.failed", command=request["command"], exc_info=True)
                _send(stream, {"error": {"message": f"The daemon failed: {error}.", "hint": "", "status": 1}})

    def close(self) -> None:
        """Stop answering."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with contextlib.suppress(OSError):
            self._file.unlink()


def _send(stream: Any, message: dict[str, Any]) -> None:
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


class RemoteError(ClipwatchError):
    """What the daemon answered instead of a result; *status* is the exit status it stands for."""

    def __init__(self, message: str, *, hint: str, status: int) -> None:
        super().__init__(message, hint=hint)
        self.status = status


def ask(state: Path, request: dict[str, Any], timeout_seconds: float | None = None) -> Answer | None:
    """Ask the daemon; None where none is running. Iterating raises `RemoteError`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short_path(state) as address:
            connection.connect(address)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        connection.close()
        return None
    except PermissionError as error:
        connection.close()
        raise RemoteError(
            f"The daemon's control socket below {state} may not be used by this user.",
            hint="Run the command as the daemon's user or as root.",
            status=1,
        ) from error
    connection.settimeout(timeout_seconds)
    return _converse(connection, request)


def _converse(connection: socket.socket, request: dict[str, Any]) -> Answer:
    try:
        with connection, connection.makefile("rwb") as stream:
            _send(stream, request)
            for line in stream:
                message = json.loads(line)
                if "item" in message:
                    yield message["item"]
                elif "error" in message:
                    raise RemoteError(**message["error"])
                else:
                    result: dict[str, Any] = message["result"]
                    return result
    except (OSError, ValueError) as error:
        raise RemoteError("The daemon stopped answering.", hint="Try again.", status=1) from error
    raise RemoteError("The daemon stopped before it had answered.", hint="Try again.", status=1)
