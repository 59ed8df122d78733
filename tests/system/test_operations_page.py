"""The commands of docs/operations.md do what the page says: each is parsed, and run where that takes no root."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from clipwatch.cli.parser import build_parser
from clipwatch.service.status import STATES
from support.commands import Home

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


class Block(NamedTuple):
    kind: str
    """`run`: without a daemon; `running`: beside one; "": not here."""
    commands: list[str]


def _blocks() -> list[Block]:
    found = re.findall(r"^```console ?(\w*)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(kind, [line[2:] for line in text.splitlines() if line.startswith("$ ")]) for kind, text in found]


def test_every_clipwatch_command_on_the_page_can_be_said() -> None:
    checked = 0
    for command in (command for block in _blocks() for command in block.commands):
        words = shlex.split(command.partition(" > ")[0], comments=True)
        while words[0] == "sudo" or re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
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


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_commands_work_one_after_the_other(home: Home) -> None:
    home.add_samples("cat.jpg", "moon.png", "rocket.jpg")
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"

    def run(command: str) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=home.path,
            env={**home.full_environment(), "PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    for block in _blocks():
        if block.kind == "run":
            for command in block.commands:
                run(command)
        elif block.kind == "running":
            with home.daemon() as daemon:
                home.wait_exact()
                for command in block.commands:
                    run(command)
                assert daemon.stop() == 0
