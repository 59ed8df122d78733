"""What is passed over in a folder, by type, so that a person sees why a file has no point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

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

_DECODED: Final = frozenset(
    (*(b"jpg", b"jpeg", b"jpe", b"jif", b"jfif", b"jfi", b"pjpeg", b"pjp", b"mpo"), *(b"png", b"apng"))
)
"""Extensions that promise what can be decoded: JPEG and PNG."""


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


def other_picture(path: bytes, other_format: str) -> str:
    """The type under which a file counts as ignored, since it holds a picture in *other_format*; "" where it does not.

    A name that promises JPEG or PNG is another matter: such a file is rejected, as one that is not what it says.
    """
    extension = path.rpartition(b".")[2].lower()
    return "" if not other_format or extension in _DECODED else other_format.lower()


def is_other_name(path: bytes) -> bool:
    """Whether a file's name says that it is a picture of a format that cannot be decoded here."""
    return path.rpartition(b".")[2].lower() not in _DECODED


def telling(types: Mapping[str, int], undecodable: Mapping[str, int]) -> dict[str, Any]:
    """As `status`, `sync` and `verify` answer it. *undecodable*: those of *types* whose content was looked at."""
    return {
        "ignored": sum(types.values()),
        "ignored_by_type": most_common(types),
        "undecodable": most_common(undecodable),
    }


def sentence(answer: Mapping[str, Any]) -> str:
    """What `telling` tells, for people: "1,274 ignored: 800 webp, 474 heic (...); 3 txt"; "" for nothing."""
    types, undecodable = answer.get("ignored_by_type") or {}, answer.get("undecodable") or {}
    if not types:
        return ""
    parts = []
    if undecodable:
        parts.append(f"{_listed(undecodable)} (not in a format that can be decoded here)")
    rest = {name: number - undecodable.get(name, 0) for name, number in types.items()}
    if any(rest.values()):
        parts.append(_listed({name: number for name, number in rest.items() if number > 0}))
    return f"{answer['ignored']:,} ignored: {'; '.join(parts)}"


def _listed(types: Mapping[str, int]) -> str:
    ordered = list(most_common(types).items())
    words = [f"{number:,} {name}" for name, number in ordered[:_NAMED]]
    more = sum(number for _, number in ordered[_NAMED:])
    return ", ".join([*words, f"{more:,} of other types"] if more else words)
