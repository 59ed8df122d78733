"""`clipwatch confirm`: yes, those files are really gone."""

from __future__ import annotations

import argparse

from clipwatch.cli.asking import ask_daemon, print_json, result_of, say_undone
from clipwatch.cli.assemble import Context
from clipwatch.cli.sync import by_itself
from clipwatch.mirror.mirror import Mirror


def main(_arguments: argparse.Namespace, context: Context) -> int:
    """Carries out held deletes, through the daemon or by itself. Exit 1 where something was left undone."""
    answer = ask_daemon(context, {"command": "confirm"})
    result = result_of(answer) if answer is not None else by_itself(context, prepare=Mirror.confirm)
    deleted, undone = result["deleted"], result["undone"]
    say_undone(undone)
    if context.json:
        print_json({"deleted": deleted})
    else:
        print(f"{deleted} points deleted." if deleted or undone else "Nothing was held.")
    return 1 if undone else 0
