"""Lines onto real pipes and files that break, fill up and stand still."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from clipwatch.service import log_stream
from clipwatch.service.log_stream import LogStream
from support.folders import wait_until


@contextlib.contextmanager
def pipe(size: int = 4096) -> Iterator[tuple[int, IO[str], LogStream]]:
    """The reader's end, the writer's as text, and a log onto it."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, size)
    with os.fdopen(write, "w") as stream:
        yield read, stream, LogStream(stream)
    with contextlib.suppress(OSError):
        os.close(read)


def test_a_line_is_out_when_the_call_returns() -> None:
    with pipe(1 << 16) as (read, _, log):
        for number in range(300):
            log.msg(f"line {number}")
            assert os.read(read, 100) == b"line %d\n" % number
    assert log.describe() == {"lost": 0, "trouble": ""}


def test_a_reader_that_stops_holds_nobody_up_and_gets_every_line_in_order() -> None:
    lines = [f"{number:04d} {'x' * 200}" for number in range(200)]
    with pipe() as (read, _, log):
        began = time.monotonic()
        for line in lines:
            log.msg(line)
        assert time.monotonic() - began < 5, "but for the first, nobody waits"
        assert log.trouble == "It stands still."
        with os.fdopen(os.dup(read), "r") as reader:
            assert [reader.readline().rstrip("\n") for _ in lines] == lines
        wait_until(lambda: log.trouble == "")
    assert log.lost == 0


def test_what_is_too_much_to_keep_is_counted_and_told_when_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_stream, "QUEUE_BYTES", 10_000)
    told = list[tuple[int, str]]()
    with pipe() as (read, _, log):
        log.on_recovered = lambda lines, reason: told.append((lines, reason))
        for number in range(100):
            log.msg(f"{number:04d} {'x' * 200}")
        assert 20 < log.lost < 90
        drain = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(read, 4096), b"")], daemon=True)
        drain.start()
        wait_until(lambda: told)
        assert told == [(log.lost, "It stands still.")]
    drain.join(10)


def test_a_reader_that_has_gone_costs_lines_and_no_more() -> None:
    with pipe() as (read, _, log):
        log.msg("heard")
        os.close(read)
        for _ in range(3):
            log.msg("not heard")
        wait_until(lambda: log.lost == 3)
        assert log.trouble == "Broken pipe"


def test_a_reader_that_comes_back_is_told_how_much_it_missed(tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    first = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with fifo.open("w") as stream:
        log = LogStream(stream)
        log.on_recovered = lambda lines, reason: log.msg(f"lost {lines}: {reason}")
        os.close(first)
        log.msg("a")
        log.msg("b")
        with fifo.open() as again:
            log.msg("c")
            assert [again.readline() for _ in range(2)] == ["c\n", "lost 2: Broken pipe\n"]
    assert log.describe() == {"lost": 2, "trouble": ""}


def test_a_line_that_was_cut_by_a_full_disk_does_not_spoil_the_next(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys; from clipwatch.service.log_stream import LogStream;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE);"
        "log = LogStream(sys.stderr);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150, hard));"
        "log.msg('a' * 99); log.msg('b' * 99); log.msg('c' * 99);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard));"
        "log.msg('d' * 99); print(log.lost)"
    )
    file = tmp_path / "log"
    with file.open("wb") as stderr:
        done = subprocess.run([sys.executable, "-c", program], stderr=stderr, stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"2\n"
    assert file.read_text().splitlines() == ["a" * 99, "b" * 50, "d" * 99]


def test_a_descriptor_that_others_have_made_non_blocking_loses_nothing() -> None:
    with pipe() as (read, stream, log):
        os.set_blocking(stream.fileno(), False)
        lines = [f"{number:04d} {'x' * 500}" for number in range(40)]
        for line in lines:
            log.msg(line)
        with os.fdopen(os.dup(read), "r") as reader:
            assert [reader.readline().rstrip("\n") for _ in lines] == lines
    assert log.lost == 0


def test_lines_that_wait_hold_up_the_end_of_the_program_for_a_moment_only() -> None:
    program = (
        "import sys; from clipwatch.service.log_stream import LogStream; log = LogStream(sys.stderr)\n"
        "for number in range(40): log.msg('x' * 500)"
    )
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", program], stderr=write) as process:
        os.close(write)
        assert process.wait(30) == 0
    assert time.monotonic() - began < 15
    os.close(read)


def test_many_threads_lose_no_line() -> None:
    with pipe(1 << 16) as (read, _, log):

        def speak(name: int) -> None:
            for number in range(100):
                log.msg(f"{name} {number}")

        threads = [threading.Thread(target=speak, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        with os.fdopen(os.dup(read), "r") as reader:
            lines = [reader.readline().split() for _ in range(800)]
        for thread in threads:
            thread.join()
    for name in range(8):
        assert [int(number) for who, number in lines if int(who) == name] == list(range(100))


def test_a_stream_that_is_closed_or_no_file_costs_lines_and_no_more() -> None:
    stream = io.StringIO()
    log = LogStream(stream)
    log.msg("heard")
    assert stream.getvalue() == "heard\n"
    stream.close()
    log.msg("not heard")
    assert (log.lost, log.trouble) == (1, "I/O operation on closed file")
