"""What of a new configuration may be taken while the daemon runs, and what is said of the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clipwatch.config import (
    BatchConfig,
    Config,
    ImageConfig,
    LogConfig,
    ModelConfig,
    StateConfig,
    StoreConfig,
    WatchConfig,
)
from clipwatch.config_file import LoadedConfig
from clipwatch.errors import ConfigError
from clipwatch.service.reload import Difference, difference, named_keys, reload

OLD = Config()


class Lines:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.told.append((event, fields))

    error = warning = info


def _reload(new: Config | ConfigError, *, taking: ConfigError | None = None) -> tuple[list[Any], Lines]:
    lines, taken = Lines(), []

    def load() -> LoadedConfig:
        if isinstance(new, ConfigError):
            raise new
        return LoadedConfig(new, {}, None)

    def take(loaded: LoadedConfig, changed: tuple[str, ...]) -> None:
        if taking is not None:
            raise taking
        taken.append((loaded.config, changed))

    reload(OLD, load, take, lines)
    return taken, lines


def test_the_same_configuration_differs_in_nothing() -> None:
    assert difference(OLD, Config()) == Difference((), ())


def test_keys_of_live_tables_are_named() -> None:
    new = replace(OLD, batch=BatchConfig(size=3), log=LogConfig(level="debug"))
    assert difference(OLD, new) == Difference(("batch.size", "log.level"), ())


def test_watch_tables_are_known_by_name_and_not_by_position() -> None:
    more = WatchConfig(path="more", name="more")
    changed = replace(OLD.watch[0], settle_seconds=2.0)
    assert difference(OLD, replace(OLD, watch=(more, changed))).live == ("watch[images].settle_seconds", "watch[more]")
    assert difference(replace(OLD, watch=(more, changed)), replace(OLD, watch=(changed, more))) == Difference((), ())
    assert difference(replace(OLD, watch=(changed, more)), replace(OLD, watch=(more,))).live == ("watch[images]",)


def test_store_model_and_state_cannot_change_while_it_runs() -> None:
    new = replace(
        OLD, store=StoreConfig(timeout_seconds=5), model=ModelConfig(path="x"), state=StateConfig("y"), log=LogConfig()
    )
    assert difference(OLD, new).fixed == ("model.path", "store.timeout_seconds", "state.path")


def test_a_good_one_is_taken_and_told_with_its_keys() -> None:
    new = replace(OLD, batch=BatchConfig(size=3))
    taken, lines = _reload(new)
    assert taken == [(new, ("batch.size",))]
    assert lines.told == [("config.reloaded", {"changed": ["batch.size"]})]


def test_a_change_beside_a_fixed_one_is_not_taken_either() -> None:
    taken, lines = _reload(replace(OLD, batch=BatchConfig(size=3), store=StoreConfig(collection="other")))
    assert taken == []
    event, fields = lines.told[0]
    assert (event, fields["keys"]) == ("config.refused", ["store.collection"])
    assert "store.collection" in fields["reason"]


def test_a_file_that_cannot_be_read_changes_nothing() -> None:
    taken, lines = _reload(
        ConfigError("limits.decode_seconds must be between 0.1 and 3600, not 0.", hint="Correct it.")
    )
    assert taken == []
    assert [event for event, _ in lines.told] == ["config.refused"]
    assert "limits.decode_seconds" in lines.told[0][1]["reason"]
    assert lines.told[0][1]["keys"] == ["limits.decode_seconds"]
    assert lines.told[0][1]["hint"] == "Correct it."


@pytest.mark.parametrize(
    ("sentence", "keys"),
    [
        ("watch[0].ignore: '[a' could never match.", ["watch[0].ignore"]),
        ("watch[0].path and watch[1].path are the same folder.", ["watch[0].path", "watch[1].path"]),
        ("Unknown key watch[0].path2 in config.toml.", ["watch[0].path2"]),
        ("/etc/clipwatch/config.toml is not valid TOML: line 3.", []),
    ],
)
def test_the_keys_that_a_refusal_names_are_told(sentence: str, keys: list[str]) -> None:
    assert named_keys(sentence) == keys


def test_what_turns_out_wrong_while_it_is_taken_is_told_as_refused() -> None:
    _, lines = _reload(replace(OLD, batch=BatchConfig(size=3)), taking=ConfigError("image.background is no colour."))
    assert [event for event, _ in lines.told] == ["config.refused"]


def test_no_value_is_ever_told() -> None:
    secret = "s3cret-word"  # noqa: S105 - what must not show
    _, lines = _reload(replace(OLD, store=StoreConfig(api_key=secret)))
    assert secret not in repr(lines.told)


def test_another_background_moves_vectors_as_another_model_does() -> None:
    found = difference(OLD, replace(OLD, image=ImageConfig(background="black", exact_decode=True)))
    assert found == Difference(live=("image.exact_decode",), fixed=("image.background",))
