"""Settings: one truth for defaults, words and bounds."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from clipwatch import config, config_example, config_file
from clipwatch.errors import ConfigError

ROOT = Path(__file__).parents[2]


def test_the_example_file_is_what_the_program_writes_and_holds_every_default() -> None:
    text = (ROOT / "config.example.toml").read_text()
    assert text == config_example.example()
    assert config_file.load(ROOT / "config.example.toml", {}).config == config.Config()


def test_what_is_made_from_the_settings_is_up_to_date() -> None:
    """`python -m clipwatch.config_example` writes all three."""
    assert (ROOT / "docs" / "configuration.md").read_text() == config_example.reference()
    assert json.loads((ROOT / "docs" / "config.schema.json").read_text()) == config_example.schema()


def test_the_schema_accepts_the_example_and_knows_every_bound() -> None:
    properties = config_example.schema()["properties"]
    document = tomllib.loads(config_example.example())
    for section, value in document.items():
        table = properties[section].get("items", properties[section])["properties"]
        for given in value if section == "watch" else [value]:
            assert given.keys() == table.keys()
    assert properties["batch"]["properties"]["size"] | {"description": ""} == {
        "description": "",
        "type": "integer",
        "default": 25,
        "minimum": 1,
        "maximum": 1000,
    }


def test_the_environment_beats_the_file_and_the_command_line_beats_both(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[log]\nlevel = 'error'\n[batch]\nsize = 7\n[limits]\nfile_megabytes = 3\n")
    environment = {"CLIPWATCH_LOG__LEVEL": "warning", "CLIPWATCH_BATCH__SIZE": "8", "CLIPWATCH_CONFIG": "ignored"}
    loaded = config_file.load(file, environment, {("log", "level"): "debug"})
    assert (loaded.config.log.level, loaded.config.batch.size, loaded.config.limits.file_megabytes) == ("debug", 8, 3)
    assert loaded.sources["log.level"] == "command line"
    assert loaded.sources["batch.size"] == "CLIPWATCH_BATCH__SIZE"
    assert loaded.sources["limits.file_megabytes"] == str(file)
    assert not loaded.given("image.background")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CLIPWATCH_BATCH__SIZE", "many"),
        ("CLIPWATCH_BATCH__SIEZ", "1"),
        ("CLIPWATCH_WATCH__RECURSIVE", "perhaps"),
        ("CLIPWATCH_NOWHERE__KEY", "1"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=name):
        config_file.load(None, {name: text})


def test_lists_in_the_environment_are_separated_by_commas() -> None:
    loaded = config_file.load(None, {"CLIPWATCH_WATCH__EXTENSIONS": "jpg, webp"})
    assert loaded.config.watch[0].extensions == ("jpg", "webp")


def test_folders_within_one_another_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[[watch]]\npath = 'a'\nname = 'a'\n[[watch]]\npath = 'a/b'\nname = 'b'\n")
    with pytest.raises(ConfigError, match="lies within"):
        config_file.load(file, {})


def test_every_key_has_words_and_survives_a_round_trip() -> None:
    document = tomllib.loads(config_example.example())
    assert document.keys() == config.SECTIONS.keys()


def test_the_key_of_the_store_comes_from_its_file_or_the_credentials(tmp_path: Path) -> None:
    (tmp_path / "api_key").write_text("from systemd\n")
    (tmp_path / "key").write_text("from a file\n")
    store = config.StoreConfig()
    assert config_file.api_key(store, {}) == ""
    assert config_file.api_key(store, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "from systemd"
    assert config_file.api_key(config.StoreConfig(api_key_file=str(tmp_path / "key")), {}) == "from a file"
    with pytest.raises(ConfigError, match="cannot be read"):
        config_file.api_key(config.StoreConfig(api_key_file=str(tmp_path / "none")), {})
