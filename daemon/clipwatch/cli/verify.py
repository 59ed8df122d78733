"""`clipwatch verify`: folder against collection."""

from __future__ import annotations

import argparse

from clipwatch.cli.asking import ask_daemon, print_json, result_of
from clipwatch.cli.assemble import Context, opened
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
    if context.json:
        print_json(result)
        return 0 if result["exact"] else 1
    for kind in ("missing", "stale", "extra"):
        for entry in result[kind]:
            print(f"{kind:<8} {entry['folder']}/{visible(entry['path'] or entry.get('id', ''))}")
    for entry in result["rejected"]:
        print(f"rejected {entry['folder']}/{visible(entry['path'])}: {entry['reason']}")
    if result["exact"]:
        print("Exact: every image has its point, and there is no other.")
    else:
        counts = ", ".join(f"{len(result[kind])} {kind}" for kind in ("missing", "stale", "extra"))
        print(f"Different: {counts}. `clipwatch sync` makes it exact.")
    return 0 if result["exact"] else 1
