"""The lock files: what `make run` installs, what `make test` adds, and that one version of each package is meant."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-convert.lock")


def _pins(name: str) -> set[str]:
    """Each `name==version ; marker` of a lock file."""
    lines = (CHECKOUT / name).read_text().splitlines()
    return {line.removesuffix(" \\") for line in lines if re.match(r"[a-z0-9-]+==", line)}


def _names(pins: set[str]) -> set[str]:
    return {pin.partition("==")[0] for pin in pins}


def _project() -> dict[str, list[str]]:
    """The names that `pyproject.toml` asks for, by what for."""
    table = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    wanted = {"run": table["project"]["dependencies"], **table["dependency-groups"]}
    return {
        what: [re.split(r"[<>=;\[ ]", line)[0] for line in lines if isinstance(line, str)]
        for what, lines in wanted.items()
    }


def test_what_runs_is_all_in_the_lock_of_what_runs_and_nothing_of_the_tests_is() -> None:
    wanted, locked = _project(), _names(_pins("requirements.lock"))
    assert set(wanted["run"]) | set(wanted["build"]) <= locked
    assert not locked & set(wanted["dev"]) - {"pyyaml"}  # huggingface-hub needs that one as well


def test_the_tests_run_with_the_versions_that_run() -> None:
    assert _pins("requirements.lock") < _pins("requirements-dev.lock")
    assert set(_project()["dev"]) <= _names(_pins("requirements-dev.lock"))


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_a_hash_and_no_index_is_named(name: str) -> None:
    text = (CHECKOUT / name).read_text()
    requirements = re.findall(r"^[^\s#][^\\\n]*((?: \\\n +--hash=sha256:[0-9a-f]{64})*)$", text, re.MULTILINE)
    assert len(requirements) == len(_pins(name))
    assert all(requirements)
    assert "://" not in text
    assert "index" not in text
