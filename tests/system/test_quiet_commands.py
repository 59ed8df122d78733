"""What commands say of their own accord: the log of the configuration is for `run`."""

from __future__ import annotations

import json

import pytest

from support.commands import Home
from support.terminal import on_a_terminal

QUESTIONS = (("sync",), ("verify",), ("search", "cat"), ("status",), ("sync", "--dry-run"))


@pytest.mark.slow
@pytest.mark.parametrize("level", ["info", "debug"])
def test_a_file_that_config_init_wrote_makes_no_command_noisy(home: Home, level: str) -> None:
    home.add_samples("cat.jpg", "moon.png")
    home.run("config", "init")
    file = home.path / "config.toml"
    file.write_text(file.read_text().replace('level = "info"', f'level = "{level}"'))
    for question in QUESTIONS:
        said = [json.loads(line) for line in home.run(*question).stderr.splitlines()]
        assert {line["level"] for line in said} <= {"warning"}, question
    assert "{" not in on_a_terminal(home, "verify")


@pytest.mark.slow
def test_the_environment_is_for_the_service_too(home: Home) -> None:
    home.add_samples("cat.jpg")
    home.environment |= {"CLIPWATCH_LOG__LEVEL": "debug", "CLIPWATCH_LOG__FORMAT": "console"}
    assert '"level": "info"' not in home.run("sync").stderr
    with home.daemon("--log-format", "json") as daemon:
        assert daemon.events("daemon.ready")


@pytest.mark.parametrize("place", ["before the command", "after it"])
def test_what_the_command_line_asks_for_is_told(home: Home, place: str) -> None:
    home.add_samples("cat.jpg")
    asked = ("--log-level", "info", "--log-format", "json")
    done = home.run(*asked, "sync") if place == "before the command" else home.run("sync", *asked)
    assert "batch.stored" in {json.loads(line)["event"] for line in done.stderr.splitlines()}


def test_the_configuration_may_be_named_after_the_command(home: Home) -> None:
    (home.path / "other.toml").write_text("[batch]\nsize = 7\n")
    for words in (("--config", "other.toml", "config", "show"), ("config", "show", "--config", "other.toml")):
        settings = {item["key"]: item["value"] for item in home.json(*words)["settings"]}
        assert settings["batch.size"] == 7
