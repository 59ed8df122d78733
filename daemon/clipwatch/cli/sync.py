"""`clipwatch sync`: one comparison, carried out or only told."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from clipwatch.cli.asking import ask_daemon, print_ignored, print_json, say_undone
from clipwatch.cli.assemble import Context, opened, quiet_libraries
from clipwatch.errors import StoreUnavailable
from clipwatch.folder.ignored import telling
from clipwatch.mirror.losses import Now
from clipwatch.service.logs import tell_summaries
from clipwatch.service.state import state_lock
from clipwatch.visible import visible

if TYPE_CHECKING:
    from clipwatch.mirror.mirror import Mirror


def main(arguments: argparse.Namespace, context: Context) -> int:
    """Exit 1 where something was left undone."""
    if arguments.dry_run:
        return _dry_run(context, rebuild=arguments.rebuild)
    with _Progress(context.json) as progress:
        # A daemon that runs has chosen its collection: `sync --rebuild` beside it is refused by its lock.
        answer = None if arguments.rebuild else ask_daemon(context, {"command": "sync"})
        if answer is not None:
            result = _by_daemon(answer, progress)
        else:
            result = by_itself(context, rebuild=arguments.rebuild, progress=progress.tell)
    undone = result.pop("undone", [])
    say_undone(undone)
    if context.json:
        print_json(result)
    else:
        print(
            "{images} images: {embedded} embedded, {reused} reused, {unchanged} unchanged, {rejected} rejected; "
            "{deleted} points deleted, {held} held; {seconds:.1f} s".format(**result)
        )
        print_ignored(result)
    return 1 if undone or result["held"] else 0


def _by_daemon(answer: Any, progress: _Progress) -> dict[str, Any]:
    while True:
        try:
            item = next(answer)
            progress.tell(item["counts"], item["pending"])
        except StopIteration as end:
            result: dict[str, Any] = end.value
            return result


def by_itself(
    context: Context,
    *,
    rebuild: bool = False,
    progress: Callable[[dict[str, Any], int], None] = lambda _counts, _pending: None,
    prepare: Callable[[Mirror], object] = lambda _mirror: None,
) -> dict[str, Any]:
    """One pass in this process, after *prepare*; the answer of `sync`, and `undone`: sentences about what was left."""
    from clipwatch.service.sync import run_to_quiet

    quiet_libraries(context.logger)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(1) if stop.is_set() else stop.set())
    with (
        state_lock(context.state),
        opened(
            context, stop=stop, give_up_seconds=context.config.store.timeout_seconds, rebuild=rebuild, make=True
        ) as parts,
    ):
        parts.open_together()
        mirror = parts.mirror()
        try:
            prepare(mirror)
            request = run_to_quiet(mirror, context.clock, stop=stop, progress=progress)
        except StoreUnavailable:
            if stop.is_set():
                return {**_interrupted(), "undone": ["Interrupted: the rest waits for the next time."]}
            raise
        finally:
            mirror.stop()
            mirror.close(wait_seconds=5)
            tell_summaries(context.limiter, context.logger, last=True)
        if not request.done.is_set():
            return {**request.counts(), "undone": ["Interrupted: the rest waits for the next time."]}
        return {**request.result, "undone": request.undone}


def _interrupted() -> dict[str, Any]:
    counts = ("images", "embedded", "reused", "unchanged", "deleted", "rejected", "held", "seconds")
    return {**dict.fromkeys(counts, 0), **telling({}, {})}


class _Progress:
    """A bar on a terminal; nothing elsewhere."""

    def __init__(self, json: bool) -> None:
        self._shown = sys.stderr.isatty() and not json
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def tell(self, counts: dict[str, Any], pending: int) -> None:
        """So much is done, so much is known to be left."""
        if not self._shown:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(desc="sync", unit=" images", dynamic_ncols=True, leave=False)
        done = counts["embedded"] + counts["reused"]
        self._bar.total = done + pending
        self._bar.n = done
        self._bar.set_postfix(rejected=counts["rejected"], deleted=counts["deleted"], refresh=False)
        self._bar.refresh()

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _dry_run(context: Context, *, rebuild: bool) -> int:
    """The plan with its reasons, made from folder, collection and notebook alone."""
    plan: list[dict[str, Any]] = []
    with opened(context, give_up_seconds=context.config.store.timeout_seconds, rebuild=rebuild) as parts:
        actions = ask_daemon(context, {"command": "plan"})
        if actions is None:
            parts.open_together()
            actions = parts.answers().plan(Now.of(context.clock))
        while True:
            try:
                plan.append(next(actions))
            except StopIteration as end:
                undone = end.value["undone"]
                break
    say_undone(undone)
    if context.json:
        print_json({"plan": plan})
    else:
        for action in plan:
            held = " (would be held)" if action.get("held") else ""
            print(f"{action['action']:<7} {action['reason']:<8} {action['folder']}/{visible(action['path'])}{held}")
        print(f"{len(plan)} actions")
    return 1 if undone else 0
