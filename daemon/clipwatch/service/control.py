"""The control socket: how the other commands ask a running daemon.

A Unix socket in the state directory, mode 0600. One request a connection: a JSON object on a line; the
answer is lines `{"item": …}`, ended by `{"result": …}` or `{"error": {"message", "hint", "status"}}`. `ping` is
answered at once, so that whoever waits for another answer finds out whether the daemon is alive.
Bytes in a request, as of a picture, are `{"attached": [start, end]}` of a file whose descriptor comes with the line.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Final

from clipwatch.errors import ClipwatchError
from clipwatch.service.state import unusable

SOCKET_NAME: Final = "control.sock"
LINE_BYTES: Final = 4 * 1024 * 1024
"""Above what a command line can hold."""
PIECE_BYTES: Final = 65536
_IDLE_SECONDS: Final = 3600.0
"""For whoever connected and does not read."""
PAUSE_SECONDS: Final = 0.1
"""Before another try, where descriptors or threads have run out."""

Answer = Generator[dict[str, Any], None, dict[str, Any]]
"""Items, then the result."""
Handler = Callable[[dict[str, Any]], Answer]


@contextlib.contextmanager
def short_path(directory: Path) -> Iterator[str]:
    """An address of the socket that fits into `sun_path` (108 bytes) however deep the directory lies."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


class ControlServer:
    """Answers on the control socket, each connection on a thread of its own."""

    def __init__(self, state: Path, handlers: dict[str, Handler], logger: Any) -> None:
        """Listen; the caller holds the state directory, so that a socket found there is a dead one's."""
        self._handlers, self._logger = handlers, logger
        self._state, self._file = state, state / SOCKET_NAME
        self._closed = threading.Event()
        self._listen()

    def renew(self) -> bool:
        """Listen anew where the socket's name is gone, or nobody accepts; True where that was needed."""
        if self._thread.is_alive() and self._is_there():
            return False
        dead = self._socket
        self._listen()
        _end(dead)
        return True

    def _listen(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(listener.fileno(), 0o600)  # before there is a name that others could use
            with short_path(self._state) as address:
                self._file.unlink(missing_ok=True)
                listener.bind(address)
            listener.listen(128)
        except OSError as error:
            listener.close()
            raise unusable(self._state, error) from error
        self._socket, self._identity = listener, self._found()
        self._thread = threading.Thread(target=self._accept, args=(listener,), name="control", daemon=True)
        self._thread.start()

    def _is_there(self) -> bool:
        return self._identity is not None and self._identity == self._found()

    def _found(self) -> tuple[int, int] | None:
        try:
            status = self._file.lstat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _accept(self, listener: socket.socket) -> None:
        failing = False
        while True:
            try:
                connection, _ = listener.accept()
                answering = threading.Thread(target=self._serve, args=(connection,), name="control-answer", daemon=True)
                try:
                    answering.start()
                except BaseException:
                    connection.close()
                    raise
                failing = False
            except (OSError, RuntimeError, MemoryError) as error:
                if listener.fileno() < 0 or self._closed.is_set():
                    return
                if not failing:
                    self._logger.warning("control.overloaded", reason=str(error))
                failing = True
                self._closed.wait(PAUSE_SECONDS)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_IDLE_SECONDS)
            try:
                request = _received(connection)
                handler = _pong if request["command"] == "ping" else self._handlers[request["command"]]
            except (ValueError, LookupError, TypeError):
                _send(connection, _error("The daemon does not know this request.", status=2))
                return
            try:
                answer = handler(request)
                while True:
                    try:
                        _send(connection, {"item": next(answer)})
                    except StopIteration as end:
                        _send(connection, {"result": end.value})
                        return
            except ClipwatchError as error:
                _send(connection, _error(error.message, error.hint, error.exit_status))
            except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
                if isinstance(error, OSError):
                    raise
                self._logger.error("control.failed", command=request["command"], exc_info=True)
                _send(connection, _error(f"The daemon failed: {error}."))

    def close(self) -> None:
        """Stop answering."""
        self._closed.set()
        if self._is_there():
            with contextlib.suppress(OSError):  # the next one takes the name over, as it does after a kill
                self._file.unlink(missing_ok=True)
        _end(self._socket)


def _pong(_request: dict[str, Any]) -> Answer:
    yield from ()
    return {}


def _end(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def _error(message: str, hint: str = "", status: int = 1) -> dict[str, Any]:
    return {"error": {"message": message, "hint": hint, "status": status}}


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _received(connection: socket.socket) -> dict[str, Any]:
    """The request, with the bytes that are attached to it. Raises `ValueError` for what is none."""
    line, files = bytearray(), list[int]()
    try:
        while not line.endswith(b"\n") and len(line) < LINE_BYTES:
            piece, sent, _, _ = socket.recv_fds(connection, PIECE_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
            files += sent
            if not piece:
                break
            line += piece

        def attached(value: dict[str, Any]) -> Any:
            if "attached" not in value:
                return value
            start, end = value["attached"]
            return os.pread(files[0], end - start, start)

        request = json.loads(line, object_hook=attached)
    finally:
        for file in files:
            os.close(file)
    if not isinstance(request, dict):
        raise ValueError("a request is an object")  # noqa: TRY004 - as for any other nonsense
    return request
