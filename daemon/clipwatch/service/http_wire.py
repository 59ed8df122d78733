"""Connections that may not hold us up, and calls that may not hold up the connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from clipwatch.errors import ClipwatchError, ConfigError

CONNECTIONS: Final = 128
"""More are hung up on: descriptors are for images."""

HEAD_SECONDS: Final = 10.0
BODY_SECONDS: Final = 120.0
"""For a whole body to arrive."""

UNREAD_SECONDS: Final = 30.0
"""For a client to read some of what waits for it."""

T = TypeVar("T")


class Busy(ClipwatchError):
    """Too much is being asked at once, or an answer takes too long."""


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with an end to its patience: slow heads, slow bodies and slow readers are cut off."""

    head_seconds = HEAD_SECONDS
    body_seconds = BODY_SECONDS
    unread_seconds = UNREAD_SECONDS

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._receiving: asyncio.TimerHandle | None = None
        self._receiving_body = False
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Hang up where there are too many; else the head has to come."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        else:
            self._time_receiving()

    def data_received(self, data: bytes) -> None:
        """Take *data*; time goes on for as long as the request is not whole."""
        self._unread = _cancelled(self._unread)
        super().data_received(data)
        self._time_receiving()

    def _time_receiving(self) -> None:
        state = self.conn.their_state
        if state not in (h11.IDLE, h11.SEND_BODY):
            self._receiving = _cancelled(self._receiving)
        elif self._receiving is None or self._receiving_body != (state is h11.SEND_BODY):
            self._receiving = _cancelled(self._receiving)
            self._receiving_body = state is h11.SEND_BODY
            seconds = self.body_seconds if self._receiving_body else self.head_seconds
            self._receiving = self.loop.call_later(seconds, self.transport.abort)

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        self._unread = _cancelled(self._unread)
        super().resume_writing()

    def on_response_complete(self) -> None:
        """The last of the answer must be read too."""
        super().on_response_complete()
        if self._unread is None and self.transport.get_write_buffer_size():
            self._unread = self.loop.call_later(self.unread_seconds, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._receiving = _cancelled(self._receiving)
        self._unread = _cancelled(self._unread)
        super().connection_lost(exc)


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if timer is not None:
        timer.cancel()
    return None


class Helpers:
    """Runs calls that may block, each on a daemon thread of its own: one that hangs keeps nothing from ending."""

    def __init__(self, name: str, *, most: int, wait_seconds: float, answer_seconds: float) -> None:
        """*most* at once; one more waits *wait_seconds* for its turn. An answer is waited for *answer_seconds*."""
        self._name = name
        self._turns = asyncio.Semaphore(most)
        self._wait_seconds, self._answer_seconds = wait_seconds, answer_seconds

    async def run(self, call: Callable[[], T], *, unwanted: Callable[[T], None] = lambda _: None) -> T:
        """What *call* returns or raises; `Busy` when that takes too long, and then *unwanted* gets the late result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def finish(outcome: Callable[[], T]) -> None:
            self._turns.release()
            try:
                result = outcome()
            except BaseException as error:  # noqa: BLE001 - raised where the answer is awaited
                if not future.done():
                    future.set_exception(error)
                return
            if future.done():
                unwanted(result)
            else:
                future.set_result(result)

        def work() -> None:
            outcome = _outcome(call)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(finish, outcome)

        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._turns.acquire()
        except TimeoutError as error:
            raise Busy("Too many requests at once.", hint="Try again in a moment.") from error
        try:
            threading.Thread(target=work, name=self._name, daemon=True).start()
        except RuntimeError as error:
            self._turns.release()
            raise Busy("No thread can be started.", hint="Try again in a moment.") from error
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await future
        except TimeoutError as error:
            raise Busy("The answer takes too long.", hint="Try again, and see `clipwatch status`.") from error


def _outcome(call: Callable[[], T]) -> Callable[[], T]:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - handed over whole

        def fail(error: BaseException = error) -> T:
            raise error

        return fail
    return lambda: result


def bind(listen: str) -> socket.socket:
    """A listening socket on `host:port`; raises `ConfigError` saying why not."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address, family=family, backlog=CONNECTIONS)
    except (OSError, OverflowError) as error:
        # create_server appends the address in brackets, which the sentence names already
        reason = str(getattr(error, "strerror", None) or error).partition(" (")[0]
        raise ConfigError(
            f"http.listen {listen!r} cannot be listened on: {reason}.",
            hint="Choose a free port, or stop the program that has it.",
        ) from error
