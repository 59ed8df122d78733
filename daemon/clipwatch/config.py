"""The settings: one frozen dataclass a table, each key with its default, its bounds and its words.

`load` merges command line, environment, file and defaults; everything else is told the values and
never where they came from. `config.example.toml`, `config init` and the editors' schema are made from this module.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import math
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from clipwatch.errors import ConfigError

ENVIRONMENT_PREFIX: Final = "CLIPWATCH_"
SECRET_KEYS: Final = frozenset({("store", "api_key"), ("http", "token")})


def _key(
    default: Any,
    doc: str,
    *,
    choices: tuple[str, ...] = (),
    low: float = -math.inf,
    high: float = math.inf,
) -> Any:
    metadata = {"doc": doc, "choices": choices, "low": low, "high": high}
    if isinstance(default, tuple):
        return field(default_factory=lambda: default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """One watched folder."""

    path: str = _key("images", "The folder. Several [[watch]] tables: several folders in one collection.")
    name: str = _key(
        "images",
        "The folder's identity: ids depend on it, not on where it is mounted. Must be given on a server store.",
    )
    recursive: bool = _key(True, "Look into sub-folders.")
    extensions: tuple[str, ...] = _key(
        ("jpg", "jpeg", "png"),
        "Case ignored; what is in the file decides: JPEG and PNG under any of them.",
    )
    ignore: tuple[str, ...] = _key(
        (".*", "*.part", "*.tmp", "*~"), "Shell patterns; a file or folder whose name matches is passed over."
    )
    follow_symlinks: bool = _key(False, "Follow symbolic links, each real folder once.")
    marker: str = _key("", "A file that must exist below path, or the folder counts as absent.")
    settle_seconds: float = _key(
        0.5, "A file is read when its size, mtime and ctime stood still for this long.", low=0, high=3600
    )
    rescan_minutes: float = _key(60.0, "A full look this often; 0: only when events were lost.", low=0, high=525600)
    backend: str = _key(
        "auto",
        "auto | watchdog | watchfiles (an extra) | polling",
        choices=("auto", "watchdog", "watchfiles", "polling"),
    )
    max_images: int = _key(0, "0: no limit; else the first so many by path.", low=0)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The vision model, resident for the life of the daemon."""

    path: str = _key(
        "models/clip_vision.onnx",
        "An ONNX file, or a folder in Hugging Face layout. Absent: the demonstration model is used, and said.",
    )
    pooling: str = _key("auto", "auto | mean | none", choices=("auto", "mean", "none"))
    resize: str = _key(
        "auto",
        "auto | crop | squash      (crop: short side, then centre; squash: straight to the model's size)",
        choices=("auto", "crop", "squash"),
    )
    normalize: str = _key(
        "auto",
        "auto | clip | symmetric   (symmetric: [-1, 1]); auto reads preprocessor_config.json beside the model",
        choices=("auto", "clip", "symmetric"),
    )
    engine: str = _key("auto", "auto | onnxruntime | openvino (an extra)", choices=("auto", "onnxruntime", "openvino"))
    device: str = _key("auto", "auto | cpu | cuda | ...")
    threads: int = _key(0, "0: as many as this process may use.", low=0, high=1024)
    prompt: str = _key("auto", 'auto | words around a search text: "a photo of {}"; auto: as the model itself says.')


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """From bytes to pixels."""

    exact_decode: bool = _key(False, "true: no DCT-scaled decoding of JPEGs.")
    background: str = _key("white", "What shows through transparency: a colour name or #rrggbb.")


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where the points live."""

    url: str = _key("embedded:data/store", "embedded:DIRECTORY, or http(s)://host:6333, grpc(s)://host:6334")
    embedded_listen: str = _key(
        "",
        '"127.0.0.1:6333": the embedded engine answers your own QdrantClient too; needs api_key.',
    )
    collection: str = _key("image_embeddings", "Created if missing; refused, never recreated, if it has another shape.")
    api_key: str = _key("", "Or api_key_file, or a systemd credential named api_key.")
    api_key_file: str = _key("", "A file whose first line is the key.")
    timeout_seconds: float = _key(30.0, "For one request.", low=1, high=3600)
    tls_ca_file: str = _key("", "A certificate authority of your own for https.")
    on_disk: bool = _key(False, "Server, when the collection is created: vectors on disk.")
    quantization: str = _key(
        "none",
        "none | scalar | binary     Server, when the collection is created.",
        choices=("none", "scalar", "binary"),
    )
    shard_number: int = _key(0, "Server, when the collection is created; 0: its default.", low=0, high=1024)
    replication_factor: int = _key(0, "Server, when the collection is created; 0: its default.", low=0, high=64)


@dataclass(frozen=True, slots=True)
class StateConfig:
    """What may be lost."""

    path: str = _key(
        "data/state", "Locks, control socket, and a notebook that may be lost: rejections, suspects, holds."
    )


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How images travel together."""

    size: int = _key(25, "Images in one inference and one write.", low=1, high=1000)
    max_wait_seconds: float = _key(
        1.0, "For a batch to fill while files keep coming; an idle encoder does not wait.", low=0, high=3600
    )


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """What one file, and one mistake, may cost."""

    file_megabytes: float = _key(256, "A larger file is rejected unread.", low=0.001, high=4096)
    image_megapixels: float = _key(100, "After scaled decoding.", low=0.001, high=10000)
    decode_seconds: float = _key(20, "For one image.", low=0.1, high=3600)
    decode_memory_megabytes: float = _key(1024, "For one decode worker.", low=128, high=65536)
    delete_fraction: float = _key(
        0.5,
        "A folder whose deletes within the hold time pass this share and 50 points is held; so is one that is "
        "empty or shares no file with its points, however few.",
        low=0,
        high=1,
    )
    delete_hold_minutes: float = _key(
        60, "Held deletes wait until a scan this much later agrees, or `confirm`.", low=0, high=525600
    )


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """For people; commands use the control socket."""

    listen: str = _key("127.0.0.1:8766", '"" turns it off.')
    token: str = _key(
        "",
        'Needed for an address that is not loopback; "none" there: whoever reaches it may search and look.',
    )


@dataclass(frozen=True, slots=True)
class LogConfig:
    """One JSON object a line, on stderr."""

    format: str = _key("json", "json | console", choices=("json", "console"))
    level: str = _key("info", "debug | info | warning | error", choices=("debug", "info", "warning", "error"))


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, checked."""

    watch: tuple[WatchConfig, ...] = (WatchConfig(),)
    model: ModelConfig = ModelConfig()
    image: ImageConfig = ImageConfig()
    store: StoreConfig = StoreConfig()
    state: StateConfig = StateConfig()
    batch: BatchConfig = BatchConfig()
    limits: LimitsConfig = LimitsConfig()
    http: HttpConfig = HttpConfig()
    log: LogConfig = LogConfig()


SECTIONS: Final[dict[str, type]] = {
    "watch": WatchConfig,
    "model": ModelConfig,
    "image": ImageConfig,
    "store": StoreConfig,
    "state": StateConfig,
    "batch": BatchConfig,
    "limits": LimitsConfig,
    "http": HttpConfig,
    "log": LogConfig,
}


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """The settings in force and, for each `section.key` (`watch[0].key`), where its value came from."""

    config: Config
    sources: Mapping[str, str]
    file: Path | None

    def given(self, key: str) -> bool:
        """Whether a person set *key*, rather than it being a default."""
        return self.sources.get(key, "default") != "default"


def load(
    file: Path | None, environment: Mapping[str, str], overrides: Mapping[tuple[str, str], Any] | None = None
) -> LoadedConfig:
    """Merge *overrides* (the command line), *environment*, *file* and the defaults.

    Raises `ConfigError`, with the nearest known name for an unknown key.
    """
    document = _read(file) if file is not None else {}
    values: dict[str, list[dict[str, Any]]] = {}
    sources: dict[str, str] = {}
    for section, given in document.items():
        _known(section, SECTIONS, f"table [{section}]", str(file))
        tables = given if section == "watch" else [given]
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            shape = "[[watch]] tables" if section == "watch" else f"a table [{section}]"
            raise ConfigError(f"{file}: {section} must be {shape}.")
        values[section] = [dict(table) for table in tables]
        for index, table in enumerate(tables):
            for key in table:
                sources[_label(section, index, key)] = str(file)
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            section, _, key = name[len(ENVIRONMENT_PREFIX) :].lower().partition("__")
            _known(section, SECTIONS, f"environment variable {name}", "the environment")
            _known(key, _hints(SECTIONS[section]), f"environment variable {name}", "the environment")
            tables = values.setdefault(section, [{}])
            if len(tables) != 1 and key in ("path", "name", "marker"):
                raise ConfigError(f"{name} is ambiguous: the file has {len(tables)} [[watch]] tables.")
            for index, table in enumerate(tables):
                table[key] = _from_text(_hints(SECTIONS[section])[key], text, name)
                sources[_label(section, index, key)] = name
    for (section, key), value in (overrides or {}).items():
        values.setdefault(section, [{}])[0][key] = value
        sources[_label(section, 0, key)] = "command line"

    built: dict[str, Any] = {}
    for section, kind in SECTIONS.items():
        tables = [_build(kind, section, index, table, sources) for index, table in enumerate(values.get(section, [{}]))]
        built[section] = tuple(tables) if section == "watch" else tables[0]
    config = Config(**built)
    _check(config, sources)
    return LoadedConfig(config, sources, file)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"There is no configuration file {file}.", hint="Write one with `clipwatch config init`."
        ) from None
    except OSError as error:
        raise ConfigError(f"The configuration file {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}.") from error


def _known(name: str, known: Mapping[str, Any], what: str, where: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"Did you mean `{near[0]}`?" if near else f"Known are: {', '.join(known)}."
        raise ConfigError(f"Unknown {what} in {where}.", hint=hint)


def _label(section: str, index: int, key: str) -> str:
    return f"watch[{index}].{key}" if section == "watch" else f"{section}.{key}"


def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _from_text(kind: Any, text: str, name: str) -> Any:
    """An environment variable's text as the key's type; lists are separated by commas."""
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in words:
            raise ConfigError(f"{name} must be true or false, not {text!r}.")
        return words[text.lower()]
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise ConfigError(f"{name} must be a number, not {text!r}.") from None
    if get_origin(kind) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _build(kind: type, section: str, index: int, table: dict[str, Any], sources: Mapping[str, str]) -> Any:
    hints = _hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    checked: dict[str, Any] = {}
    for key, value in table.items():
        label = _label(section, index, key)
        where = sources.get(label, "the configuration")
        _known(key, hints, f"key {label}", where)
        checked[key] = _checked(label, where, hints[key], fields[key].metadata, value)
    return kind(**checked)


def _checked(label: str, where: str, kind: Any, metadata: Mapping[str, Any], value: Any) -> Any:
    def wrong(expected: str) -> ConfigError:
        return ConfigError(f"{label} in {where} must be {expected}, not {value!r}.")

    if get_origin(kind) is tuple:
        if not isinstance(value, list) or not all(isinstance(item, get_args(kind)[0]) for item in value):
            raise wrong("a list of strings")
        return tuple(value)
    if kind is bool:
        if not isinstance(value, bool):
            raise wrong("true or false")
    elif kind in (int, float):
        allowed: types.UnionType | type = int if kind is int else int | float
        if isinstance(value, bool) or not isinstance(value, allowed):
            raise wrong("a whole number" if kind is int else "a number")
        low, high = metadata["low"], metadata["high"]
        if not low <= value <= high:
            bounds = f"at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
            raise wrong(bounds)
        value = kind(value)
    elif not isinstance(value, str):
        raise wrong("a string")
    if metadata.get("choices") and value not in metadata["choices"]:
        near = difflib.get_close_matches(str(value), metadata["choices"], 1, 0.5)
        hint = f"Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"{label} in {where} must be one of {', '.join(metadata['choices'])}, not {value!r}.", hint=hint
        )
    return value


def _check(config: Config, sources: Mapping[str, str]) -> None:
    """What no single key can tell."""
    if not config.watch:
        raise ConfigError("There is no [[watch]] table: nothing to watch.")
    seen: set[str] = set()
    for index, watch in enumerate(config.watch):
        if not watch.name or "\0" in watch.name or not watch.name.isprintable():
            raise ConfigError(f"watch[{index}].name must be printable text, not {watch.name!r}.")
        if watch.name in seen:
            raise ConfigError(f"Two [[watch]] tables are named {watch.name!r}.", hint="Give each folder its own name.")
        seen.add(watch.name)
        if not watch.path:
            raise ConfigError(f"watch[{index}].path is empty.", hint="Name the folder to watch.")
        if not watch.extensions:
            raise ConfigError(f"watch[{index}].extensions is empty: no file would ever match.")
        if is_server(config.store.url) and f"watch[{index}].name" not in sources:
            raise ConfigError(
                f"watch[{index}].name must be given with a server store.",
                hint="Two machines that both say `images` would delete each other's points.",
            )
    _check_overlap(config.watch)
    _check_store(config.store)
    _check_listen("http.listen", config.http.listen)
    if config.http.listen and not config.http.token and not is_loopback(config.http.listen):
        raise ConfigError(
            f"http.listen {config.http.listen!r} can be reached from other machines, so http.token must be set.",
            hint='Choose a long token, or listen on "127.0.0.1:8766"; token = "none" lets everyone in.',
        )


def is_loopback(listen: str) -> bool:
    """Whether `host:port` can be reached from this machine only."""
    host = listen.rpartition(":")[0].strip("[]").lower()
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_overlap(watches: tuple[WatchConfig, ...]) -> None:
    roots = [Path(watch.path).resolve() for watch in watches]
    for i, a in enumerate(roots):
        for j, b in enumerate(roots):
            if i != j and (a == b or a in b.parents):
                raise ConfigError(f"watch[{j}].path lies within watch[{i}].path.", hint="Folders must not overlap.")
    if config.model.prompt != "auto" and config.model.prompt.count("{}") != 1:
        raise ConfigError(
            f"model.prompt {config.model.prompt!r} must hold {{}} once.", hint='Write "a photo of {}", or "auto".'
        )


def is_server(url: str) -> bool:
    """Whether the store is a Qdrant server rather than the embedded engine."""
    return not url.startswith("embedded:")


def _check_store(store: StoreConfig) -> None:
    if not is_server(store.url):
        if not store.url.removeprefix("embedded:"):
            raise ConfigError("store.url names no directory.", hint='Write "embedded:data/store".')
    else:
        try:
            parts = urlsplit(store.url)
            port_fits = parts.port is None or 0 < parts.port < 65536
        except ValueError:
            port_fits, parts = False, urlsplit("")
        if parts.scheme not in ("http", "https", "grpc", "grpcs") or not parts.hostname or not port_fits:
            raise ConfigError(
                f"store.url {store.url!r} is no store address.",
                hint='Write "embedded:data/store", "http://localhost:6333" or "grpc://localhost:6334".',
            )
    if not store.collection or "/" in store.collection:
        raise ConfigError(f"store.collection {store.collection!r} is no collection name.")
    if store.api_key and store.api_key_file:
        raise ConfigError("store.api_key and store.api_key_file are both set.", hint="Keep one of them.")
    _check_listen("store.embedded_listen", store.embedded_listen)
    if store.embedded_listen and not (store.api_key or store.api_key_file):
        raise ConfigError(
            "store.embedded_listen needs store.api_key.", hint="Everyone on this machine could write otherwise."
        )


def _check_listen(label: str, listen: str) -> None:
    if listen:
        host, _, port = listen.rpartition(":")
        if not host or not port.isdecimal() or not 0 <= int(port) < 65536:
            raise ConfigError(f"{label} {listen!r} is no address.", hint='Write "127.0.0.1:8766".')


def find_file(option: str | None, environment: Mapping[str, str]) -> Path | None:
    """The configuration file: --config, else $CLIPWATCH_CONFIG, else ./config.toml where it exists."""
    named = option or environment.get("CLIPWATCH_CONFIG")
    if named:
        return Path(named)
    usual = Path("config.toml")
    return usual if usual.exists() else None


def api_key(store: StoreConfig, environment: Mapping[str, str]) -> str:
    """The key from the setting, its file, or systemd's credentials directory; "" where there is none."""
    file = store.api_key_file
    directory = environment.get("CREDENTIALS_DIRECTORY")
    if not store.api_key and not file and directory and os.path.exists(os.path.join(directory, "api_key")):
        file = os.path.join(directory, "api_key")
    if not file:
        return store.api_key
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise ConfigError(f"store.api_key_file {file} cannot be read: {error}.") from error


def example() -> str:
    """`config.example.toml`: every key with its default and its words."""
    lines = ["# clipwatch: every key, with its default. Relative paths are relative to the current directory.", ""]
    for section, kind in SECTIONS.items():
        lines.append("[[watch]]" if section == "watch" else f"[{section}]")
        for f in dataclasses.fields(kind):
            default = f.default if f.default is not dataclasses.MISSING else typing.cast(Any, f.default_factory)()
            lines.append(f"# {f.metadata['doc']}")
            lines.append(f"{f.name} = {toml_value(default)}")
        lines.append("")
    return "\n".join(lines)


def toml_value(value: Any) -> str:
    """A setting as TOML spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return f"{value:g}" if isinstance(value, float) else str(value)
