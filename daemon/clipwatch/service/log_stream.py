"""Where log lines go. Their end may break, fill up or stand still: that costs lines, and never keeps the program.

A thread of its own writes, since no write to a pipe, a terminal or a network disk is sure to return. Whoever logs waits
until the line is written, so that a line is out before the program goes on, or dies; but no longer than
`PATIENCE_SECONDS`, and not at all while earlier lines still wait.
"""

from __future__ import annotations

import atexit
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TextIO

PATIENCE_SECONDS: Final = 0.25
END_SECONDS: Final = 1.0
"""How long lines that still wait hold up the end of the program."""

QUEUE_BYTES: Final = 4 << 20
"""Some 20,000 lines. What comes while more than this waits is lost."""


class LogStream:
    """Lines onto *stream*; a logger as structlog wraps it. Nothing that it is called for raises."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._descriptor = stream, _descriptor(stream)
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._given = self._done = 0
        self._stalled = False
        self._torn = False
        self._writer: threading.Thread | None = None
        self._untold = 0
        self.lost = 0
        """Lines that could not be written so far."""
        self.trouble = ""
        """Why the last line was not written, or has not been yet; "" while all is well."""
        self.on_recovered: Callable[[int, str], None] = lambda _lines, _reason: None
        """Called when lines can be written again: how many were lost, and why."""

    def describe(self) -> dict[str, Any]:
        """For `status`."""
        return {"lost": self.lost, "trouble": self.trouble}

    def msg(self, line: str) -> None:
        """Write one line, or count it as lost."""
        data = (line + "\n").encode("utf-8", "backslashreplace")
        if self._descriptor is None:
            with self._changed:
                reason = self._try(lambda: self._write_text(line + "\n"))
            self._take_answer(reason)
            return
        with self._changed:
            if self._queued_bytes + len(data) > QUEUE_BYTES:
                self._lose("It stands still.")
                return
            try:
                self._start_writer()
            except RuntimeError as error:  # no more threads can be had
                self._lose(str(error))
                return
            self._queue.append(data)
            self._queued_bytes += len(data)
            self._given += 1
            self._changed.notify_all()
            if not self._stalled and threading.current_thread() is not self._writer:
                self._wait(self._given, PATIENCE_SECONDS)

    debug = info = warning = error = critical = exception = fatal = log = msg

    def flush(self, seconds: float = END_SECONDS) -> None:
        """Wait until every line is written, at most so long."""
        with self._changed:
            self._wait(self._given, seconds)

    def _wait(self, number: int, seconds: float) -> None:
        if not self._changed.wait_for(lambda: self._done >= number, seconds):
            self._stalled = True
            self.trouble = "It stands still."

    def _start_writer(self) -> None:
        if self._writer is None:
            writer = threading.Thread(target=self._run, name="log", daemon=True)
            writer.start()
            self._writer = writer
            atexit.register(self.flush)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue)
                data = self._queue[0]
            reason = self._try(lambda: self._write(data))  # noqa: B023 - called at once
            with self._changed:
                self._queue.popleft()
                self._queued_bytes -= len(data)
                self._done += 1
                self._stalled = self._stalled and bool(self._queue)
                self._changed.notify_all()
            self._take_answer(reason)

    def _try(self, write: Callable[[], None]) -> str:
        """Why it failed; "" where it did not."""
        try:
            write()
        except OSError as error:
            return error.strerror or str(error)
        except ValueError as error:  # it was closed
            return str(error)
        return ""

    def _take_answer(self, reason: str) -> None:
        with self._changed:
            if reason:
                self._lose(reason)
                return
            if self._stalled:
                return
            (lines, self._untold), (why, self.trouble) = (self._untold, 0), (self.trouble, "")
        if lines:
            self.on_recovered(lines, why)

    def _lose(self, reason: str) -> None:
        self.lost += 1
        self._untold += 1
        self.trouble = reason

    def _write_text(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def _write(self, data: bytes) -> None:
        assert self._descriptor is not None  # noqa: S101 - the caller's branch
        if self._torn:
            # Some bytes of a line that was lost are there: end that line.
            data = b"\n" + data
        while data:
            try:
                written = os.write(self._descriptor, data)
            except BlockingIOError:
                # Whoever gave us this descriptor does not want to be blocked by it; we have the time.
                select.select([], [self._descriptor], [])
                continue
            self._torn = written < len(data)
            data = data[written:]


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
