"""`clipwatch forget NAME`: the points of a folder that is watched no more."""

from __future__ import annotations

import argparse

from clipwatch.cli.asking import ask_daemon, print_json, result_of
from clipwatch.cli.assemble import Context, opened


def main(arguments: argparse.Namespace, context: Context) -> int:
    """Refused for a name that is still in the configuration."""
    answer = ask_daemon(context, {"command": "forget", "name": arguments.name})
    if answer is not None:
        result = result_of(answer)
    else:
        from clipwatch.service.answers import forget

        with opened(context, give_up_seconds=context.config.store.timeout_seconds) as parts:
            result = forget(context.config, parts.store, arguments.name)
    if context.json:
        print_json(result)
    else:
        print(f"{result['deleted']} points deleted.")
    return 0
