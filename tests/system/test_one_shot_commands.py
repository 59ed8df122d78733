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


@pytest.mark.parametrize("command", [("run",), ("migrate", "--to", "embedded:elsewhere")], ids="-".join)
def test_what_wants_the_lock_of_a_stopped_daemon_says_how_to_wake_or_end_it(
    home: Home, stopped: int, command: tuple[str, ...]
) -> None:
    said = home.run(*command, expect=4).stderr
    assert f"kill -CONT {stopped}" in said
    assert f"kill -KILL {stopped}" in said


def test_the_doctor_names_a_stopped_daemon_and_waits_for_no_lock_of_its_store(home: Home, stopped: int) -> None:
    checks = {check["name"]: check for check in home.json("check", expect=1)["checks"]}
    assert f"(pid {stopped})" in checks["daemon"]["detail"]
    assert "kill -CONT" in checks["daemon"]["hint"]
    assert "does not answer" in checks["store"]["detail"]


def test_a_daemon_that_goes_on_answers_again(home: Home, stopped: int) -> None:
    home.run("status", expect=3)
    os.kill(stopped, signal.SIGCONT)
    assert home.json("status")["images"] == 1


QUESTIONS = (*ASKING, ("check",), ("config", "show"), ("model", "list"), ("model", "info"), ("forget", "x"))


def _entries(home: Home) -> set[str]:
    """All that there is, but for what the engine keeps within a collection that is there."""
    found = {str(path.relative_to(home.path)) for path in home.path.rglob("*")}
    return {path for path in found if "/shard/" not in path}


@pytest.mark.parametrize("command", QUESTIONS, ids="-".join)
@pytest.mark.parametrize("folder", [False, True])
def test_a_command_that_only_asks_makes_nothing(
    home: Home, tmp_path_factory: pytest.TempPathFactory, command: tuple[str, ...], folder: bool
) -> None:
    temporary = tmp_path_factory.mktemp("temporary")
    home.environment["TMPDIR"] = str(temporary)
    if folder:
        home.add_samples("cat.jpg")
    before = _entries(home)
    home.run(*command, expect=None)
    assert _entries(home) == before
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("command", [*ASKING, ("confirm",), ("forget", "x"), ("adopt", "images")], ids="-".join)
def test_where_there_is_nothing_it_is_said_where_settings_were_looked_for(home: Home, command: tuple[str, ...]) -> None:
    said = home.run(*command, expect=2).stderr
    assert f"no --config, no $CLIPWATCH_CONFIG, and no {home.path}/config.toml" in said
    assert "nor is there images, data/state or data/store" in said


def test_the_doctor_too_says_where_settings_were_looked_for(home: Home) -> None:
    checks = {check["name"]: check for check in home.json("check", expect=1)["checks"]}
    assert f"{home.path}/config.toml" in checks["config"]["hint"]
    assert "can be written" in checks["state directory"]["detail"]


def test_what_a_sync_left_is_asked_without_a_trace(home: Home) -> None:
    home.add_samples("cat.jpg")
    (home.images / "broken.jpg").write_text("no picture")
    home.run("sync")
    before = _entries(home)
    for command in (*QUESTIONS, ("forget", "x")):
        home.run(*command, expect=None)
        assert _entries(home) == before
    assert home.json("verify")["exact"]
    assert home.json("status")["points"] == 1


def test_a_store_that_is_not_there_is_not_copied_and_not_made(home: Home) -> None:
    home.add_samples("cat.jpg")
    before = _entries(home)
    assert "There is no store" in home.run("migrate", "--to", "embedded:other", expect=2).stderr
    assert _entries(home) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask of everybody's")
def test_root_opens_no_store_of_another_user(home: Home) -> None:
    home.add_samples("cat.jpg")
    home.run("sync")
    for path in (home.path, *home.path.rglob("*")):
        os.chown(path, 54321, 54321)
    before = _entries(home)
    said = home.run("status", expect=2).stderr
    assert "belongs to another user" in said
    assert "sudo -u" in said
    assert _entries(home) == before
