"""The commands of docs/operations.md do what the page says: each is parsed, and run where that takes no root.

Those of the service are run by `test_systemd_container.py`. The tour of the README is run as it stands there.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from clipwatch.cli.parser import build_parser
from clipwatch.service.status import STATES
from support.commands import Home
from support.folders import wait_until
from support.pages import DOCS, README, console_blocks

PAGE = DOCS / "operations.md"


def test_every_clipwatch_command_on_the_page_can_be_said() -> None:
    checked = 0
    for command in (command for block in console_blocks(PAGE) for command in block.commands):
        words = shlex.split(command.partition(" > ")[0], comments=True)
        while words[0] == "sudo" or re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        if words[0] == "-u":
            words = words[2:]
        if Path(words[0]).name == "clipwatch":
            build_parser().parse_args(words[1:])
            checked += 1
    assert checked >= 20


def test_every_state_and_exit_status_is_explained() -> None:
    text = PAGE.read_text()
    for state in STATES:
        assert f"`{state}`" in text, state
    for status in range(5):
        assert re.search(rf"^\| {status} \|", text, re.MULTILINE), status


def _shell(home: Home, command: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=home.path,
        env={**home.full_environment(), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_commands_work_one_after_the_other(home: Home) -> None:
    home.add_samples("cat.jpg", "moon.png", "rocket.jpg")
    for block in console_blocks(PAGE):
        assert block.kind in ("", "run", "running", "service")
        if block.kind == "run":
            for command in block.commands:
                _shell(home, command)
        elif block.kind == "running":
            with home.daemon() as daemon:
                home.wait_exact()
                for command in block.commands:
                    _shell(home, command)
                assert daemon.stop() == 0


@pytest.mark.slow
def test_the_tour_of_the_readme_can_be_taken(home: Home) -> None:
    home.add_samples()
    (home.path / ".venv").symlink_to(Path(sys.prefix))
    commands = [command for block in console_blocks(README) for command in block.commands]
    toured = [command for command in commands if not command.startswith("make ")]
    assert [command for command in toured if "clipwatch search" in command]
    with home.daemon() as daemon:
        home.wait_exact()
        for command in toured:
            # Each line is typed by a person: the daemon has noticed what the one before did.
            wait_until(lambda: home.json("verify", expect=None)["exact"], 60)
            _shell(home, command)
        assert daemon.stop() == 0


def test_what_the_readme_shows_is_real() -> None:
    assert "TOUR_" not in README.read_text()
