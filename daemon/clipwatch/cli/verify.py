"""`clipwatch verify`: folder against collection."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from clipwatch.cli.asking import ask_daemon, print_ignored, print_json, result_of, say_undone
from clipwatch.cli.assemble import NOTEBOOK, Context, limits_key, opened
from clipwatch.mirror.notebook import read_suspects
from clipwatch.mirror.suspects import PAUSED_DEATHS
from clipwatch.records import path_text
from clipwatch.visible import visible


def main(arguments: argparse.Namespace, context: Context) -> int:
    """Exit 0 exact, 1 different."""
    answer = ask_daemon(context, {"command": "verify", "deep": arguments.deep})
    if answer is not None:
        result = result_of(answer)
    else:
        with opened(context, give_up_seconds=context.config.store.timeout_seconds) as parts:
            parts.open_together()
            result = parts.answers().verify(deep=arguments.deep)
    undone = [*result.pop("undone", []), *_holds(result, context), *_put_aside(result, context)]
    say_undone(undone)
    if context.json:
        print_json(result)
        return 0 if result["exact"] else 1
    for kind in ("missing", "stale", "extra"):
        for entry in result[kind]:
            print(f"{kind:<8} {entry['folder']}/{visible(entry['path'] or entry.get('id', ''))}")
    for entry in result["rejected"]:
        print(f"rejected {entry['folder']}/{visible(entry['path'])}: {entry['reason']}")
    print(_verdict(result, undone))
    print_ignored(result)
    return 0 if result["exact"] else 1


def _holds(result: dict[str, Any], context: Context) -> Iterator[str]:
    """What `sync` would leave: a sentence for each folder whose extra points wait for a person, or for time."""
    for folder in sorted({entry["folder"] for entry in result["extra"]}):
        hold = context.losses(folder).state.hold
        if hold is not None:
            yield (
                f"Deletes in folder {folder} are held ({hold.reason}) until a later scan agrees, "
                "or `clipwatch confirm`."
            )


def _put_aside(result: dict[str, Any], context: Context) -> Iterator[str]:
    """A sentence for each folder with images that are left alone for a while after a death."""
    different = {(entry["folder"], entry["path"]) for kind in ("missing", "stale") for entry in result[kind]}
    for folder in sorted({folder for folder, _ in different}):
        suspects = read_suspects(context.state / NOTEBOOK, folder, limits=limits_key(context.config))
        aside = [item for item in suspects if item.deaths >= PAUSED_DEATHS]
        number = sum((folder, path_text(item.path)) in different for item in aside)
        if number:
            yield (
                f"{number} images in folder {folder} are put aside, since the program or a decoder was ended while it "
                "worked on each alone; they are tried again with growing pauses."
            )


def _verdict(result: dict[str, Any], undone: list[str]) -> str:
    if result["exact"]:
        return "Exact: every image has its point, and there is no other."
    differences = sum(len(result[kind]) for kind in ("missing", "stale", "extra"))
    if not differences:
        return "Not known: what could not be read may differ."
    counts = ", ".join(f"{len(result[kind])} {kind}" for kind in ("missing", "stale", "extra"))
    # A point that is refused stays missing, or old, whatever `sync` does.
    refused = {(entry["folder"], entry["path"]) for entry in result["rejected"]}
    lasting = sum((entry["folder"], entry["path"]) in refused for entry in (*result["missing"], *result["stale"]))
    cure = "" if undone or lasting == differences else " `clipwatch sync` makes it exact."
    return f"Different: {counts}.{cure}"
