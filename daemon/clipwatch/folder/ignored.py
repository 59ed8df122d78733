"""What is passed over in a folder, by type, so that a person sees why a file has no point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BY_PATTERN: Final = "by pattern"
"""The name matches `ignore`. An ignored directory counts once, whatever is in it."""

LINK: Final = "links"
"""Symbolic links that are not followed."""

DIRECTORY: Final = "directories"
"""Sub-folders of a folder that is not recursive."""

OTHER: Final = "other files"
"""Names without an extension, or with a long or strange one."""

_MOST_LETTERS: Final = 8
MOST_TYPES: Final = 20
"""More than these are told as `OTHER`: names are made by others, and each type becomes a label of a metric."""

_NAMED: Final = 5


def type_of_name(name: bytes) -> str:
    """The extension of a file that is not looked at, in lower case, or `OTHER`."""
    _, dot, extension = name.rpartition(b".")
    if dot and 0 < len(extension) <= _MOST_LETTERS and extension.isalnum() and not extension.isdigit():
        return extension.decode("ascii").lower()
    return OTHER


def add_types(total: dict[str, int], more: Mapping[str, int]) -> None:
    """Add *more* to *total*; beyond 50 times `MOST_TYPES` of them, new ones count as `OTHER`."""
    for name, number in more.items():
        known = name if name in total or len(total) < 50 * MOST_TYPES else OTHER
        total[known] = total.get(known, 0) + number


def most_common(types: Mapping[str, int]) -> dict[str, int]:
    """The commonest `MOST_TYPES`, commonest first, and the rest as `OTHER`."""
    ordered = sorted(types.items(), key=lambda item: (item[0] == OTHER, -item[1], item[0]))
    kept, rest = dict(ordered[:MOST_TYPES]), sum(number for _, number in ordered[MOST_TYPES:])
    if rest:
        kept[OTHER] = kept.get(OTHER, 0) + rest
    return kept
