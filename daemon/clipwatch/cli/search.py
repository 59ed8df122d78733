"""`clipwatch search`: words and pictures to the nearest images."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from clipwatch.cli.arguments import as_text
from clipwatch.cli.asking import ask_daemon, print_json, result_of, say_undone
from clipwatch.cli.assemble import Context, opened
from clipwatch.config import WatchConfig
from clipwatch.errors import ConfigError
from clipwatch.image.magic import MAGIC_BYTES, MAGICS
from clipwatch.regular_file import read_regular
from clipwatch.visible import visible

_WEIGHTED: Final = re.compile(r"(\d+(?:\.\d+)?|\.\d+):(.+)", re.DOTALL)


def main(arguments: argparse.Namespace, context: Context) -> int:
    """Best first; exit 0 also where nothing was found."""
    paths_only = arguments.paths_only or arguments.null
    if context.json and paths_only:
        raise ConfigError("--json and paths alone exclude each other.", hint="Leave one of them out.")
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
    undone = []
    if paths_only:
        undone = _print_paths(result["hits"], context.config.watch, end=b"\0" if arguments.null else b"\n")
    else:
        for hit in result["hits"]:
            print(f"{hit['score']:7.4f}  {hit['folder']}/{visible(hit['path'])}")
    if "partial" in result:
        so_far = "{done} of {of} images".format(**result["partial"])
        old = f"The collection is being built anew, {so_far} so far; these are answers of the old one and its model."
        mixed = f"A model change is under way: {so_far} are searched so far."
        print(old if result["partial"].get("old") else mixed, file=sys.stderr)
    elif not result["hits"]:
        status = ask_daemon(context, {"command": "status"})
        print(why_nothing(result_of(status) if status else None, request["filter"]), file=sys.stderr)
    say_undone(undone)
    return 1 if undone else 0


def why_nothing(status: Mapping[str, Any] | None, filters: Mapping[str, str]) -> str:
    """A sentence for whoever found nothing. *status*: the running daemon's; None where none runs."""
    pending = status["pending"] if status else 0
    if status and (pending or status["state"] in ("starting", "scanning")):
        left = f", {pending} files to go" if pending else ""
        return f"Nothing found yet: indexing is under way{left}. Search again when `clipwatch status` says 0 pending."
    if filters:
        return f"Nothing found: the collection is empty, or no point has {', '.join(map('='.join, filters.items()))}."
    if status:
        return "Nothing found: the collection is empty, and no file waits. `clipwatch status` says how the folders are."
    return "Nothing found: the collection is empty. `clipwatch sync` fills it once, `clipwatch run` keeps it filled."


def _print_paths(hits: Sequence[Mapping[str, Any]], watches: Sequence[WatchConfig], *, end: bytes) -> list[str]:
    """Each hit's absolute path, byte for byte; on a terminal made visible. Sentences about hits without one."""
    from clipwatch.payload import stored_path

    roots = {watch.name: os.fsencode(os.path.abspath(watch.path)) for watch in watches}
    elsewhere = sorted({str(hit["folder"]) for hit in hits if hit["folder"] not in roots})
    for hit in hits:
        below = stored_path(hit)
        if hit["folder"] in roots and below is not None:  # others may have written a path that is none
            path = os.path.join(roots[hit["folder"]], below)
            shown = path if end == b"\0" or not sys.stdout.isatty() else visible(os.fsdecode(path)).encode()
            sys.stdout.buffer.write(shown + end)
    return [f"Pictures in folder {name!r} are left out: it is not in this configuration." for name in elsewhere]


def _request(arguments: argparse.Namespace, file_bytes: int) -> dict[str, Any]:
    words = [word for word in arguments.text if not _is_picture(word)]
    plus: list[dict[str, Any]] = [{"text": _utf8(" ".join(words))}] if words else []
    plus += [_picture(Path(word), file_bytes) for word in arguments.text if _is_picture(word)]
    plus += [_picture(Path(name), file_bytes) for name in arguments.image]
    plus += [_weighted(what, file_bytes) for what in arguments.plus]
    if not plus:
        raise ConfigError("There is nothing to search for.", hint="Give words or a picture.")
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
    weighted = None if _is_picture(what) else _WEIGHTED.fullmatch(what)
    if weighted is None:
        return _words_or_picture(what, file_bytes)
    return {**_words_or_picture(weighted[2], file_bytes), "weight": float(weighted[1])}


def _words_or_picture(word: str, file_bytes: int) -> dict[str, Any]:
    return _picture(Path(word), file_bytes) if _is_picture(word) else {"text": _utf8(word)}


def _utf8(word: str) -> str:
    """It as text; raises `ConfigError` for bytes that are none, which neither a model nor a store can be asked for."""
    word = as_text(word)
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{word!r} is no text in UTF-8, nor in the locale's characters.", hint="Write it in UTF-8."
        ) from error
    return word


def _is_picture(word: str) -> bool:
    """Whether a JPEG or PNG file has this name, or any file has and it looks like a path: that one is refused later."""
    path = Path(word)
    try:
        if not path.exists() and _is_path(word):
            raise ConfigError(f"There is no file {word}.", hint="Words to search for are written without a path.")
        if not path.is_file() or path.suffix or os.sep in word:
            return path.is_file()
        with path.open("rb") as file:
            return file.read(MAGIC_BYTES).startswith(MAGICS)
    except (OSError, ValueError):
        return False


def _is_path(word: str) -> bool:
    """Whether *word* can only be meant as a picture's path: nobody searches for such words."""
    told_as_path = word.startswith(("/", "./", "../"))
    suffix = Path(word).suffix.removeprefix(".").lower()
    return " " not in word and (told_as_path or (os.sep in word and suffix in WatchConfig().extensions))


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
