"""`clipwatch status`: at a glance."""

from __future__ import annotations

import argparse
import sys
import threading
from typing import Any

from clipwatch.cli.asking import ask_daemon, print_json, result_of
from clipwatch.cli.assemble import Context, opened


def main(arguments: argparse.Namespace, context: Context) -> int:
    """From the daemon; without one, from the store."""
    pause = threading.Event()
    while True:
        status = _status(context)
        if context.json:
            print_json(status)
        else:
            if arguments.watch and sys.stdout.isatty():
                sys.stdout.write("\x1b[H\x1b[2J")
            _print(status)
        if not arguments.watch:
            return 0
        sys.stdout.flush()
        pause.wait(1.0)


def _status(context: Context) -> dict[str, Any]:
    answer = ask_daemon(context, {"command": "status"})
    if answer is not None:
        return result_of(answer)
    from clipwatch.service.answers import stored_status

    with opened(context, give_up_seconds=context.config.store.timeout_seconds) as parts:
        return stored_status(context.config, parts.store)


def _print(status: dict[str, Any]) -> None:
    from clipwatch.service.logs import visible

    model, store = status["model"], status["store"]
    print(f"{status['state']}")
    print(
        f"  {status['images']} images = {status['points']} points; {status['pending']} pending, "
        f"{status['rejected']} rejected, {status['held']} held, {status['ignored']} ignored"
    )
    if model:
        demonstration = " (demonstration)" if model["demonstration"] else ""
        print(f"  model {model['name']}{demonstration}: {model['width']} wide, {model.get('engine', '')}")
    trouble = f": {visible(store['trouble'])}" if store.get("trouble") else ""
    print(f"  store {store['address']} / {store['collection']}{trouble}")
    if "rebuild" in status:
        held = f"; {visible(status['rebuild']['held'])}" if status["rebuild"]["held"] else ""
        print("  building {collection} anew beside it: {done} of {of} images".format(**status["rebuild"]) + held)
    for folder in status["watch"]:
        how = f" by {folder['backend']}" if folder.get("backend") else ""
        print(f"  folder {folder['name']} ({visible(folder['path'])}): {folder['state']}{how}")
        for key in ("trouble", "watch_reason"):
            if folder.get(key):
                print(f"    {visible(folder[key])}")
        for directory, why in folder.get("unreadable", {}).items():
            print(f"    cannot read {visible(directory)}: {visible(why)}")
