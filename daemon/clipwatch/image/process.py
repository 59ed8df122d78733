"""One decode worker as its parent sees it: started, spoken to, and blamed for whatever goes wrong in between."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from clipwatch.errors import FileRejected, RejectReason
from clipwatch.image import protocol
from clipwatch.image.preprocess import Recipe
from clipwatch.image.protocol import Answer, Kind
from clipwatch.records import Pixels

START_SECONDS: Final = 30.0
"""For a worker to import Pillow and decode its samples; 0.15 s when nothing else runs."""

_ALLOCATOR: Final = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
"""glibc's: keep a picture's memory for the next one; asking the kernel anew costs a tenth of decoding (mallopt(3))."""


_OWN_SIGNALS: Final = frozenset(
    {
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGPROF,
        signal.SIGSEGV,
        signal.SIGSYS,
        signal.SIGTRAP,
        signal.SIGXCPU,
        signal.SIGXFSZ,
    }
)
"""What a decoder can bring on itself (signal(7)). Any other comes from outside: SIGKILL from a person or the kernel."""


class WorkerLost(Exception):
    """The worker was late, died or talked nonsense, and is gone; *status* says how it ended itself, if it did."""

    def __init__(self, *, late: bool = False, status: int | None = None) -> None:
        super().__init__("late" if late else f"status {status}")
        self.late = late
        self.status = status

    @property
    def killed_from_outside(self) -> bool:
        """Whether it died of a signal that says nothing against the picture in hand."""
        return self.status is not None and self.status < 0 and -self.status not in _OWN_SIGNALS

    def rejection(self, seconds: float) -> FileRejected:
        """What that means for the picture in hand."""
        if self.late or self.status == -signal.SIGPROF:
            return FileRejected(
                RejectReason.TIMEOUT, f"Decoding took longer than {seconds:g} s.", hint="Raise limits.decode_seconds."
            )
        if self.status is None:
            return FileRejected(RejectReason.CRASHED, "The decoder answered nonsense.")
        if self.status >= 0:
            return FileRejected(RejectReason.CRASHED, f"The decoder ended with status {self.status}.")
        return FileRejected(RejectReason.CRASHED, f"The decoder died of {signal_name(-self.status)}.")


class WorkerProcess:
    """A child process and the socket to it.

    Spawned at once; nothing waits before `handshake`. Every later call may raise `WorkerLost`.
    """

    def __init__(self) -> None:
        """Raises `OSError` where no process can be had."""
        self.resident_bytes = 0
        self._deadline = 0.0
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                self.process: subprocess.Popen[bytes] = subprocess.Popen(
                    # -P: the current directory may hold anything, even a file named PIL.py
                    [sys.executable, "-P", "-W", "ignore", "-m", "clipwatch.image.worker"],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=environment(),
                    process_group=0,
                )
            except OSError:
                self._connection.close()
                raise

    def handshake(self, recipe: Recipe, seconds: float) -> dict[str, Any]:
        """Send the settings; the walls that the worker reports. Raises `OSError` with its last words."""
        self.restart_clock(START_SECONDS)
        try:
            self._arm()
            protocol.send_document(
                self._connection,
                {"parent": os.getpid(), "seconds": seconds, "recipe": dataclasses.asdict(recipe)},
            )
            return protocol.receive_document(self._connection)
        except (OSError, EOFError, ValueError) as error:
            said = self._last_words()
            self.end()
            raise OSError(said or str(error) or "it ended at once") from error
        finally:
            if self.process.stderr is not None:
                self.process.stderr.close()

    def _last_words(self) -> str:
        self.process.kill()
        if self.process.stderr is None:
            return ""
        lines = self.process.stderr.read(65536).decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def restart_clock(self, seconds: float) -> None:
        """The time for all that follows, but for what happens within `clock_stopped`."""
        self._deadline = time.monotonic() + seconds

    @contextlib.contextmanager
    def clock_stopped(self) -> Iterator[None]:
        left = self._deadline - time.monotonic()
        try:
            yield
        finally:
            self._deadline = time.monotonic() + left

    def hash(self, descriptor: int, size: int) -> Answer:
        """Hand over an open file: HASHED, then the worker waits for `drop` or `decode`; or REJECTED."""
        with self._blamed():
            self._arm()
            socket.send_fds(self._connection, [protocol.JOB.pack(size)], [descriptor])
            return self._answer(Kind.HASHED)

    def drop(self) -> None:
        """The picture just hashed is not needed."""
        with self._blamed():
            self._arm()
            self._connection.sendall(protocol.DROP)

    def decode(self, side: int) -> tuple[Answer, Pixels | None]:
        """PIXELS with uint8 `[side, side, 3]`, or REJECTED with None."""
        with self._blamed():
            self._arm()
            self._connection.sendall(protocol.DECODE)
            answer = self._answer(Kind.PIXELS)
            self.resident_bytes = answer.number
            if answer.kind == Kind.REJECTED:
                return answer, None
            pixels: Pixels = np.empty((side, side, 3), np.uint8)
            self._fill(pixels.data.cast("B"))
            return answer, pixels

    def _answer(self, expected: Kind) -> Answer:
        buffer = bytearray(Answer.SIZE)
        self._fill(memoryview(buffer))
        answer = Answer.unpack(bytes(buffer))
        codes = {Kind.REJECTED: len(protocol.REASONS), expected: len(protocol.FORMATS)}.get(Kind(answer.kind), 0)
        if answer.code >= codes or (answer.kind == Kind.PIXELS and not (answer.width and answer.height)):
            raise ValueError("not an answer to what was asked")
        return answer

    def _fill(self, view: memoryview) -> None:
        while view:
            self._arm()
            count = self._connection.recv_into(view)
            if not count:
                raise EOFError
            view = view[count:]

    def _arm(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)

    @contextlib.contextmanager
    def _blamed(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            self.end()
            raise WorkerLost(late=True) from error
        except ValueError as error:
            self.end()
            raise WorkerLost from error
        except (OSError, EOFError) as error:
            raise WorkerLost(status=self.end(linger_seconds=1.0)) from error

    def end(self, *, linger_seconds: float = 0.0) -> int | None:
        """Close the socket, which ends a healthy worker; kill one that lingers. The status it chose itself, or None."""
        self._connection.close()
        if self.process.stderr is not None:
            self.process.stderr.close()
        try:
            status: int = self.process.wait(linger_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None
        return status


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def environment() -> dict[str, str]:
    """Only what finding Python and its libraries takes: no keys, no proxies."""
    kept = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
    return {key: os.environ[key] for key in kept if key in os.environ} | _ALLOCATOR
