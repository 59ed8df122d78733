"""The watchdog is fed only while everything that has work gets on with it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipwatch.service.liveness import Liveness, Sign
from clipwatch.service.notify import Notifier


def _sign(progress: float, *, working: bool = True, worker: str = "encode") -> Sign:
    return Sign(worker, working, progress, limit_seconds=10)


def test_whoever_stands_still_with_work_for_too_long_is_stuck() -> None:
    liveness = Liveness()
    assert liveness.stuck([_sign(1)], 0) == []
    assert liveness.stuck([_sign(1)], 10) == []
    assert liveness.stuck([_sign(1)], 10.1) == ["encode"]


def test_whoever_moves_is_not_stuck_however_long_it_takes() -> None:
    liveness = Liveness()
    assert [liveness.stuck([_sign(moment // 9)], moment) for moment in range(0, 90, 3)] == [[]] * 30


def test_idleness_is_no_standstill_and_work_after_it_has_its_full_time() -> None:
    liveness = Liveness()
    liveness.stuck([_sign(1, working=False)], 0)
    assert liveness.stuck([_sign(1, working=False)], 1000) == []
    assert liveness.stuck([_sign(1)], 1001) == []
    assert liveness.stuck([_sign(1)], 1009) == []
    assert liveness.stuck([_sign(1)], 1011) == ["encode"]


def test_one_that_moves_does_not_hide_another_that_is_stuck() -> None:
    liveness = Liveness()
    for moment in range(0, 12, 3):
        liveness.stuck([_sign(moment, worker="store"), _sign(1)], moment)
    assert liveness.stuck([_sign(99, worker="store"), _sign(1)], 12) == ["encode"]


def test_whoever_moves_again_is_forgiven() -> None:
    liveness = Liveness()
    liveness.stuck([_sign(1)], 0)
    assert liveness.stuck([_sign(1)], 20) == ["encode"]
    assert liveness.stuck([_sign(2)], 21) == []


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        yield listening


def test_a_reload_is_told_with_its_moment_and_its_end(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.reloading()
    first = dict(line.split("=", 1) for line in manager.recv(4096).decode().splitlines())
    assert first["RELOADING"] == "1"
    assert int(first["MONOTONIC_USEC"]) > 0
    notifier.ready()
    assert manager.recv(4096) == b"READY=1"


def test_while_a_model_loads_the_manager_is_asked_for_more_time(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    with notifier.loading("opening the model"):
        told = manager.recv(4096).decode()
    assert "EXTEND_TIMEOUT_USEC=30000000" in told
    assert "STATUS=starting: opening the model" in told


def test_the_watchdog_is_ours_only_where_its_process_is_this_one() -> None:
    ours = {"WATCHDOG_USEC": "6000000", "WATCHDOG_PID": str(os.getpid())}
    assert Notifier(ours).watchdog_seconds == 6
    assert Notifier({**ours, "WATCHDOG_PID": "1"}).watchdog_seconds is None
    assert Notifier({}).watchdog_seconds is None


def test_without_a_manager_nothing_is_said(tmp_path: Path) -> None:
    with Notifier({}).loading("anything"):
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()
