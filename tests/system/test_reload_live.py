"""SIGHUP on a running daemon: what changes, changes at once; what is in hand goes on; nothing is lost."""

from __future__ import annotations

import os
import signal

import httpx
import pytest

from support.commands import Home, Running
from support.folders import wait_until

pytestmark = pytest.mark.slow

IMAGES = '[[watch]]\npath = "images"\nname = "images"\n'
MORE = '[[watch]]\npath = "more"\nname = "more"\n'


def _reload(home: Home, daemon: Running, text: str, event: str = "config.reloaded") -> dict[str, object]:
    (home.path / "config.toml").write_text(text)
    count = len(daemon.events(event)) + 1
    daemon.process.send_signal(signal.SIGHUP)
    return daemon.wait_for(event, count)[-1]


@pytest.fixture
def configured(home: Home) -> Home:
    (home.path / "config.toml").write_text(IMAGES)
    home.add_samples("cat.jpg", "moon.png")
    return home


def test_folders_come_and_go_and_a_folder_that_went_keeps_its_points(configured: Home) -> None:
    home = configured
    with home.daemon() as daemon:
        assert home.wait_exact()["points"] == 2
        (home.path / "more").mkdir()
        (home.images / "cat.jpg").rename(home.path / "more" / "cat.jpg")
        assert _reload(home, daemon, IMAGES + MORE)["changed"] == ["watch[more]"]
        wait_until(lambda: [watch["points"] for watch in home.json("status")["watch"]] == [1, 1], 30)
        home.add_samples("rocket.jpg")
        os.link(home.images / "rocket.jpg", home.path / "more" / "rocket.jpg")
        wait_until(lambda: home.json("status")["points"] == 4, 30)

        assert _reload(home, daemon, IMAGES)["changed"] == ["watch[more]"]
        assert home.wait_exact()["points"] == 2
        assert len(home.run("export").stdout.splitlines()) == 4
        assert home.json("forget", "more")["deleted"] == 2
        # The watch of the folder that stayed is still armed.
        home.add_samples("coffee.jpg")
        wait_until(lambda: home.json("status")["points"] == 3, 30)
        assert daemon.stop() == 0


def test_another_setting_of_a_folder_is_in_force_without_embedding_anything_again(configured: Home) -> None:
    home = configured
    with home.daemon() as daemon:
        assert home.wait_exact()["points"] == 2
        changed = _reload(home, daemon, IMAGES + 'ignore = ["moon*"]\n[limits]\ndelete_fraction = 1.0\n')["changed"]
        assert changed == ["limits.delete_fraction", "watch[images].ignore"]
        wait_until(lambda: home.json("status")["points"] == 1, 30)
        _reload(home, daemon, IMAGES)
        wait_until(lambda: home.json("status")["points"] == 2, 30)
        status = home.wait_exact()
        assert status["done"]["embedded"] == 3
        assert daemon.stop() == 0


def test_a_rejected_image_is_judged_anew_when_the_limits_change(configured: Home) -> None:
    home = configured
    low = IMAGES + "[limits]\nfile_megabytes = 0.001\n"
    (home.path / "config.toml").write_text(low)
    with home.daemon() as daemon:
        daemon.wait_for("image.rejected", 2)
        assert _reload(home, daemon, IMAGES)["changed"] == ["limits.file_megabytes"]
        wait_until(lambda: home.json("status")["points"] == 2, 30)
        assert home.wait_exact()["rejected"] == 0
        assert daemon.stop() == 0


def test_a_reload_in_the_middle_of_a_backlog_loses_nothing_and_embeds_nothing_twice(configured: Home) -> None:
    home = configured
    home.add_samples()
    picture = (home.images / "cat.jpg").read_bytes()
    for number in range(60):
        (home.images / f"{number}.jpg").write_bytes(picture + str(number).encode())
    with home.daemon() as daemon:
        for size in (3, 7, 5):
            daemon.wait_for("batch.embedded", 1)
            _reload(home, daemon, IMAGES + f"settle_seconds = 0.{size}\n[batch]\nsize = {size}\n")
        wait_until(lambda: home.json("status")["points"] == 72, 60)
        status = home.wait_exact()
        assert status["done"]["embedded"] == 72
        assert max(event["images"] for event in daemon.events("batch.embedded")[-3:]) <= 7
        assert home.json("verify")["exact"] is True
        assert daemon.stop() == 0


def test_a_configuration_that_cannot_be_taken_leaves_the_old_one_in_force(configured: Home) -> None:
    wrong = {
        "[batch]\nsize = 0\n": "batch.size",
        "[batch\n": "not valid TOML",
        IMAGES + '[store]\nurl = "embedded:elsewhere"\n': "store.url",
        IMAGES + '[model]\npooling = "mean"\n': "model.pooling",
        IMAGES + '[state]\npath = "elsewhere"\n': "state.path",
        IMAGES + '[image]\nbackground = "no colour"\n': "background",
    }
    with configured.daemon() as daemon:
        for text, said in wrong.items():
            assert said in str(_reload(configured, daemon, text, "config.refused")["reason"])
        (configured.path / "config.toml").write_text(IMAGES)
        configured.add_samples("rocket.jpg")
        wait_until(lambda: configured.json("status")["points"] == 3, 30)
        assert not daemon.events("config.reloaded")
        assert daemon.stop() == 0


def test_the_log_changes_its_level(configured: Home) -> None:
    with configured.daemon() as daemon:
        assert not daemon.events("ledger.read")
        _reload(configured, daemon, IMAGES + 'ignore = []\n[log]\nlevel = "debug"\n')
        assert configured.json("sync")["images"] == 2
        assert daemon.events("ledger.read")
        (configured.path / "config.toml").write_text(IMAGES + '[log]\nlevel = "error"\n')
        daemon.process.send_signal(signal.SIGHUP)
        # Read in the same turn or in the next one: only after it is the bad one refused.
        wait_until(lambda: configured.json("status")["watch"][0]["state"] == "watching", 30)
        _reload(configured, daemon, "[batch\n", "config.refused")
        assert daemon.stop() == 0
    assert daemon.events()[-1]["event"] == "config.refused"


def test_http_serves_on_under_other_limits(configured: Home) -> None:
    home = configured
    home.environment["CLIPWATCH_HTTP__LISTEN"] = "127.0.0.1:0"
    with home.daemon() as daemon:
        first = str(daemon.wait_for("http.listening")[-1]["address"])
        _reload(home, daemon, IMAGES + "[limits]\nfile_megabytes = 1\n")
        second = str(daemon.wait_for("http.listening", 2)[-1]["address"])
        assert httpx.get(f"{second}/healthz").status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{first}/healthz")
        assert daemon.stop() == 0
