"""An HTTP proxy that fails on command, between a store's client and the engine's Unix socket.

    with FaultyProxy(engine.socket_path) as proxy:
        store = store_at(proxy.url)                    # or store_on(proxy.socket_path), where made with `socket=`
        proxy.fail(Answer(503), times=3)               # the next three requests
        proxy.fail(LoseAnswer(), when=writes, after=1) # the second write: done, and nobody told
        proxy.on_request = lambda request: ...         # called with each request before anything happens to it

Faults are tried in the order in which they were added; the first whose `when` matches and whose turn has
come is used up by that request. One request a connection, so that counting is exact. `requests` has all.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Request:
    """One request; *path* is *target* without its query. *number* counts from 1."""

    number: int
    method: str
    path: str
    target: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset before the engine hears of the request."""


@dataclass(frozen=True, slots=True)
class CutAnswer:
    """The engine does its work; its answer breaks off after *share* of the body."""

    share: float = 0.5


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """The engine does its work; the connection is reset instead of an answer."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing happens until `release` or `close`; then the connection is reset. *forward*: the engine did its work."""

    forward: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the proxy's own; the engine hears nothing unless *forward*."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    forward: bool = False


@dataclass(frozen=True, slots=True)
class Drip:
    """The engine's answer comes a byte every *seconds*."""

    seconds: float


_Socket = socket.socket
Fault = Reset | CutAnswer | LoseAnswer | Hang | Answer | Drip


def refusal(status: int, words: str, *headers: tuple[str, str]) -> Answer:
    """An error as Qdrant words it."""
    body = b'{"status":{"error":"%s"},"time":0.0}' % words.replace('"', '\\"').encode()
    return Answer(status, body, (("Content-Type", "application/json"), *headers))


def too_many(retry_after: str) -> Answer:
    return refusal(429, "Rate limiting exceeded", ("Retry-After", retry_after))


def any_request(request: Request) -> bool:
    return True


def writes(request: Request) -> bool:
    """Requests that change points: upsert, payload, delete, batch."""
    return (request.method == "PUT" and request.path.endswith("/points")) or (
        request.path.endswith(("/points/delete", "/points/batch", "/points/payload"))
    )


def reads(request: Request) -> bool:
    return not writes(request)


@dataclass(slots=True)
class _Order:
    fault: Fault
    when: Callable[[Request], bool]
    after: int
    times: int | None


class FaultyProxy:
    """Listens on 127.0.0.1 (`url`), or on the Unix socket *socket* (`socket_path`). A context manager."""

    def __init__(self, upstream: Path, *, socket: Path | None = None, timeout_seconds: float = 60) -> None:
        self.requests: list[Request] = []
        self.on_request: Callable[[Request], None] | None = None
        self.change_body: Callable[[Request], bytes] | None = None
        """What the engine is given instead of a request's own body."""
        self.socket_path = socket
        self._upstream = upstream
        self._timeout_seconds = timeout_seconds
        self._orders: list[_Order] = []
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._stopping = threading.Event()
        self._port = 0
        self._listener = self._listen()
        self._open: set[_Socket] = set()
        self._threads: list[threading.Thread] = []
        self._accepting = self._start_accepting()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def fail(
        self,
        fault: Fault,
        *,
        when: Callable[[Request], bool] = any_request,
        after: int = 0,
        times: int | None = 1,
    ) -> None:
        """Use *fault* for *times* (None: all) requests that match *when*, past the first *after* of them."""
        with self._lock:
            self._orders.append(_Order(fault, when, after, times))

    def heal(self) -> None:
        """Forget every fault, and let what hangs go."""
        with self._lock:
            self._orders.clear()
        self.release()

    def release(self) -> None:
        """Let what hangs now end."""
        with self._lock:
            released, self._released = self._released, threading.Event()
        released.set()

    def go_down(self) -> None:
        """Connections are refused until `come_up`."""
        self._stop_accepting()

    def come_up(self) -> None:
        self._stopping.clear()
        self._listener = self._listen()
        self._accepting = self._start_accepting()

    def close(self) -> None:
        self._stop_accepting()
        self.heal()
        with self._lock:
            open_now = list(self._open)
        for connection in open_now:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        if self.socket_path is not None:
            self.socket_path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _listen(self) -> _Socket:
        if self.socket_path is not None:
            self.socket_path.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self.socket_path))
        else:
            listener = socket.socket(socket.AF_INET)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self._port))
            self._port = listener.getsockname()[1]
        listener.listen(64)
        return listener

    def _start_accepting(self) -> threading.Thread:
        thread = threading.Thread(target=self._accept, name="faulty-proxy", daemon=True)
        thread.start()
        return thread

    def _stop_accepting(self) -> None:
        if not self._stopping.is_set():
            self._stopping.set()
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._accepting.join(10)
            self._listener.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), name="faulty-proxy-request", daemon=True)
            with self._lock:
                self._open.add(connection)
                self._threads = [t for t in self._threads if t.is_alive()] + [thread]
            thread.start()

    def _serve(self, connection: _Socket) -> None:
        try:
            connection.settimeout(self._timeout_seconds)
            request = self._read(connection)
            if request is not None:
                if self.on_request is not None:
                    self.on_request(request)
                self._answer(connection, request, self._take(request))
        except (OSError, http.client.HTTPException):
            _reset(connection)  # The engine, or the client, is gone: what the other sees then.
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _read(self, connection: _Socket) -> Request | None:
        with connection.makefile("rb") as stream:
            line = stream.readline().decode("latin-1").split()
            if len(line) < 2:
                return None
            headers = http.client.parse_headers(stream)
            body = stream.read(int(headers.get("Content-Length", "0")))
        with self._lock:
            names = {name.lower(): value for name, value in headers.items()}
            request = Request(len(self.requests) + 1, line[0], line[1].partition("?")[0], line[1], body, names)
            self.requests.append(request)
        return request

    def _take(self, request: Request) -> Fault | None:
        with self._lock:
            for order in self._orders:
                if order.when(request):
                    if order.after > 0:
                        order.after -= 1
                        continue
                    if order.times is not None:
                        order.times -= 1
                        if order.times == 0:
                            self._orders.remove(order)
                    return order.fault
        return None

    def _answer(self, connection: _Socket, request: Request, fault: Fault | None) -> None:
        if isinstance(fault, Reset):
            _reset(connection)
            return
        answer = b"" if isinstance(fault, (Answer, Hang)) and not fault.forward else self._forward(request)
        if isinstance(fault, Answer):
            connection.sendall(_message(fault.status, fault.headers, fault.body))
        elif isinstance(fault, Hang):
            self._released.wait(self._timeout_seconds)
            _reset(connection)
        elif isinstance(fault, LoseAnswer):
            _reset(connection)
        elif isinstance(fault, CutAnswer):
            head, _, body = answer.partition(b"\r\n\r\n")
            connection.sendall(head + b"\r\n\r\n" + body[: int(len(body) * fault.share)])
        elif isinstance(fault, Drip):
            released = self._released
            for byte in answer:
                connection.sendall(bytes([byte]))
                if released.wait(fault.seconds):
                    return
        else:
            connection.sendall(answer)

    def forward(self, request: Request) -> bytes:
        """What the engine answers to *request*; nobody is told."""
        return self._forward(request)

    def _forward(self, request: Request) -> bytes:
        upstream = _UnixConnection(self._upstream, self._timeout_seconds)
        try:
            headers = {k: v for k, v in request.headers.items() if k not in ("connection", "host")}
            body = request.body if self.change_body is None else self.change_body(request)
            headers.pop("content-length", None)
            upstream.request(request.method, request.target, body or None, headers)
            response = upstream.getresponse()
            content_type = response.headers.get("Content-Type", "application/json")
            return _message(response.status, (("Content-Type", content_type),), response.read())
        finally:
            upstream.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _message(status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> bytes:
    reason = http.client.responses.get(status, "")
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def _reset(connection: _Socket) -> None:
    # Closing with a linger of nothing sends RST; on a Unix socket the peer sees an end without an answer.
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
