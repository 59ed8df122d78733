"""`clipwatch confirm`: yes, those files are really gone."""

from __future__ import annotations

import argparse
import threading

from clipwatch.cli.asking import ask_daemon, print_json, result_of
from clipwatch.cli.assemble import Context, opened, quiet_libraries
from clipwatch.service.state import state_lock


def main(_arguments: argparse.Namespace, context: Context) -> int:
    """Carries out held deletes, through the daemon or by itself."""
    answer = ask_daemon(context, {"command": "confirm"})
    deleted = result_of(answer)["deleted"] if answer is not None else _by_itself(context)
    if context.json:
        print_json({"deleted": deleted})
    else:
        print(f"{deleted} points deleted." if deleted else "Nothing was held.")
    return 0


def _by_itself(context: Context) -> int:
    from clipwatch.service.sync import run_to_quiet

    quiet_libraries(context.logger)
    stop = threading.Event()
    with (
        state_lock(context.state),
        opened(context, stop=stop, give_up_seconds=context.config.store.timeout_seconds) as parts,
    ):
        parts.open_together()
        mirror = parts.mirror()
        try:
            for folder in mirror.folders.values():
                if folder.deletes.hold is not None:
                    folder.deletes.confirm()
            mirror.vouched = True
            before = mirror.counts.deleted
            run_to_quiet(mirror, context.clock, stop=stop, progress=lambda _counts, _pending: None)
            return mirror.counts.deleted - before
        finally:
            mirror.stop()
            mirror.close(wait_seconds=5)
