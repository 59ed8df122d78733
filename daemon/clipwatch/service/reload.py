"""SIGHUP: the configuration is read again, and taken as far as that can be done while work goes on."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from clipwatch.config import SECTIONS, Config
from clipwatch.config_file import LoadedConfig
from clipwatch.errors import ConfigError

FIXED: Final = ("model", "state", "store", "image.background")
"""Another one of these is another daemon: it takes a restart."""

_KEY: Final = re.compile(rf"(?<![\w.])(?:watch\[[^\]]*\]|{'|'.join(SECTIONS)})\.\w+")


@dataclass(frozen=True, slots=True)
class Difference:
    """Which keys two configurations differ in: those that can be taken live, and those that cannot."""

    live: tuple[str, ...]
    fixed: tuple[str, ...]


def difference(old: Config, new: Config) -> Difference:
    """Keys as `section.key`; of watch tables `watch[NAME].key`, and `watch[NAME]` for one that came or went."""
    changed = [
        f"{section}.{key}"
        for section in SECTIONS
        if section != "watch"
        for key in _changed(getattr(old, section), getattr(new, section))
    ]
    before, after = ({watch.name: watch for watch in config.watch} for config in (old, new))
    for name in (*before, *(name for name in after if name not in before)):
        if name in before and name in after:
            changed += [f"watch[{name}].{key}" for key in _changed(before[name], after[name])]
        else:
            changed.append(f"watch[{name}]")
    fixed = tuple(key for key in changed if key in FIXED or key.partition(".")[0] in FIXED)
    return Difference(tuple(key for key in changed if key not in fixed), fixed)


def named_keys(sentence: str) -> list[str]:
    """The keys that a sentence about a wrong configuration names, each once: `watch[0].ignore`, `batch.size`."""
    return list(dict.fromkeys(_KEY.findall(sentence)))


def _changed(old: Any, new: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(old) if getattr(old, field.name) != getattr(new, field.name)]


def reload(
    current: Config,
    load: Callable[[], LoadedConfig],
    take: Callable[[LoadedConfig, tuple[str, ...]], None],
    logger: Any,
) -> None:
    """Read by *load*; have *take* put what changed in force, or tell why the old one stays.

    *take* is given the keys that changed; it raises `ConfigError` before it has changed anything, or not at all.
    """
    try:
        loaded = load()
        found = difference(current, loaded.config)
        if found.fixed:
            logger.error(
                "config.refused",
                keys=list(found.fixed),
                reason=f"{', '.join(found.fixed)} cannot change while the daemon runs.",
                hint="Restart the daemon to change it; nothing of the new configuration is in force.",
            )
            return
        take(loaded, found.live)
    except ConfigError as error:
        logger.error("config.refused", keys=named_keys(error.message), reason=error.message, hint=error.hint)
    else:
        logger.info("config.reloaded", changed=list(found.live))
