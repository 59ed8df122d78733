"""`clipwatch search`: words and pictures to the nearest images."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any, Final

from clipwatch.cli.asking import ask_daemon, print_json, result_of
from clipwatch.cli.assemble import Context, opened
from clipwatch.errors import ConfigError
from clipwatch.regular_file import read_regular
from clipwatch.visible import visible

_WEIGHTED: Final = re.compile(r"(\d+(?:\.\d+)?|\.\d+):(.+)", re.DOTALL)


def main(arguments: argparse.Namespace, context: Context) -> int:
    """Best first; exit 0 also where nothing was found."""
    request = _request(arguments, context.config.limits.file_bytes)
    answer = ask_daemon(context, {"command": "search", **request})
    if answer is not None:
        result = result_of(answer)
    else:
        with opened(context, give_up_seconds=context.config.store.timeout_seconds) as parts:
            parts.open_together()
            result = parts.answers().search(request)
    if context.json:
        print_json(result)
        return 0
    for hit in result["hits"]:
        print(f"{hit['score']:7.4f}  {hit['folder']}/{visible(hit['path'])}")
    if not result["hits"]:
        print("Nothing found: the collection is empty, or nothing matches the filter.", file=sys.stderr)
    if "partial" in result:
        so_far = "{done} of {of} images".format(**result["partial"])
        old = f"The collection is being built anew, {so_far} so far; these are answers of the old one and its model."
        mixed = f"A model change is under way: {so_far} are searched so far."
        print(old if result["partial"].get("old") else mixed, file=sys.stderr)
    return 0


def _request(arguments: argparse.Namespace, file_bytes: int) -> dict[str, Any]:
    plus: list[dict[str, Any]] = []
    if arguments.text:
        plus.append({"text": _utf8(" ".join(arguments.text))})
    plus += [_picture(Path(name), file_bytes) for name in arguments.image]
    plus += [_weighted(what, file_bytes) for what in arguments.plus]
    if not plus:
        raise ConfigError("There is nothing to search for.", hint="Give words, or --image FILE.")
    filters = {}
    for condition in arguments.filter:
        key, equals, value = _utf8(condition).partition("=")
        if not equals or not key:
            raise ConfigError(f"The filter {condition!r} is not KEY=VALUE.", hint="Write e.g. --filter folder=images.")
        filters[key] = value
    return {
        "plus": plus,
        "minus": [_weighted(what, file_bytes) for what in arguments.minus],
        "limit": arguments.limit,
        "filter": filters,
    }


def _weighted(what: str, file_bytes: int) -> dict[str, Any]:
    """`WHAT`, or `WEIGHT:WHAT` where that is no file's name."""
    weighted = None if _is_file(what) else _WEIGHTED.fullmatch(what)
    if weighted is None:
        return _words_or_picture(what, file_bytes)
    return {**_words_or_picture(weighted[2], file_bytes), "weight": float(weighted[1])}


def _words_or_picture(word: str, file_bytes: int) -> dict[str, Any]:
    return _picture(Path(word), file_bytes) if _is_file(word) else {"text": _utf8(word)}


def _utf8(word: str) -> str:
    """Itself; raises `ConfigError` for bytes that are no text, which neither a model nor a store can be asked for."""
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{word!r} is no text in UTF-8.", hint="Write it in UTF-8.") from error
    return word


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):
        return False


def _picture(file: Path, file_bytes: int) -> dict[str, bytes]:
    try:
        picture = read_regular(file, file_bytes)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"The picture {file} cannot be read: {reason}.") from error
    if len(picture) > file_bytes:
        raise ConfigError(
            f"The picture {file} has more than the {file_bytes} bytes that are allowed.",
            hint="Raise limits.file_megabytes.",
        )
    return {"image": picture}
