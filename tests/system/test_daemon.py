"""The installed daemon: live changes, questions while it runs, and its end."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess

import pytest

from support.commands import SAMPLES, Home
from support.engines import running_engine
from support.folders import wait_until
from support.processes import children, is_alive
from support.terminal import watched_on_a_terminal

pytestmark = pytest.mark.slow

STATUS_KEYS = {"state", "images", "points", "pending", "rejected", "ignored", "held", "model", "store", "watch"}
"""Those that programs rely on."""


def test_changes_are_followed_and_questions_answered_while_it_runs(home: Home) -> None:
    home.add_samples("cat.jpg", "moon.png")
    home.environment["CLIPWATCH_WATCH__NAME"] = "before"
    home.run("sync")
    del home.environment["CLIPWATCH_WATCH__NAME"]
    with home.daemon() as daemon:
        daemon.wait_for("collection.counted")
        assert home.wait_exact()["points"] == 2
        assert "kept" in home.run("forget", "images", expect=2).stderr
        assert home.json("forget", "before") == {"deleted": 2}

        home.add_samples("coffee.jpg", "rocket.jpg")
        shutil.copy(home.images / "cat.jpg", home.images / "copy.jpg")
        (home.images / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
        daemon.wait_for("image.rejected")
        wait_until(lambda: home.json("status")["points"] == 5, 30)
        status = home.wait_exact()
        assert status.keys() >= STATUS_KEYS
        assert status["watch"][0].keys() >= {"name", "state"}
        assert (status["images"], status["points"], status["rejected"], status["held"]) == (6, 5, 1, 0)
        assert status["done"]["reused"] >= 1

        with watched_on_a_terminal(home, "status", "--watch") as terminal:
            terminal.expect("\x1b[H\x1b[2Jwatching\r\n  6 images, 5 points; 0 pending, 1 rejected")
            terminal.expect("a demonstration: emoji-like drawings, not photographs")
            terminal.expect("watched by watchdog")
            terminal.expect("image.rejected: bad.png · ")
            (home.images / "coffee.jpg").rename(home.images / "kaffee.jpg")
            (home.images / "rocket.jpg").unlink()
            terminal.expect("\x1b[H\x1b[2Jwatching\r\n  5 images, 4 points; 0 pending, 1 rejected")
            assert terminal.end() == 0
        home.wait_exact()
        assert home.json("verify")["exact"] is True
        assert home.json("search", "--image", str(SAMPLES / "coffee.jpg"))["hits"][0]["path"] == "kaffee.jpg"
        assert len(home.run("export").stdout.splitlines()) == 4
        assert home.json("sync")["unchanged"] == 4
        assert home.json("sync", "--dry-run") == {"plan": []}, "a pass leaves the bad picture alone"
        assert stat.S_IMODE((home.path / "data/state/control.sock").stat().st_mode) == 0o600

        # One step for the daemon: files removed one by one could be deleted one by one.
        home.images.rename(home.path / "elsewhere")
        home.images.mkdir()
        wait_until(lambda: home.json("status")["state"] == "held", 30)
        plan = home.json("sync", "--dry-run")["plan"]
        assert {(item["action"], item["held"]) for item in plan} == {("delete", "everything_gone")}
        assert home.json("status")["held"] == len(plan) == 4
        assert home.json("confirm") == {"deleted": 4}
        assert home.wait_exact()["points"] == 0
        assert home.run("confirm").stdout == "Nothing was held.\n"

        assert daemon.stop() == 0
    assert [line["event"] for line in daemon.events()][-1] == "daemon.stopped"
    for line in daemon.events():
        assert list(line)[:3] == ["timestamp", "level", "event"]


def test_a_second_daemon_is_refused_with_status_four(home: Home) -> None:
    home.add_samples("cat.jpg")
    with home.daemon() as daemon:
        refused = home.run("run", expect=4)
        assert str(daemon.process.pid) in refused.stderr
        # Another state directory does not make the folder, or the store, free.
        home.environment["CLIPWATCH_STATE__PATH"] = "other-state"
        assert "another" in home.run("run", expect=4).stderr.lower()
        home.environment["CLIPWATCH_STORE__URL"] = "embedded:other-store"
        assert "another" in home.run("run", expect=4).stderr.lower()
        del home.environment["CLIPWATCH_STATE__PATH"]


def test_sigterm_ends_it_within_ten_seconds_and_loses_nothing(home: Home) -> None:
    home.add_samples()
    with home.daemon() as daemon:
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(10) == 0
    home.run("sync")
    assert home.json("verify")["exact"] is True


def test_sigterm_while_it_waits_to_start_ends_it_at_once_and_leaves_nobody(home: Home) -> None:
    with running_engine(home.path / "data" / "store"), home.daemon(until="daemon.started") as daemon:
        wait_until(lambda: children(daemon.process.pid), 30)
        family = children(daemon.process.pid)
        assert daemon.process.poll() is None
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(5) == 0
        assert not any(is_alive(pid) for pid in family)
        assert [line["event"] for line in daemon.events()][-1] == "daemon.stopped"
    assert not (home.path / "data" / "state" / "control.sock").exists()


def test_a_killed_daemon_leaves_no_process_behind_and_the_next_one_starts(home: Home) -> None:
    home.add_samples()
    with home.daemon() as daemon:
        daemon.wait_for("batch.verified")
        family = children(daemon.process.pid)
        assert family
        daemon.process.kill()
        daemon.process.wait(10)
        wait_until(lambda: not any(is_alive(pid) for pid in family), 15)
    with home.daemon() as daemon:
        assert home.wait_exact()["points"] == 12
        assert daemon.stop() == 0


def test_the_state_directory_may_be_deleted_at_any_time(home: Home) -> None:
    home.add_samples("cat.jpg", "moon.png")
    home.run("sync")
    shutil.rmtree(home.path / "data" / "state")
    again = home.json("sync")
    assert (again["embedded"], again["unchanged"]) == (0, 2)
    if os.geteuid() == 0:
        os.chown(home.path / "data" / "state", 54321, 54321)
        assert "`sudo -u '#54321'`" in home.run("sync", expect=2).stderr


def test_a_folder_that_comes_late_is_waited_for(home: Home) -> None:
    with home.daemon() as daemon:
        assert home.json("status")["state"] == "folder-missing"
        home.add_samples("cat.jpg")
        daemon.wait_for("folder.available")
        assert home.wait_exact()["points"] == 1
        os.rename(home.images, home.path / "elsewhere")
        wait_until(lambda: home.json("status")["state"] == "folder-missing", 30)
        assert home.json("status")["held"] == 0
        os.rename(home.path / "elsewhere", home.images)
        assert home.wait_exact()["points"] == 1
        assert not daemon.events("points.deleted")


def test_a_file_from_another_century_is_a_picture_like_any_other(home: Home) -> None:
    home.add_samples("cat.jpg", "moon.png")
    os.utime(home.images / "cat.jpg", ns=(0, 10413792000 * 10**9))  # 2300-01-01
    assert home.json("sync")["embedded"] == 2
    assert home.json("sync")["unchanged"] == 2
    assert home.json("sync", "--dry-run") == {"plan": []}
    assert home.json("verify", "--deep")["exact"] is True
    assert home.run("check", expect=None).returncode in (0, 1)
    with home.daemon() as daemon:
        daemon.wait_for("collection.counted")
        home.add_samples("coffee.jpg")
        os.utime(home.images / "coffee.jpg", ns=(0, 10413792000 * 10**9))
        wait_until(lambda: home.json("status")["points"] == 3, 30)
        home.wait_exact()
        assert home.json("verify")["exact"] is True
        assert daemon.stop() == 0


def test_a_backup_of_hard_links_leaves_the_mirror_exact(home: Home) -> None:
    home.add_samples("cat.jpg", "moon.png", "coffee.jpg")
    with home.daemon() as daemon:
        daemon.wait_for("collection.counted")
        home.wait_exact()
        for command in (["cp", "-al", "images", "snap"], ["rm", "-r", "snap"]):
            subprocess.run(command, cwd=home.path, check=True)
            verified = home.json("verify")
            assert (verified["exact"], verified["stale"]) == (True, [])
            assert home.json("sync", "--dry-run") == {"plan": []}
        shutil.copy(SAMPLES / "rocket.jpg", home.images / "cat.jpg")
        home.wait_exact()
        assert home.json("verify")["exact"] is True
        assert daemon.stop() == 0
    subprocess.run(["cp", "-al", "images", "snap"], cwd=home.path, check=True)
    assert home.json("verify")["exact"] is True
    done = home.json("sync")
    assert (done["unchanged"], done["embedded"]) == (3, 0)
