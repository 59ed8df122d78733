"""Settings: one truth for defaults, words and bounds."""

from __future__ import annotations

import json
import os
import tomllib
import typing
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipwatch import config, config_example, config_file, system_paths
from clipwatch.cli.model import beside_the_default
from clipwatch.errors import ConfigError

ROOT = Path(__file__).parents[2]


def test_the_example_file_is_what_the_program_writes_and_holds_every_default() -> None:
    text = (ROOT / "config.example.toml").read_text()
    assert text == config_example.example()
    assert config_file.load(ROOT / "config.example.toml", {}).config == config.Config()


@pytest.mark.parametrize(("name", "below"), [("config", "/var/lib/clipwatch"), ("work", "/var/lib/clipwatch/work")])
def test_in_the_file_of_a_service_no_path_depends_on_where_one_stands(name: str, below: str) -> None:
    file = Path(f"/etc/clipwatch/{name}.toml")
    values = tomllib.loads(config_example.example(file))
    assert values["watch"][0]["path"] == f"{below}/images"
    assert values["model"]["path"] == f"{below}/models/clip_vision.onnx"
    assert values["store"]["url"] == f"embedded:{below}/data/store"
    assert values["state"]["path"] == f"{below}/data/state"
    relative = tomllib.loads(config_example.example())
    for (section, key), value in {("watch", "name"): "images", ("log", "level"): "info"}.items():
        table = values[section]
        assert (table[0] if section == "watch" else table)[key] == value
    assert values.keys() == relative.keys()


def test_models_are_fetched_to_where_the_default_one_is_looked_for() -> None:
    assert beside_the_default("models/clip_vision.onnx") == Path("models")
    assert beside_the_default("/var/lib/clipwatch/models/clip_vision.onnx") == Path("/var/lib/clipwatch/models")
    assert beside_the_default("/srv/siglip") == beside_the_default("models/siglip/vision.onnx") == Path("models")


def test_what_config_init_wrote_is_no_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demonstration model is used where the default one is absent, and a service's file spells it out."""
    monkeypatch.setattr(system_paths, "SYSTEM_CONFIGS", tmp_path)
    file = tmp_path / "config.toml"
    file.write_text(config_example.example(file))
    assert not config_file.load(file, {}).chosen("model.path")
    file.write_text(file.read_text().replace("/models/", "/other/"))
    assert config_file.load(file, {}).chosen("model.path")


def test_what_is_made_from_the_settings_is_up_to_date() -> None:
    """`python -m clipwatch.config_example` writes all three."""
    assert (ROOT / "docs" / "configuration.md").read_text() == config_example.reference()
    assert json.loads((ROOT / "docs" / "config.schema.json").read_text()) == config_example.schema()


def test_the_schema_accepts_the_example_and_knows_every_bound() -> None:
    properties = config_example.schema()["properties"]
    document = tomllib.loads(config_example.example())
    for section, value in document.items():
        table = properties[section].get("items", properties[section])["properties"]
        for given_keys in value if section == "watch" else [value]:
            assert given_keys.keys() == table.keys()
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
    assert "image.background" not in loaded.sources


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
    (tmp_path / "key").write_text(" \n")
    with pytest.raises(ConfigError, match="is empty"):
        config_file.api_key(config.StoreConfig(api_key_file=str(tmp_path / "key")), {})


@pytest.mark.parametrize("key", ["clé", "tab\tin it", "\x7f"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(tmp_path: Path, key: str) -> None:
    (tmp_path / "key").write_text(key)
    with pytest.raises(ConfigError, match="plain ASCII") as in_file:
        config_file.api_key(config.StoreConfig(api_key_file=str(tmp_path / "key")), {})
    with pytest.raises(ConfigError, match="plain ASCII") as in_settings:
        config_file.load(None, {"CLIPWATCH_STORE__API_KEY": key})
    assert key not in in_file.value.sentence() + in_settings.value.sentence()


def test_the_engine_may_listen_with_a_key_from_the_credentials(tmp_path: Path) -> None:
    environment = {"CLIPWATCH_STORE__EMBEDDED_LISTEN": "127.0.0.1:0", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    with pytest.raises(ConfigError, match=r"needs store\.api_key"):
        config_file.load(None, environment)
    (tmp_path / "api_key").write_text("from systemd\n")
    assert config_file.load(None, environment).config.store.embedded_listen == "127.0.0.1:0"


@pytest.mark.parametrize("name", ["", ".", "..", "a\nb", *(f"a{c}b" for c in '<>:"/\\|?*'), "a" * 241, "ä" * 121])
def test_a_name_that_no_server_takes_for_a_collection_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.collection"):
        config_file.load(None, {"CLIPWATCH_STORE__COLLECTION": name})


@pytest.mark.parametrize("name", ["images", "my images", "bilder-ä", "a" * 240])
def test_a_name_that_a_server_takes_is_taken(name: str) -> None:
    assert config_file.load(None, {"CLIPWATCH_STORE__COLLECTION": name}).config.store.collection == name


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "ftp://host",
        "http://ho st:6333",
        "http://a..b",
        "http://a\tb",
        "http://ho%00st",
        "http://xn--:1",
        "http://host:0",
        "http://host:65536",
        "http://[::1",
        "http://" + "a" * 64,
        "grpc://ü:6334",
        "http://host/?key=secret",
        "http://host/#key",
        "http://me:secret@host",
        "embedded:",
    ],
)
def test_what_is_no_address_of_a_store_is_refused(url: str) -> None:
    environment = {"CLIPWATCH_STORE__URL": url, "CLIPWATCH_WATCH__NAME": "mine"}
    with pytest.raises(ConfigError, match=r"store\.url"):
        config_file.load(None, environment)


@pytest.mark.parametrize(
    "url", ["http://host", "https://a.b.c.:6333/qdrant", "grpcs://[::1]:6334", "http://10.0.0.1:1"]
)
def test_an_address_of_a_store_is_taken(url: str) -> None:
    environment = {"CLIPWATCH_STORE__URL": url, "CLIPWATCH_WATCH__NAME": "mine"}
    assert config_file.load(None, environment).config.store.url == url


@pytest.mark.parametrize(
    ("table", "key", "meant"),
    [
        ("watch", "rescan_seconds", "rescan_minutes"),
        ("watch", "rescan_hours", "rescan_minutes"),
        ("watch", "settle_ms", "settle_seconds"),
        ("store", "timeout", "timeout_seconds"),
        ("store", "timeout_ms", "timeout_seconds"),
        ("batch", "max_wait_milliseconds", "max_wait_seconds"),
        ("limits", "file_mb", "file_megabytes"),
        ("limits", "file_bytes", "file_megabytes"),
        ("limits", "image_pixels", "image_megapixels"),
        ("limits", "decode_minutes", "decode_seconds"),
        ("limits", "decode_memory_gb", "decode_memory_megabytes"),
        ("limits", "delete_percent", "delete_fraction"),
        ("limits", "delete_hold_hours", "delete_hold_minutes"),
        ("store", "colection", "collection"),
        ("model", "paht", "path"),
    ],
)
def test_a_wrong_unit_or_a_slip_names_the_key_that_is_meant(tmp_path: Path, table: str, key: str, meant: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f"{'[[watch]]' if table == 'watch' else f'[{table}]'}\n{key} = 1\n")
    with pytest.raises(ConfigError, match=key) as refused:
        config_file.load(file, {})
    assert refused.value.hint == f"Did you mean `{meant}`?"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CLIPWATCH_BATCH_SIZE", "CLIPWATCH_BATCH__SIZE"),
        ("CLIPWATCH_STORE_URL", "CLIPWATCH_STORE__URL"),
        ("CLIPWATCH_STORE_APIKEY", "CLIPWATCH_STORE__API_KEY"),
        ("CLIPWATCH_LIMITS_FILE_MEGABYTE", "CLIPWATCH_LIMITS__FILE_MEGABYTES"),
    ],
)
def test_a_variable_with_one_underscore_is_refused(name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=name) as refused:
        config_file.load(None, {name: "1"})
    assert f"`{meant}`" in refused.value.hint


@pytest.mark.parametrize(
    "name",
    [
        "CLIPWATCH_CONFIG",
        "CLIPWATCH_ENGINE_API_KEY",
        "CLIPWATCH_ENGINES",
        "CLIPWATCH_TEST_QDRANT_URL",
        "CLIPWATCH_TEST_QDRANT_API_KEY",
        "CLIPWATCH_SOAK_SEED",
        "CLIPWATCH_SERVICE_HOST",
        "CLIPWATCH_STORE_SERVICE_HOST",
        "CLIPWATCH_STORE_PORT",
        "CLIPWATCH_PORT_8766_TCP",
        "CLIPWATCH_VERSION",
    ],
)
def test_a_variable_that_others_set_is_none_of_our_business(name: str) -> None:
    assert config_file.load(None, {name: "1"}).sources == {}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"STATE__PATH": "images"}, "state.path lies within"),
        ({"STATE__PATH": "images/a/state"}, "state.path lies within"),
        ({"STATE__PATH": "link/state"}, "state.path lies within"),
        ({"STORE__URL": "embedded:images/store"}, "store.url lies within"),
        ({"WATCH__PATH": "."}, "state.path lies within"),
        ({"STATE__PATH": ""}, "state.path is empty"),
        ({"STATE__PATH": "x" * 256}, "more than 255 bytes"),
        ({"STORE__URL": "embedded:" + "x" * 256}, "more than 255 bytes"),
        ({"WATCH__MARKER": "/etc/passwd"}, "must name a file below"),
        ({"WATCH__MARKER": "a/../../b"}, "must name a file below"),
        ({"WATCH__EXTENSIONS": "jpg,."}, "one of them is"),
    ],
)
def test_nothing_is_written_into_a_folder_and_no_place_is_nonsense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "link").symlink_to("images")
    with pytest.raises(ConfigError, match=told):
        config_file.load(None, {f"CLIPWATCH_{key}": value for key, value in settings.items()})
    config_file.load(None, {"CLIPWATCH_STATE__PATH": "images-state", "CLIPWATCH_STORE__URL": "embedded:."})


KEYS = [(section, f.name) for section, kind in config.SECTIONS.items() for f in fields(kind)]
WRONG_ANYWHERE = ["1979-05-27", "{a = 1}", "[[]]", "[1, 2]", '["a", 2]', '"a\\u0000b"', '["a\\u0000"]']
WRONG_SOMEWHERE = [
    "5", "-5", "0", "1.5", "nan", "inf", "-1e300", "1" + "0" * 300, "true", "[]", '""', '" "', '"a\\nb"',
    '"\\u001b[31m"', '"ü/../\\U0001F600"', '"none"', '":"', '"[::1]:0"', '"http://x"', '"{}{}"', f'"{"x" * 3000}"',
]  # fmt: skip


def load_one(file: Path, section: str, key: str, literal: str) -> ConfigError | None:
    header = "[[watch]]" if section == "watch" else f"[[watch]]\nname = 'mine'\n[{section}]"
    file.write_text(f"{header}\n{key} = {literal}\n", encoding="utf-8")
    try:
        config_file.load(file, {})
    except ConfigError as error:
        return error
    return None


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_whatever_a_key_is_set_to_is_taken_or_refused_in_one_sentence(tmp_path: Path, section: str, key: str) -> None:
    file = tmp_path / "c.toml"
    for literal in WRONG_ANYWHERE:
        assert load_one(file, section, key, literal) is not None, literal
    refusals = [load_one(file, section, key, literal) for literal in WRONG_ANYWHERE + WRONG_SOMEWHERE]
    for refused in filter(None, refusals):
        assert key in refused.message
        assert "\n" not in refused.sentence()
        assert refused.exit_status == 2


_TOML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@given(st.sampled_from(KEYS), _TOML)
def test_no_value_of_any_type_gets_past_but_as_a_setting(where: tuple[str, str], value: object) -> None:
    """By way of the command line's overrides, which take any object."""
    try:
        loaded = config_file.load(None, {}, {where: value})
    except ConfigError:
        return
    section, key = where
    table = getattr(loaded.config, section)
    setting = getattr(table[0] if section == "watch" else table, key)
    kind = typing.get_type_hints(config.SECTIONS[section])[key]
    assert type(setting) is (typing.get_origin(kind) or kind)


@pytest.mark.parametrize("text", ["a = 1" + "0" * 5000, "a = " + "[" * 5000, "a = 1\na = 2", "a", "\x00"])
def test_what_is_no_toml_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="not valid TOML"):
        config_file.load(file, {})


def test_links_in_a_circle_are_a_folder_that_is_not_there_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert config_file.load(None, {"CLIPWATCH_WATCH__PATH": str(tmp_path / "a")}).config.watch[0].path


def test_a_secret_of_a_wrong_type_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[store]\napi_key = ["s3cret"]\n')
    with pytest.raises(ConfigError, match=r"store\.api_key .* must be a string, not a list") as refused:
        config_file.load(file, {})
    assert "s3cret" not in refused.value.sentence()


def test_a_file_that_may_never_end_or_never_come_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", Path("/dev/null"), tmp_path):
        with pytest.raises(ConfigError, match=r"cannot be read: (Not a regular file|Is a directory)"):
            config_file.load(file, {})


def test_a_file_of_a_megabyte_is_read_and_a_larger_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(b"#" * config_file.CONFIG_BYTES)
    config_file.load(file, {})
    file.write_bytes(b"#" * (config_file.CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="has more than the 1000000 bytes"):
        config_file.load(file, {})


@pytest.mark.parametrize("colour", ["nocolour", "", "#12", "rgb(1,2)"])
def test_a_background_that_is_no_colour_is_refused(colour: str) -> None:
    with pytest.raises(ConfigError, match=r"image\.background .* is no colour"):
        config_file.load(None, {"CLIPWATCH_IMAGE__BACKGROUND": colour})


def test_a_background_that_is_a_colour_is_taken() -> None:
    for colour in ("auto", "white", "Lime", "#102030"):
        assert config_file.load(None, {"CLIPWATCH_IMAGE__BACKGROUND": colour}).config.image.background == colour


@pytest.mark.parametrize(
    ("key", "values", "words"),
    [
        ("ignore", "/", "can never match"),
        ("ignore", "a//b", "can never match"),
        ("ignore", "./thumbs", "can never match"),
        ("ignore", "../other", "can never match"),
        ("ignore", "!", "can never match"),
        ("ignore", "thumb[1", "can never match"),
        ("ignore", "thumb\\\\\\", "can never match"),
        ("ignore", "[[:digit:]].jpg", "cannot be used"),
        ("ignore", "[z-a]", "can never match"),
        ("extensions", "*.j?g", "no extension"),
        ("extensions", "sub/*.jpg", "no extension"),
        ("extensions", "*", "no file would ever match"),
    ],
)
def test_what_can_never_match_is_refused_by_name(key: str, values: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        config_file.load(None, {f"CLIPWATCH_WATCH__{key.upper()}": f"jpg,{values}"})
    assert f"watch[0].{key}" in refused.value.message


def test_patterns_as_people_write_them_are_taken() -> None:
    patterns = "@eaDir/,**/@eaDir/**,/sub,sub/*.jpg,!keep.jpg,#recycle,\\#x,***,a**b,caf[éè],[!a]*,[]-]"
    loaded = config_file.load(
        None, {"CLIPWATCH_WATCH__IGNORE": patterns, "CLIPWATCH_WATCH__EXTENSIONS": ".jpg,*.png,TIF"}
    )
    assert loaded.config.watch[0].ignore == tuple(patterns.split(","))
