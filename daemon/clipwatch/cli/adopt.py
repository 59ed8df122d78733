"""`clipwatch adopt NAME`: the points of a folder are this machine's from now on."""

from __future__ import annotations

import argparse

from clipwatch.cli.asking import ask_daemon, print_json, result_of
from clipwatch.cli.assemble import Context, opened
from clipwatch.visible import visible


def main(arguments: argparse.Namespace, context: Context) -> int:
    """Through the daemon or by itself; the owner before stops mirroring at its next scan."""
    answer = ask_daemon(context, {"command": "adopt", "name": arguments.name})
    if answer is not None:
        result = result_of(answer)
    else:
        from clipwatch.service.answers import adopt

        with opened(context, give_up_seconds=context.config.store.timeout_seconds) as parts:
            result = adopt(context.config, parts.owners, arguments.name)
    if context.json:
        print_json(result)
    elif result["before"] is None:
        print(f"Folder {visible(result['folder'])} is this machine's; no other had it.")
    else:
        print(f"Folder {visible(result['folder'])} is this machine's now, and was of {visible(result['before'])}.")
    return 0
