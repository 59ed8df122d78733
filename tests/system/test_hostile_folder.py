"""The installed daemon on a folder that an attacker may write into."""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from clipwatch.errors import RejectReason
from clipwatch.payload import path_bytes
from clipwatch.records import path_text
from support import pictures
from support.commands import COMMAND, Home
from support.folders import wait_until
from support.hostile_folder import HostileFolder, OpenWatch, Peaks, make_hostile_folder
from support.mirrors import candidates
from support.terminal import on_a_terminal

pytestmark = pytest.mark.slow

WORKER_BYTES = 512 << 20
"""Half of what `limits.decode_memory_megabytes` allows a worker by default."""

DAEMON_BYTES = 512 << 20
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\U000e0041]")


def stored_paths(home: Home) -> dict[bytes, str]:
    """Path to content of every point."""
    points = [json.loads(line) for line in home.run("export").stdout.splitlines()]
    return {path_bytes(point["payload"]): point["payload"]["content"] for point in points}


def assert_mirrored(home: Home, expected: Mapping[bytes, frozenset[RejectReason]]) -> None:
    """Every good picture has its point, every bad one its reason, and there is nothing else."""
    verified = home.json("verify")
    assert verified["exact"] is True
    refused = {entry["path"]: RejectReason(entry["reason"]) for entry in verified["rejected"]}
    wanted = {path_text(path): reasons for path, reasons in expected.items() if reasons}
    assert refused.keys() == wanted.keys()
    for path, reason in refused.items():
        assert reason in wanted[path], path
    assert stored_paths(home).keys() == {path for path, reasons in expected.items() if not reasons}


def assert_nothing_silent(status: Mapping[str, int], address: str, folder: Path) -> None:
    """Every candidate, counted on the disk, has a point or was rejected: in `status` as in `/metrics`."""
    on_disk = len(candidates(folder))
    assert status["images"] == on_disk == status["points"] + status["rejected"]
    metrics = {
        (sample.name, sample.labels.get("state", "")): sample.value
        for family in text_string_to_metric_families(httpx.get(f"{address}/metrics").text)
        for sample in family.samples
    }
    assert metrics["clipwatch_folder_images", ""] == on_disk
    assert sum(metrics["clipwatch_images_total", state] for state in ("points", "rejected", "pending")) == on_disk


@pytest.fixture(name="hostile", scope="module")
def _hostile(tmp_path_factory: pytest.TempPathFactory) -> HostileFolder:
    return make_hostile_folder(tmp_path_factory.mktemp("attacked") / "images")


@pytest.fixture(name="attacked")
def _attacked(home: Home, hostile: HostileFolder) -> Home:
    """A home of its own that watches the one hostile folder."""
    home.environment["CLIPWATCH_WATCH__PATH"] = str(hostile.root)
    return home


def test_the_corpus_costs_each_file_only_itself_within_the_limits(attacked: Home, hostile: HostileFolder) -> None:
    attacked.environment["CLIPWATCH_HTTP__LISTEN"] = "127.0.0.1:0"
    with OpenWatch(hostile.secret) as secret, attacked.daemon() as daemon:
        peaks = Peaks(daemon.process.pid)
        wanted = sum(1 for reasons in hostile.expected.values() if reasons)
        deadline = time.monotonic() + 90
        pause = threading.Event()
        while attacked.path.joinpath("daemon.log").read_bytes().count(b"collection.counted") < 1:
            peaks.look()
            assert daemon.process.poll() is None
            assert time.monotonic() < deadline
            pause.wait(0.05)
        status = attacked.wait_exact()
        peaks.look()
        assert status["rejected"] == wanted
        assert status["points"] == len(hostile.expected) - wanted
        assert_nothing_silent(status, str(daemon.wait_for("http.listening")[-1]["address"]), hostile.root)
        assert_mirrored(attacked, hostile.expected)
        assert not secret.opened(), "a file outside the folder was opened"
        digest = hashlib.sha256(hostile.secret.read_bytes()).hexdigest()
        assert all(digest not in content for content in stored_paths(attacked).values())
        peaks.look()
        assert 0 < max(peaks.workers.values()) < WORKER_BYTES
        assert peaks.itself < DAEMON_BYTES
        sys.stdout.write(peaks.table() + "\n")
        assert daemon.stop() == 0
    log = (attacked.path / "daemon.log").read_bytes()
    assert all(byte == 10 or 32 <= byte < 127 for byte in log)
    for line in log.splitlines():
        assert {"timestamp", "level", "event"} <= json.loads(line).keys()
    for event in daemon.events("image.rejected"):
        reasons = {path_text(path): reasons for path, reasons in hostile.expected.items()}[event["path"]]
        assert event["reason"] in reasons


def test_no_name_reaches_a_terminal_raw(attacked: Home, hostile: HostileFolder) -> None:
    query = attacked.path / "query.jpg"
    query.write_bytes(pictures.small_jpeg())
    with attacked.daemon() as daemon:
        daemon.wait_for("collection.counted")
        for command in (
            ("status",),
            ("verify",),
            ("verify", "--json"),
            ("search", "--image", str(query), "--limit", "100"),
            ("search", "--image", str(query), "--limit", "100", "--json"),
            ("export",),
            ("check",),
        ):
            shown = on_a_terminal(attacked, *command)
            assert shown, command
            assert RAW.search(shown) is None, (command, RAW.search(shown))
            if command[-1] == "--json":
                json.loads(shown)
        assert daemon.stop() == 0


def test_no_name_forges_a_line_of_the_log_for_people(attacked: Home, hostile: HostileFolder) -> None:
    log = subprocess.run(
        [COMMAND, "--log-format", "console", "--log-level", "info", "sync"],
        cwd=attacked.path,
        env={**attacked.full_environment(), "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=60,
        check=True,
    ).stderr.decode()
    assert "image.rejected" in log
    assert RAW.search(log) is None
    for line in log.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT[0-9:.]+Z \[(debug|info|warning|error) *\] [a-z_.]+ ", line), line


def test_followed_links_lead_out_but_never_to_what_is_no_file(attacked: Home, hostile: HostileFolder) -> None:
    attacked.environment["CLIPWATCH_WATCH__FOLLOW_SYMLINKS"] = "true"
    expected = dict.fromkeys((b"link.jpg", b"relative.jpg", b"linked-directory/secret.jpg"), frozenset[RejectReason]())
    expected |= {b"memory.jpg": frozenset({RejectReason.EMPTY})}
    attacked.run("sync")
    assert_mirrored(attacked, hostile.expected | expected)


@pytest.mark.parametrize("follow", [False, True])
def test_a_file_swapped_for_a_link_between_check_and_open_is_not_followed(home: Home, follow: bool) -> None:
    """With links followed the same race does open the file outside: it bites."""
    home.environment |= {
        "CLIPWATCH_WATCH__SETTLE_SECONDS": "0",
        "CLIPWATCH_WATCH__FOLLOW_SYMLINKS": str(follow).lower(),
        # What comes and goes so fast is now and then all that there was: a loss in doubt, here for one look.
        "CLIPWATCH_LIMITS__DELETE_HOLD_MINUTES": "0",
    }
    outside = home.path / "outside"
    outside.mkdir()
    secret = outside / "picture.jpg"
    secret.write_bytes(pictures.small_png() + b"secret")
    home.images.mkdir()
    chance = random.Random(5)
    with OpenWatch(secret) as watch, home.daemon() as daemon:
        stop = time.monotonic() + 6
        pause = threading.Event()
        turn = 0
        while time.monotonic() < stop:
            turn += 1
            name = home.images / f"{turn % 20}.jpg"
            spare = home.images / ".spare"
            if turn // 20 % 2:
                spare.symlink_to(secret)
            else:
                spare.write_bytes(pictures.small_jpeg() + b"%d" % turn)
            spare.replace(name)
            _swap_directory(home.images / f"directory-{turn % 5}", outside, linked=bool(turn // 5 % 2))
            pause.wait(chance.choice((0, 0.001, 0.01)))
        assert turn > 100
        assert watch.opened() == follow
        for name in home.images.glob("*.jpg"):
            name.unlink()
            name.write_bytes(pictures.small_jpeg() + name.name.encode())
        home.run("sync", expect=None)
        home.run("sync")
        digest = hashlib.sha256(secret.read_bytes()).hexdigest()
        if not follow:
            assert home.json("verify")["exact"] is True
            assert all(digest not in content for content in stored_paths(home).values())
        assert daemon.stop() == 0


def _swap_directory(directory: Path, outside: Path, *, linked: bool) -> None:
    hidden = directory.with_name(f".{directory.name}")
    if linked and not directory.is_symlink() and directory.exists():
        directory.rename(hidden)
        directory.symlink_to(outside)
    elif not linked and directory.is_symlink():
        directory.unlink()
        hidden.rename(directory)
    elif not linked and not directory.exists():
        directory.mkdir()
        (directory / "picture.jpg").write_bytes(pictures.small_jpeg() + directory.name.encode())


@pytest.mark.parametrize("number", [5_000, pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(0)])])
def test_many_bad_files_at_once_cost_few_log_lines_and_little_memory(home: Home, number: int) -> None:
    bad = [
        data for data in (hostile.make() for hostile in pictures.hostile_files() if hostile.reasons) if len(data) < 6000
    ]
    assert len(bad) >= 20
    home.images.mkdir()
    for index in range(number):
        (home.images / f"{index:06}.jpg").write_bytes(bad[index % len(bad)])
        if index % (number // 10) == 0:
            (home.images / f"good-{index:06}.jpg").write_bytes(pictures.small_jpeg() + b"%d" % index)
    with home.daemon() as daemon:
        peaks = Peaks(daemon.process.pid)

        def done() -> bool:
            peaks.look()
            return bool(daemon.events("collection.counted"))

        started = time.monotonic()
        wait_until(done, 60 + number / 50, every=0.5)
        seconds = time.monotonic() - started
        status = home.wait_exact()
        assert (status["images"], status["points"], status["rejected"]) == (number + 10, 10, number)
        assert daemon.stop() == 0
    lines = len(daemon.events())
    counted = sum(summary["repeated"] for summary in daemon.events("log.summary") if summary["of"] == "image.rejected")
    assert len(daemon.events("image.rejected")) + counted == number, "none is told twice, none is passed over"
    with home.daemon() as again:
        again.wait_for("collection.counted")
        assert home.wait_exact()["rejected"] == number
        assert not again.events("image.rejected"), "they are known, and not read again"
        assert again.stop() == 0
    assert lines < 1000
    assert peaks.itself < DAEMON_BYTES
    assert max(peaks.workers.values()) < WORKER_BYTES
    sys.stdout.write(f"{number} bad files: {seconds:.0f} s, {lines} log lines\n{peaks.table()}\n")
