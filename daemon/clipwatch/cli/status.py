"""`clipwatch status`: at a glance."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from clipwatch.cli.asking import ask_daemon, print_json, result_of
from clipwatch.cli.assemble import Context, opened
from clipwatch.errors import ConfigError
from clipwatch.folder.ignored import sentence
from clipwatch.service.ask import RemoteError
from clipwatch.visible import visible


def main(arguments: argparse.Namespace, context: Context) -> int:
    """From the daemon; without one, from the store."""
    if arguments.watch:
        return _watch(context)
    status = _status(context)
    if context.json:
        print_json(status)
    else:
        _print(page(status))
    return 0


def _watch(context: Context) -> int:
    """The daemon alone, until Ctrl-C: a store that is opened every second would be in everybody's way."""
    if context.json:
        raise ConfigError("--json is one document, and --watch has no end.", hint="Leave one of them out.")
    pause = threading.Event()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            lines = _watched(context)
            if sys.stdout.isatty():
                sys.stdout.write("\x1b[H\x1b[2J")
            _print(lines)
            sys.stdout.flush()
            pause.wait(1.0)
    return 0


def _watched(context: Context) -> list[str]:
    answer = ask_daemon(context, {"command": "status"})
    if answer is None:
        return ["stopped", "  no daemon runs here; `clipwatch status` says what the store holds"]
    try:
        return list(page(result_of(answer)))
    except RemoteError as error:
        return [visible(error.sentence())]


def _status(context: Context) -> dict[str, Any]:
    answer = ask_daemon(context, {"command": "status"})
    if answer is not None:
        return result_of(answer)
    from clipwatch.service.answers import stored_status

    with opened(context, give_up_seconds=context.config.store.timeout_seconds) as parts:
        return stored_status(context.config, parts.store)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def page(status: dict[str, Any]) -> Iterator[str]:
    """The status at a glance, a line at a time; nothing in it can move a terminal's cursor."""
    yield status["state"]
    yield from _counts(status)
    if status["pending"]:
        yield from _backlog(status)
    if status.get("stuck"):
        yield f"  stuck   {', '.join(status['stuck'])}: restart the daemon, and see its log"
    model, store = status["model"], status["store"]
    if model:
        demonstration = " (a demonstration: emoji-like drawings, not photographs)" if model["demonstration"] else ""
        how = f"{model.get('engine', '')} {model.get('precision', '')} on {model.get('provider', '')}"
        yield f"  model   {visible(model['name'])}{demonstration}, {model['width']} wide, {how}"
    if store:
        trouble = f": {visible(store['trouble'])}" if store.get("trouble") else ""
        yield f"  store   {visible(store['address'])}, collection {store['collection']}{trouble}"
    if "rebuild" in status:
        held = f"; {visible(status['rebuild']['held'])}" if status["rebuild"]["held"] else ""
        yield "  anew    {done} of {of} images in collection {collection}".format(**status["rebuild"]) + held
    for folder in status["watch"]:
        how = f", watched by {folder['backend']}" if folder.get("backend") else ""
        yield f"  folder  {folder['name']} at {visible(folder['path'])}: {folder['state']}{how}"
        yield from (
            f"          {visible(folder[key])}"
            for key in ("trouble", "unconfirmed_why", "put_aside", "watch_reason")
            if folder.get(key)
        )
        for directory, why in folder.get("unreadable", {}).items():
            yield f"          cannot read {visible(directory)}: {visible(why)}"
    if status.get("http", {}).get("trouble"):
        yield f"  page    {visible(status['http']['trouble'])}"
    yield from _log(status.get("log", {}))
    if status.get("troubles"):
        yield "  lately"
        for trouble in status["troubles"]:
            words = (
                str(trouble[key])
                for key in ("path", "differs", "reason", "message", "error", "hint")
                if trouble.get(key)
            )
            yield visible(f"    {trouble['at'][:19]}Z {trouble['event']}: {' · '.join(words)}")


def _counts(status: dict[str, Any]) -> Iterator[str]:
    if status["images"] is None:
        yield f"  {status['points']} points; what is in the folders only a running daemon, `sync` or `verify` can tell"
        return
    yield (
        f"  {status['images']} images, {status['points']} points; {status['pending']} pending, "
        f"{status['rejected']} rejected, {status['held']} held, {status['ignored']} ignored"
    )
    if words := sentence(status):
        yield f"  {words}"


def _log(log: dict[str, Any]) -> Iterator[str]:
    if log.get("lost") or log.get("trouble"):
        yield f"  log     {log['lost']} lines lost" + (f"; now: {visible(log['trouble'])}" if log["trouble"] else "")


def _backlog(status: dict[str, Any]) -> Iterator[str]:
    rate, eta = status.get("images_per_second") or 0, status.get("eta_seconds")
    if eta is not None:
        stage = status["stages"]["bottleneck"]
        yield f"  {rate:g} images/s, done in about {_duration(eta)}" + (
            f"; {stage} is what takes time" if stage else ""
        )


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
