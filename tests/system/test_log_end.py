"""The reader of the log dies, stops, or its disk is full; the reader of an answer has had enough."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from support.commands import COMMAND, PATIENCE_SECONDS, Home
from support.folders import wait_until
from support.mirrors import fill
from support.onnx_models import save, vision_tower

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Home:
    home = Home(tmp_path, {"CLIPWATCH_MODEL__PATH": str(save(vision_tower(width=8, side=56), tmp_path / "tiny.onnx"))})
    home.images.mkdir()
    fill(home.images, 3)
    return home


@contextlib.contextmanager
def daemon(home: Home, stderr: Any, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """One that has this as its standard error, once it has mirrored what is there; it ends with 0."""
    process = subprocess.Popen(
        [COMMAND, *options, "run"], cwd=home.path, env=home.full_environment(), stdout=subprocess.DEVNULL, stderr=stderr
    )
    try:
        wait_mirrored(home)
        yield process
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def wait_mirrored(home: Home) -> dict[str, Any]:
    """Until the daemon that runs has a point for each file; its status."""
    status: dict[str, Any] = {}

    def mirrored() -> bool:
        done = home.run("status", "--json", expect=None)
        if done.returncode:
            return False  # it is starting, and does not answer yet
        status.update(json.loads(done.stdout))
        return bool(status["state"] == "watching" and status["points"] == len(list(home.images.iterdir())))

    wait_until(mirrored, PATIENCE_SECONDS)
    return status


def test_the_daemon_goes_on_when_the_reader_of_its_log_dies(home: Home) -> None:
    read, write = os.pipe()
    with daemon(home, write) as process:
        os.close(write)
        os.close(read)
        fill(home.images, 3, first=10)
        status = wait_mirrored(home)
        assert process.poll() is None
        assert status["log"]["lost"] > 0
        assert status["log"]["trouble"] == "Broken pipe"
        assert "lines lost; now: Broken pipe" in home.run("status").stdout
    assert home.json("verify")["exact"]


def test_the_daemon_goes_on_when_there_is_no_room_for_its_log(home: Home) -> None:
    with open("/dev/full", "wb") as full, daemon(home, full):  # noqa: PTH123
        fill(home.images, 3, first=10)
        status = wait_mirrored(home)
        assert status["log"]["lost"] > 5
        assert status["log"]["trouble"] == "No space left on device"


def test_the_daemon_runs_with_its_standard_error_closed(home: Home) -> None:
    process = subprocess.Popen(["sh", "-c", 'exec "$0" run 2>&-', COMMAND], cwd=home.path, env=home.full_environment())
    try:
        fill(home.images, 3, first=10)
        wait_mirrored(home)
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def test_a_reader_that_stops_holds_nothing_up_and_misses_no_line_when_it_goes_on(home: Home) -> None:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    with daemon(home, write, "--log-level", "debug"), os.fdopen(read, "rb") as reader:
        os.close(write)
        for number in range(1, 6):
            fill(home.images, 3, first=10 * number)
            status = wait_mirrored(home)
        assert status["log"] == {"lost": 0, "trouble": "It stands still."}
        lines = lines_until(reader, "batch.verified", points=18)
        assert lines[0]["event"] == "daemon.started"
        wait_until(lambda: home.json("status")["log"] == {"lost": 0, "trouble": ""})


def lines_until(reader: IO[bytes], event: str, *, points: int) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    while sum(line["points"] for line in lines if line["event"] == event) < points:
        lines.append(json.loads(reader.readline()))
    return lines


def test_a_log_that_works_again_says_how_much_was_lost(home: Home) -> None:
    fifo = home.path / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with fifo.open("wb") as write, daemon(home, write):
        os.close(reader)
        fill(home.images, 3, first=10)
        lost = wait_mirrored(home)["log"]["lost"]
        assert lost
        with open(fifo, "rb", buffering=0) as again:  # noqa: PTH123
            fill(home.images, 3, first=20)
            told = first_of(again, "log.lost")
        assert told["lines"] >= lost
        assert told["reason"] == "Broken pipe"


def first_of(reader: IO[bytes], event: str) -> dict[str, Any]:
    for line in reader:
        parsed: dict[str, Any] = json.loads(line)
        if parsed["event"] == event:
            return parsed
    raise AssertionError(event)


# -- other commands ---------------------------------------------------------------------------------------------

QUIET = (("--help",), ("--version",), ("model", "list"), ("config", "show"), ("config", "schema"), ("check", "--json"))
ASKING = (("status",), ("export",), ("verify",), ("sync",), ("search", "--image", "images/00001.png"))


@pytest.fixture(name="filled", scope="module")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("filled")
    home = Home(path, {"CLIPWATCH_MODEL__PATH": str(save(vision_tower(width=8, side=56), path / "tiny.onnx"))})
    home.images.mkdir()
    fill(home.images, 3)
    home.run("sync")
    return home


@pytest.mark.parametrize("arguments", [*QUIET, *ASKING], ids=" ".join)
@pytest.mark.parametrize("end", ["a reader that has gone", "a full disk"])
def test_an_answer_that_nobody_reads_ends_without_a_traceback(
    filled: Home, arguments: tuple[str, ...], end: str
) -> None:
    with ended(end) as stdout:
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=filled.path,
            env=filled.full_environment(),
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert (end == "a full disk") == ("cannot be written: No space left on device." in done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [*ASKING, ("search", "--image", "missing.png"), ("no-such-command",), ("--log-level", "debug", "sync")],
    ids=" ".join,
)
@pytest.mark.parametrize("end", ["a reader that has gone", "a full disk"])
def test_whoever_hears_no_log_has_the_answer_all_the_same(filled: Home, arguments: tuple[str, ...], end: str) -> None:
    def run(stderr: Any) -> tuple[int, int]:
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=filled.path,
            env=filled.full_environment(),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        return done.returncode, len(done.stdout.splitlines())

    with ended(end) as stderr:
        assert run(stderr) == run(subprocess.PIPE)


@contextlib.contextmanager
def ended(end: str) -> Iterator[int]:
    """A descriptor to write to, in vain."""
    if end == "a full disk":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        read, descriptor = os.pipe()
        os.close(read)
    yield descriptor
    os.close(descriptor)
