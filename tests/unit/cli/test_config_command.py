"""`config init` and `config schema`: what they write, and where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipwatch import config_file
from clipwatch.cli.parser import run
from clipwatch.config import Config
from clipwatch.config_example import schema


def test_a_file_is_written_into_a_directory_that_is_made_for_it(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "clipwatch" / "config.toml"
    assert run(["config", "init", str(file)]) == 0
    assert config_file.load(file, {}).config == Config()


@pytest.mark.parametrize("name", ["there.toml", "directory", "there.toml/below/config.toml", "there.toml/config.toml"])
def test_what_cannot_be_written_is_said_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "there.toml").write_text("kept")
    (tmp_path / "directory").mkdir()
    assert run(["config", "init", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert ("--force" in said) == (name in ("there.toml", "directory"))
    assert (tmp_path / "there.toml").read_text() == "kept"


def test_the_schema_is_told_even_where_the_file_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text("[bacth]\n")
    monkeypatch.setenv("CLIPWATCH_CONFIG", str(tmp_path / "config.toml"))
    assert run(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


def test_a_file_without_a_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["config", "init", "", "--force"]) == 2
    assert not list(tmp_path.iterdir())
