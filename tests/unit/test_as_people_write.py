"""Configuration as people write it: a mark of Windows editors, `~` for the home directory, addresses without a port."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from clipwatch.config import SECTIONS, StoreConfig, server_address
from clipwatch.config_file import api_key, find_file, load
from clipwatch.errors import ConfigError
from clipwatch.system_paths import expanded

BOM = b"\xef\xbb\xbf"
HOME = {"HOME": "/home/somebody"}
PATHS = {
    "watch": ("path",),
    "model": ("path",),
    "store": ("url", "api_key_file", "tls_ca_file"),
    "state": ("path",),
}


def test_a_mark_before_the_text_is_no_part_of_file_or_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(BOM + b"secret\r\n")
    (tmp_path / "c.toml").write_bytes(BOM + b'[store]\r\napi_key_file = "%s"\r\n' % os.fsencode(tmp_path / "key"))
    loaded = load(tmp_path / "c.toml", {})
    assert api_key(loaded.config.store, {}) == "secret"
    assert api_key(StoreConfig(), {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == ""
    (tmp_path / "api_key").write_bytes(BOM + b"other")
    assert api_key(StoreConfig(), {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "other"


@pytest.mark.parametrize(("section", "key"), [(section, key) for section, keys in PATHS.items() for key in keys])
@pytest.mark.parametrize("where", ["file", "environment"])
def test_home_is_meant_in_every_path(tmp_path: Path, section: str, key: str, where: str) -> None:
    scheme = "embedded:" if key == "url" else ""
    environment = dict(HOME)
    if where == "file":
        head = f"[[{section}]]" if section == "watch" else f"[{section}]"
        (tmp_path / "c.toml").write_text(f'{head}\n{key} = "{scheme}~/x"\n')
    else:
        environment[f"CLIPWATCH_{section}__{key}".upper()] = f"{scheme}~/x"
    config = load(tmp_path / "c.toml" if where == "file" else None, environment).config
    table = config.watch[0] if section == "watch" else getattr(config, section)
    assert getattr(table, key) == f"{scheme}/home/somebody/x"


def test_every_key_that_names_a_place_is_among_them() -> None:
    marked = {
        (section, f.name) for section, kind in SECTIONS.items() for f in dataclasses.fields(kind) if f.metadata["path"]
    }
    assert marked == {(section, key) for section, keys in PATHS.items() for key in keys}


def test_a_home_that_is_not_there_makes_no_directory_of_that_name() -> None:
    with pytest.raises(ConfigError, match="no such home directory") as refused:
        expanded("embedded:~nobody-at-all/store", HOME)
    assert "./~nobody-at-all" in refused.value.hint
    assert expanded("~", HOME) == "/home/somebody"
    assert expanded("a/~", HOME) == "a/~"
    assert expanded("./~x", HOME) == "./~x"
    assert expanded("http://~x", HOME) == "http://~x"
    assert find_file("~/c.toml", HOME) == Path("/home/somebody/c.toml")


@pytest.mark.parametrize(
    ("url", "dialled"),
    [
        ("http://host", "http://host:6333"),
        ("https://host", "https://host:443"),
        ("https://host/qdrant/", "https://host:443/qdrant"),
        ("https://host:6333", "https://host:6333"),
        ("grpc://[::1]", "grpc://[::1]:6334"),
        ("grpcs://host", "grpcs://host:6334"),
    ],
)
def test_the_port_that_is_dialled_is_told(url: str, dialled: str) -> None:
    assert server_address(url) == dialled
