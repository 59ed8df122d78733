"""The watchdog is fed only while everything that has work gets on with it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from clipwatch.config import BatchConfig, Config
from clipwatch.mirror.jobs import Lane, Mailbox
from clipwatch.mirror.mirror import Mirror
from clipwatch.service.liveness import WORKERS, Liveness, Sign, mirror_signs
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


class _Mirror:
    """The two lanes of a mirror, real ones."""

    def __init__(self) -> None:
        mailbox = Mailbox(threading.Event())
        self.writer = Lane("store", mailbox)
        self.pipeline = SimpleNamespace(inference=Lane("encode", mailbox))


@pytest.fixture
def never() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def _signs(mirror: _Mirror, *, requests: int = 0, decoding_since: float | None = None) -> list[Sign]:
    return mirror_signs(
        cast(Mirror, mirror),
        store_requests=requests,
        decoding_since=decoding_since,
        config=Config(batch=BatchConfig(size=2)),
        watchdog_seconds=6,
    )


def test_every_worker_gives_a_sign() -> None:
    assert sorted(sign.worker for sign in _signs(_Mirror())) == sorted(WORKERS)


@pytest.mark.parametrize("name", ["encode", "store"])
def test_a_lane_whose_call_never_ends_is_stuck_and_an_idle_one_is_not(name: str, never: threading.Event) -> None:
    mirror, liveness = _Mirror(), Liveness()
    lane = mirror.writer if name == "store" else mirror.pipeline.inference
    lane.run(never.wait, lambda _: None)
    assert liveness.stuck(_signs(mirror), 0) == []
    assert liveness.stuck(_signs(mirror), 9) == []
    assert liveness.stuck(_signs(mirror), 300) == [name]


def test_an_outage_that_is_waited_out_is_no_hang(never: threading.Event) -> None:
    mirror, liveness = _Mirror(), Liveness()
    mirror.writer.run(never.wait, lambda _: None)
    assert [liveness.stuck(_signs(mirror, requests=hour), 60.0 * hour) for hour in range(600)] == [[]] * 600


def test_a_long_inference_within_its_limit_is_no_hang(never: threading.Event) -> None:
    mirror, liveness = _Mirror(), Liveness()
    mirror.pipeline.inference.run(never.wait, lambda _: None)
    liveness.stuck(_signs(mirror), 0)
    # Two pictures a batch, and the watchdog's time is shorter than what they may take.
    assert liveness.stuck(_signs(mirror), 10) == []
    assert liveness.stuck(_signs(mirror), 10.1) == ["encode"]


def test_a_picture_that_is_never_done_is_a_hang_though_others_are() -> None:
    mirror, liveness = _Mirror(), Liveness()
    for moment in range(0, 100, 10):
        assert liveness.stuck(_signs(mirror, decoding_since=1.0), moment) == []
    assert liveness.stuck(_signs(mirror, decoding_since=1.0), 111) == ["decode"]
    assert liveness.stuck(_signs(mirror, decoding_since=2.0), 112) == []
