"""From command line, environment, file and defaults to checked settings."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
import tomllib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from clipwatch.config import (
    SECRET_KEYS,
    SECTIONS,
    Config,
    ImageConfig,
    StoreConfig,
    WatchConfig,
    is_loopback,
    is_server,
    normal_extension,
)
from clipwatch.errors import ConfigError
from clipwatch.regular_file import read_regular
from clipwatch.system_paths import expanded, initial

ENVIRONMENT_PREFIX: Final = "CLIPWATCH_"

CONFIG_BYTES: Final = 1_000_000
"""Of one configuration file, at most."""

COLLECTION_NAME_BYTES: Final = 240
"""Of the 255 that a server takes; the rest is for the names of collections that are built beside this one."""

_NAME_BYTES: Final = 255
"""What file systems take for one name."""

_NOT_IN_AN_EXTENSION: Final = frozenset("/*?[]")
"""An extension is the end of a name, and no pattern."""

_NOT_IN_A_NAME: Final = frozenset('<>:"/\\|?*')
"""What a Qdrant server refuses in a collection's name."""

_HOST: Final = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?|[0-9a-f.]*:[0-9a-f:.]*(%[\w.-]+)?", re.ASCII | re.IGNORECASE)

_UNIT: Final = re.compile(
    "_(ms|milliseconds|s|sec|seconds|min|minutes|h|hours|days|bytes|kb|kilobytes|mb|megabytes|gb|gigabytes|pixels|"
    "megapixels|fraction|share|percent)$"
)
"""What a key may end with that is the right one but for its unit."""


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """The settings in force and, for each `section.key` (`watch[0].key`), where its value came from."""

    config: Config
    sources: Mapping[str, str]
    file: Path | None

    def chosen(self, key: str) -> bool:
        """Whether a person set *key* to something else than its default, as `config init` spells them all."""
        section, _, name = key.partition(".")
        default = getattr(SECTIONS[section](), name)
        return getattr(getattr(self.config, section), name) not in (default, initial(section, name, default, self.file))


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
        if name.startswith(ENVIRONMENT_PREFIX):
            if "__" not in name:
                _refuse_misspelled(name)
                continue
            section, _, key = name[len(ENVIRONMENT_PREFIX) :].lower().partition("__")
            _known(section, SECTIONS, f"environment variable {name}", "the environment")
            _known(key, _hints(SECTIONS[section]), f"environment variable {name}", "the environment")
            tables = values.setdefault(section, [{}])
            if len(tables) != 1 and key in ("path", "name", "owner", "marker"):
                raise ConfigError(f"{name} is ambiguous: the file has {len(tables)} [[watch]] tables.")
            for index, table in enumerate(tables):
                table[key] = _from_text(_hints(SECTIONS[section])[key], text, name)
                sources[_label(section, index, key)] = name
    for (section, key), value in (overrides or {}).items():
        values.setdefault(section, [{}])[0][key] = value
        sources[_label(section, 0, key)] = "command line"

    built: dict[str, Any] = {}
    for section, kind in SECTIONS.items():
        tables = [
            _build(kind, section, index, table, sources, environment)
            for index, table in enumerate(values.get(section, [{}]))
        ]
        built[section] = tuple(tables) if section == "watch" else tables[0]
    config = Config(**built)
    _check(config, sources, environment)
    return LoadedConfig(config, sources, file)


def _read(file: Path) -> dict[str, Any]:
    try:
        text = read_regular(file, CONFIG_BYTES)
        if len(text) > CONFIG_BYTES:
            raise ConfigError(f"The configuration file {file} has more than the {CONFIG_BYTES} bytes that are allowed.")
        return tomllib.loads(text.decode("utf-8-sig"))  # Windows editors put a mark before it
    except FileNotFoundError:
        raise ConfigError(
            f"There is no configuration file {file}.", hint="Write one with `clipwatch config init`."
        ) from None
    except OSError as error:
        raise ConfigError(f"The configuration file {file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, a thousand brackets
        raise ConfigError(f"{file} is not valid TOML: {error}.") from error


def _known(name: str, known: Mapping[str, Any], what: str, where: str) -> None:
    if name not in known:
        near = _nearest(name, known)
        hint = f"Did you mean `{near}`?" if near else f"Known are: {', '.join(known)}."
        raise ConfigError(f"Unknown {what} in {where}.", hint=hint)


def _nearest(name: str, known: Iterable[str]) -> str:
    """The key that *name* most likely means; one that differs in the unit only before any other."""
    names = list(known)
    same = [key for key in names if _UNIT.sub("", key) == _UNIT.sub("", name)]
    near = same or difflib.get_close_matches(name, names, 1, 0.5)
    return near[0] if near else ""


def _refuse_misspelled(name: str) -> None:
    """`CLIPWATCH_BATCH_SIZE` is meant for us; `CLIPWATCH_STORE_SERVICE_HOST`, as Kubernetes sets it, is not."""
    keys = {f"{section}_{key}": f"{section}__{key}" for section in SECTIONS for key in _hints(SECTIONS[section])}
    near = difflib.get_close_matches(name[len(ENVIRONMENT_PREFIX) :].lower(), keys, 1, 0.85)
    if near:
        meant = ENVIRONMENT_PREFIX + keys[near[0]].upper()
        raise ConfigError(f"Unknown environment variable {name}.", hint=f"Did you mean `{meant}`?")


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


def _build(
    kind: type,
    section: str,
    index: int,
    table: dict[str, Any],
    sources: Mapping[str, str],
    environment: Mapping[str, str],
) -> Any:
    hints = _hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    checked: dict[str, Any] = {}
    for key, value in table.items():
        label = _label(section, index, key)
        where = sources.get(label, "the configuration")
        _known(key, hints, f"key {label}", where)
        secret = (section, key) in SECRET_KEYS
        checked[key] = _checked(label, where, hints[key], fields[key].metadata, value, secret=secret)
        if fields[key].metadata["path"]:
            checked[key] = expanded(checked[key], environment)
    return kind(**checked)


def _checked(
    label: str, where: str, kind: Any, metadata: Mapping[str, Any], value: Any, *, secret: bool = False
) -> Any:
    def wrong(expected: str) -> ConfigError:
        given = f"a {type(value).__name__}" if secret else repr(value)
        return ConfigError(f"{label} in {where} must be {expected}, not {given}.")

    if get_origin(kind) is tuple:
        if not isinstance(value, list) or not all(isinstance(item, get_args(kind)[0]) for item in value):
            raise wrong("a list of strings")
        value = tuple(value)
    elif kind is bool:
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
    if isinstance(value, str | tuple) and "\0" in "".join(value):
        raise wrong("text without a NUL")
    if metadata.get("choices") and value not in metadata["choices"]:
        near = difflib.get_close_matches(str(value), metadata["choices"], 1, 0.5)
        hint = f"Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"{label} in {where} must be one of {', '.join(metadata['choices'])}, not {value!r}.", hint=hint
        )
    return value


def _check(config: Config, sources: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """What no single key can tell."""
    if not config.watch:
        raise ConfigError("There is no [[watch]] table: nothing to watch.")
    check_store(config.store, environment)
    seen: set[str] = set()
    for index, watch in enumerate(config.watch):
        if not watch.name or not watch.name.isprintable():
            raise ConfigError(f"watch[{index}].name must be printable text, not {watch.name!r}.")
        if watch.name in seen:
            raise ConfigError(f"Two [[watch]] tables are named {watch.name!r}.", hint="Give each folder its own name.")
        seen.add(watch.name)
        if not watch.path:
            raise ConfigError(f"watch[{index}].path is empty.", hint="Name the folder to watch.")
        _check_rules(index, watch)
        if Path(watch.marker).is_absolute() or ".." in Path(watch.marker).parts:
            raise ConfigError(f"watch[{index}].marker {watch.marker!r} must name a file below watch[{index}].path.")
        if is_server(config.store.url) and f"watch[{index}].name" not in sources:
            raise ConfigError(
                f"watch[{index}].name must be given with a server store.",
                hint="Two machines that both say `images` would delete each other's points.",
            )
    check_places(config)
    _check_background(config.image.background)
    if config.model.prompt != "auto" and config.model.prompt.count("{}") != 1:
        raise ConfigError(
            f"model.prompt {config.model.prompt!r} must hold {{}} once.", hint='Write "a photo of {}", or "auto".'
        )
    if not config.http.token.isprintable() or config.http.token != config.http.token.strip():
        raise ConfigError("http.token must be printable text without blanks around it.")
    _check_listen("http.listen", config.http.listen)
    if config.http.listen and not config.http.token and not is_loopback(config.http.listen):
        raise ConfigError(
            f"http.listen {config.http.listen!r} can be reached from other machines, so http.token must be set.",
            hint='Choose a long token, or listen on "127.0.0.1:8766"; token = "none" lets everyone in.',
        )


def _check_rules(index: int, watch: WatchConfig) -> None:
    """Whether each extension and each pattern can match something."""
    extensions = [normal_extension(extension) for extension in watch.extensions]
    if not all(extensions) or not extensions:
        raise ConfigError(f"watch[{index}].extensions is empty, or one of them is: no file would ever match.")
    for given, extension in zip(watch.extensions, extensions, strict=True):
        if _NOT_IN_AN_EXTENSION & set(extension):
            raise ConfigError(
                f"watch[{index}].extensions holds {given!r}, which is no extension: no file would ever match.",
                hint='Write "jpg"; patterns of names belong into ignore.',
            )
    if watch.ignore != WatchConfig().ignore:  # `status` is asked often, and needs no patterns
        from clipwatch.folder.ignore import Ignore

        try:
            Ignore.of(watch.ignore)
        except ConfigError as error:
            raise ConfigError(f"watch[{index}].ignore: {error.message}", hint=error.hint) from None


def check_places(config: Config, *, store: str = "store.url") -> None:
    """Whether the folders lie apart from each other, and from what is written: no folder is ever written to.

    *store*: what a person calls the place of the store.
    """
    written = {"state.path": config.state.path}
    if not is_server(config.store.url):
        written[store] = config.store.url.removeprefix("embedded:")
    try:
        # resolve() raises for links in a circle
        roots = [Path(os.path.realpath(watch.path)) for watch in config.watch]
        places = {key: Path(os.path.realpath(place)) for key, place in written.items()}
    except OSError as error:
        raise ConfigError(
            f"The current directory cannot be told: {error.strerror}.",
            hint="It was deleted or moved: change into one that exists, or write every path in full.",
        ) from error
    for i, a in enumerate(roots):
        for j, b in enumerate(roots):
            if i != j and (a == b or a in b.parents):
                raise ConfigError(f"watch[{j}].path lies within watch[{i}].path.", hint="Folders must not overlap.")
            if i < j and _is_same(a, b):
                raise ConfigError(
                    f"watch[{i}].path and watch[{j}].path are the same folder: {a} and {b}, by a bind mount.",
                    hint="Keep one of the two [[watch]] tables.",
                )
    for key, place in places.items():
        if not written[key] or any(len(os.fsencode(part)) > _NAME_BYTES for part in place.parts):
            raise ConfigError(f"{key} is empty, or holds a name of more than {_NAME_BYTES} bytes.")
        for i, root in enumerate(roots):
            if root in (place, *place.parents):
                raise ConfigError(
                    f"{key} lies within watch[{i}].path.",
                    hint="A watched folder is never written to: choose a directory outside of it.",
                )


def _is_same(a: Path, b: Path) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:  # one that is absent is told elsewhere
        return False


def _check_background(colour: str) -> None:
    if colour != ImageConfig().background:  # `status` is asked often, and needs no Pillow
        from clipwatch.image.colour import colour_of

        colour_of(colour)


def check_store(store: StoreConfig, environment: Mapping[str, str]) -> None:
    """Whether the keys of a [store] table fit together; raises `ConfigError`."""
    if is_server(store.url):
        _check_address(store.url)
    elif not store.url.removeprefix("embedded:"):
        raise ConfigError("store.url names no directory.", hint='Write "embedded:data/store".')
    name = store.collection
    if name in ("", ".", "..") or not name.isprintable() or _NOT_IN_A_NAME & set(name):
        raise ConfigError(
            f"store.collection {name!r} is no collection name.", hint='It must be printable text without <>:"/\\|?*.'
        )
    if len(name.encode()) > COLLECTION_NAME_BYTES:
        raise ConfigError(f"store.collection is longer than {COLLECTION_NAME_BYTES} bytes.")
    if store.api_key and store.api_key_file:
        raise ConfigError("store.api_key and store.api_key_file are both set.", hint="Keep one of them.")
    _check_key("store.api_key", store.api_key)
    _check_listen("store.embedded_listen", store.embedded_listen)
    if store.embedded_listen and not (store.api_key or _key_file(store, environment)):
        raise ConfigError(
            "store.embedded_listen needs store.api_key.", hint="Everyone on this machine could write otherwise."
        )


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        fits = parts.port is None or 0 < parts.port < 65536
        (parts.hostname or "").encode("ascii").decode("idna")
    except ValueError:
        fits, parts = False, urlsplit("")
    fits = fits and url.isprintable() and " " not in url and bool(_HOST.fullmatch(parts.hostname or ""))
    if not fits or parts.scheme not in ("http", "https", "grpc", "grpcs"):
        raise ConfigError(
            f"store.url {url!r} is no store address.",
            hint='Write "embedded:data/store", "http://localhost:6333" or "grpc://localhost:6334".',
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        # it is shown in logs and by `status`, and nothing but the host and path of it is used
        raise ConfigError("store.url holds a user, a password or a query.", hint="Put the key into store.api_key.")


def _check_key(what: str, key: str) -> None:
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{what} must be one line of plain ASCII: it travels in a header.")


def _check_listen(label: str, listen: str) -> None:
    if listen:
        host, _, port = listen.rpartition(":")
        if not host or not port.isdecimal() or not 0 <= int(port) < 65536:
            raise ConfigError(f"{label} {listen!r} is no address.", hint='Write "127.0.0.1:8766".')


def find_file(option: str | None, environment: Mapping[str, str]) -> Path | None:
    """The configuration file: --config, else $CLIPWATCH_CONFIG, else ./config.toml where it exists."""
    named = option or environment.get("CLIPWATCH_CONFIG")
    if named:
        return Path(expanded(named, environment))
    usual = Path("config.toml")
    try:
        return usual if usual.exists() else None
    except OSError as error:
        raise ConfigError(
            f"The current directory cannot be looked into: {error.strerror}.",
            hint="Change into one that this user may enter, or name the configuration with --config.",
        ) from error


def api_key(store: StoreConfig, environment: Mapping[str, str]) -> str:
    """The key from the setting, its file, or systemd's credentials directory; "" where there is none."""
    file = _key_file(store, environment)
    if not file:
        return store.api_key
    what = "store.api_key_file" if store.api_key_file else "The credential"
    try:
        key = Path(file).read_text(encoding="utf-8-sig").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {file} cannot be read: {error}.") from error
    if not key:
        raise ConfigError(f"{what} {file} is empty: its first line must be the key.")
    _check_key(f"The key in {file}", key)
    return key


def _key_file(store: StoreConfig, environment: Mapping[str, str]) -> str:
    """Where the key is to be read from; "" where it is in the settings, or nowhere."""
    credential = os.path.join(environment.get("CREDENTIALS_DIRECTORY", ""), "api_key")
    usual = "CREDENTIALS_DIRECTORY" in environment and not store.api_key and os.path.exists(credential)
    return store.api_key_file or (credential if usual else "")
