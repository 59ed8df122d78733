"""The recipe of the container image, as far as that can be told without building it."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from clipwatch.cli.parser import build_parser
from clipwatch.config_file import load
from support.optional import lacking

CHECKOUT = Path(__file__).parents[2]


def _instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (CHECKOUT / "Containerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def _last(name: str) -> str:
    return [rest for instruction, rest in _instructions() if instruction == name][-1]


def test_a_linter_finds_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        lacking("hadolint is not installed")
    done = subprocess.run([hadolint, CHECKOUT / "Containerfile"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_the_image_that_runs_has_no_compilers_and_no_root() -> None:
    names = [instruction for instruction, _ in _instructions()]
    assert names.count("FROM") == 2
    assert _last("FROM").endswith("python:3.11-slim")
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert int(_last("USER")) > 0


def test_it_installs_the_locked_packages_by_their_hashes_and_no_others() -> None:
    installs = [rest for instruction, rest in _instructions() if instruction == "RUN" and "pip install" in rest]
    assert "--require-hashes -r requirements.lock" in installs[0]
    assert all("--no-deps --no-build-isolation" in rest for rest in installs[1:])


def test_what_it_copies_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (CHECKOUT / ".containerignore").read_text().splitlines() if line.startswith("!")}
    for instruction, rest in _instructions():
        if instruction == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (CHECKOUT / source).exists(), source
                assert any(fnmatch.fnmatch(source, pattern) for pattern in kept), source


def test_its_settings_are_settings_and_its_commands_are_commands() -> None:
    words = [word.partition("=") for word in shlex.split(_last("ENV"))]
    environment = {name: value for name, _, value in words if name.startswith("CLIPWATCH_")}
    config = load(None, {**environment, "CLIPWATCH_HTTP__TOKEN": "x" * 32}).config
    assert config.watch[0].path == "/images"
    health = json.loads(_last("HEALTHCHECK").partition("CMD ")[2])
    for command in (health[1:], json.loads(_last("CMD"))):
        build_parser().parse_args(command)
    assert os.path.isabs(_last("WORKDIR"))
