"""What commands beside, or without, a daemon leave alone, and how soon they say that they cannot go on."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from support.commands import Home

pytestmark = pytest.mark.slow

ASKING = (("status",), ("verify",), ("search", "a cat"), ("export",), ("sync", "--dry-run"))
"""Commands that only ask."""


def test_only_the_daemon_listens_on_the_stores_address(home: Home) -> None:
    home.add_samples("cat.jpg")
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        home.environment |= {
            "CLIPWATCH_STORE__EMBEDDED_LISTEN": f"127.0.0.1:{taken.getsockname()[1]}",
            "CLIPWATCH_STORE__API_KEY": "secret",
        }
        home.run("sync")
        for command in ASKING:
            home.run(*command)
        assert all(check["ok"] for check in home.json("check", expect=None)["checks"] if check["name"] == "store")
        assert "cannot be listened on" in home.run("run", expect=2).stderr


@pytest.fixture(name="stopped")
def _stopped(home: Home) -> Iterator[int]:
    """The pid of a daemon that holds everything and does nothing."""
    home.add_samples("cat.jpg")
    with home.daemon() as running:
        home.wait_exact()
        running.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, running.process.pid, os.WSTOPPED | os.WNOWAIT)
        yield running.process.pid


ALL = (*ASKING, ("sync",), ("confirm",), ("forget", "x"), ("adopt", "images"))
"""Commands that speak with the daemon."""


@pytest.mark.parametrize("command", ALL, ids="-".join)
def test_every_command_says_within_five_seconds_that_the_daemon_is_stopped(
    home: Home, stopped: int, command: tuple[str, ...]
) -> None:
    began = time.monotonic()
    home.run("config", "show")
    start_seconds = time.monotonic() - began
    began = time.monotonic()
    said = home.run(*command, expect=3).stderr
    assert time.monotonic() - began < 5 + start_seconds
    assert f"(pid {stopped}) holds the lock" in said
    assert f"kill -CONT {stopped}" in said


def test_the_doctor_names_a_stopped_daemon_and_waits_for_no_lock_of_its_store(home: Home, stopped: int) -> None:
    checks = {check["name"]: check for check in home.json("check", expect=1)["checks"]}
    assert f"(pid {stopped})" in checks["daemon"]["detail"]
    assert "kill -CONT" in checks["daemon"]["hint"]
    assert "does not answer" in checks["store"]["detail"]


def test_a_daemon_that_goes_on_answers_again(home: Home, stopped: int) -> None:
    home.run("status", expect=3)
    os.kill(stopped, signal.SIGCONT)
    assert home.json("status")["images"] == 1
