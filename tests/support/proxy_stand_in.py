"""A proxy on loopback, as `http_proxy` names one: it keeps what it was asked for, and leads everything to one port."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class ProxyStandIn:
    """Takes `CONNECT host:port` and absolute addresses; *upstream*: the port of 127.0.0.1 that every host leads to.

    Without one it answers 502. A context manager.
    """

    def __init__(self, upstream: int | None = None) -> None:
        self.asked: list[str] = []
        """The first line of every request that opened a connection: method and target."""
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._start(self._accept)

    @property
    def url(self) -> str:
        """What the variable holds."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(65536)
                if not piece:
                    return
                head += piece
            line, _, rest = head.partition(b"\r\n")
            method, target, version = line.decode("latin-1").split(" ")
            self.asked.append(f"{method} {target}")
            if self._upstream is None:
                connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", self._upstream)) as upstream:
                self._open.append(upstream)
                first_line = b""
                if method == "CONNECT":
                    connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:  # one request a connection, so that each is seen: both sides are told
                    path = "/" + target.split("/", 3)[3]
                    rest = _CLOSE + rest.replace(b"Connection: keep-alive\r\n", b"")
                    upstream.sendall(f"{method} {path} {version}\r\n".encode("latin-1") + rest)
                    first_line = b"\r\n"
                self._start(_pump, upstream, connection, first_line)
                _pump(connection, upstream)


_CLOSE = b"Connection: close\r\n"


def _pump(source: socket.socket, sink: socket.socket, first_line: bytes = b"") -> None:
    """To the end of *source*; `_CLOSE` is put after what ends with *first_line*."""
    with contextlib.suppress(OSError):
        piece = b""
        while first_line and first_line not in piece:
            more = source.recv(65536)
            if not more:
                return
            piece += more
        if first_line:
            sink.sendall(piece.replace(first_line, first_line + _CLOSE, 1))
        while piece := source.recv(65536):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
