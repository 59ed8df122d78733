"""`clipwatch forget NAME`: the points of a folder that is watched no more."""

from __future__ import annotations

import argparse

from clipwatch.cli.asking import ask_daemon, print_json, result_of
from clipwatch.cli.assemble import Context, opened


def main(arguments: argparse.Namespace, context: Context) -> int:
    """Refused for a name that is still in the configuration, and for another machine's unless forced."""
    request = {"command": "forget", "name": arguments.name, "force": arguments.force}
    answer = ask_daemon(context, request)
    if answer is not None:
        result = result_of(answer)
    else:
        from clipwatch.service.answers import forget

        with opened(context, give_up_seconds=context.config.store.timeout_seconds) as parts:
            result = forget(context.config, parts.store, arguments.name, parts.owners, force=arguments.force)
    if context.json:
        print_json(result)
    else:
        print(f"{result['deleted']} points deleted.")
    return 0
