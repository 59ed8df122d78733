"""Commands that are told to end while they wait: one plain sentence, a status of ours, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.commands import COMMAND, Home
from support.engines import running_engine
from support.folders import wait_until


@contextlib.contextmanager
def started(home: Home, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [COMMAND, *arguments],
        cwd=home.path,
        env=home.full_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


@pytest.fixture(name="silent")
def _silent(home: Home) -> Iterator[socket.socket]:
    """Where a daemon would listen; whoever asks waits for an answer."""
    state = home.path / "data" / "state"
    state.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(state / "control.sock"))
        listener.listen()
        listener.settimeout(30)
        yield listener


@pytest.mark.parametrize(
    "arguments",
    [
        ("sync",),
        ("sync", "--dry-run"),
        ("confirm",),
        ("verify",),
        ("search", "x"),
        ("export", "--output", "out.jsonl"),
        ("forget", "x"),
        ("status",),
    ],
    ids=" ".join,
)
def test_whoever_waits_for_the_daemon_ends_with_one_sentence(
    home: Home, silent: socket.socket, arguments: tuple[str, ...]
) -> None:
    with started(home, *arguments) as process:
        connection, _ = silent.accept()
        with connection, connection.makefile("rb") as stream:
            request = json.loads(stream.readline())
            if request["command"] == "export":
                wait_until(lambda: list(home.path.glob(".out.jsonl.*.part")))
            process.send_signal(signal.SIGHUP if arguments == ("verify",) else signal.SIGTERM)
            assert process.communicate(timeout=10) == ("", "clipwatch: Interrupted.\n")
    assert process.returncode == 1
    assert [file.name for file in home.path.iterdir()] == ["data"]


def test_status_that_is_watched_goes_on_where_the_daemon_ends_and_ends_well_itself(
    home: Home, silent: socket.socket
) -> None:
    with started(home, "status", "--watch") as process:
        assert process.stdout is not None
        connection, _ = silent.accept()
        with connection, connection.makefile("rb") as stream:
            assert json.loads(stream.readline()) == {"command": "status"}
        assert process.stdout.readline() == "The daemon stopped before it had answered. Try again.\n"
        silent.close()
        assert process.stdout.readline() == "stopped\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10)[1] == ""
    assert process.returncode == 0
    assert not (home.path / "data" / "store").exists()
    assert home.run("status", "--watch", "--json", expect=2).stderr.startswith("clipwatch: --json is one document")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("sync",), ("verify",), ("export",)], ids=" ".join)
def test_whoever_waits_for_the_store_ends_at_once_and_leaves_nobody(home: Home, arguments: tuple[str, ...]) -> None:
    home.images.mkdir()
    with running_engine(home.path / "data" / "store"), started(home, *arguments) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_until(lambda: b"clipwatch.engine" in b"".join(_command_lines(process.pid)))
        process.send_signal(signal.SIGTERM)
        answer, told = process.communicate(timeout=5)
        # A model that was being loaded may still have a word after it.
        assert answer == ""
        assert "clipwatch: Interrupted." in told.splitlines()
        assert not children.exists()
    assert process.returncode == 1


def _command_lines(parent: int) -> Iterator[bytes]:
    for file in Path(f"/proc/{parent}/task").glob("*/children"):
        for pid in file.read_text().split():
            with contextlib.suppress(OSError):
                yield Path(f"/proc/{pid}/cmdline").read_bytes()
