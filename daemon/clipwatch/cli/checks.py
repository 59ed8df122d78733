"""The checks of the doctor: each looks at one thing and never raises."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from clipwatch.cli.asking import ask_daemon, result_of
from clipwatch.cli.assemble import Context, Parts, opened
from clipwatch.cli.check_folders import (
    Check,
    clock_check,
    folder_checks,
    guarded,
    inotify_limit,
    inotify_used,
    last_written,
    see,
    watching_checks,
)
from clipwatch.cli.check_service import Service
from clipwatch.cli.nowhere import nowhere
from clipwatch.config import is_server
from clipwatch.errors import ClipwatchError, ModelError
from clipwatch.service.state import check_state_directory

FREE_BYTES: Final = 500_000_000
"""Below this the embedded store is near to refusing writes."""


def run_checks(context: Context, service: Service | None = None) -> list[Check]:
    """All of them, in the order in which things depend on each other. *service*: who will run, if known."""
    config = context.config
    checks = [_config(context)]
    checks.append(_user(service))
    checks.append(guarded("state directory", lambda: _state(context)))
    folders = [(watch, see(watch)) for watch in config.watch]
    written = {f"the folder {watch.name}": seen.newest_seconds for watch, seen in folders}
    checks.append(clock_check(datetime.now(UTC), {str(context.state): last_written(context.state), **written}))
    status, daemon = _daemon(context)
    checks.append(daemon)
    for watch, seen in folders:
        checks += folder_checks(watch, seen)
    if service is not None:
        checks += _hidden(service, context)
    running = status["watch"] if status is not None else []
    checks += watching_checks(folders, running, used=inotify_used(), limit=inotify_limit())
    with opened(context, give_up_seconds=min(10.0, config.store.timeout_seconds)) as parts:
        checks.append(guarded("model", lambda: _model(parts)))
        checks.append(guarded("text search", lambda: _text(parts)))
        checks.append(guarded("sandbox", lambda: _sandbox(context, parts)))
        checks += _disk(context)
        checks.append(
            guarded("store", lambda: _store(context, parts, status) if daemon.ok else _behind(context, parts))
        )
    return checks


def _config(context: Context) -> Check:
    file = context.loaded.file
    return Check("config", True, str(file) if file else "built-in defaults", nowhere(context.loaded))


def _user(service: Service | None) -> Check:
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = str(os.geteuid())
    if service is None or service.user == name:
        return Check("user", True, name)
    hint = "Run it as root, after the first start of the service: then it looks as the service's user."
    return Check("user", True, f"{name}, where the service is {service.user}", hint)


def _state(context: Context) -> Check:
    check_state_directory(context.state)
    return Check("state directory", True, f"{context.state} can be written")


def _daemon(context: Context) -> tuple[dict[str, Any] | None, Check]:
    try:
        answer = ask_daemon(context, {"command": "status"})
        status = None if answer is None else result_of(answer)
    except ClipwatchError as error:
        return None, Check("daemon", False, error.message, error.hint)
    return status, Check("daemon", True, f"running, {status['state']}" if status else "not running")


def _hidden(service: Service, context: Context) -> Iterator[Check]:
    folders = [Path(os.path.abspath(service.directory / watch.path)) for watch in context.config.watch]
    for folder in service.does_not_see(folders):
        hint = "Run `clipwatch service install` again, then restart the service."
        yield Check("service", False, f"it does not see {folder}, which is not bound in", hint)


def _model(parts: Parts) -> Check:
    encoder = parts.encoder
    label = ", a demonstration" if encoder.demonstration else ""
    facts = encoder.describe
    return Check(
        "model", True, f"{encoder.name}{label}: {encoder.width} wide, {facts['engine']} on {facts['provider']}"
    )


def _text(parts: Parts) -> Check:
    if parts.encoder.files.text is None:
        return Check("text search", True, "this model has no text tower: search by picture")
    parts.text_rows(["a check"])
    if parts.encoder.files.pair_unproven:
        hint = "Get both towers with `clipwatch model fetch` or `clipwatch model convert`, which note their hashes."
        return Check("text search", True, "the text tower answers; pairing unproven: there is no bundle.json", hint)
    return Check("text search", True, "the text tower answers")


def _sandbox(context: Context, parts: Parts) -> Check:
    return sandbox_check(parts.query_decoder().probe(), context.config.limits.decode_seconds)


def sandbox_check(walls: Mapping[str, Any], seconds: float) -> Check:
    """What is around each decoder: *walls* as a worker reports them, *seconds* for one picture.

    Never a failure: limits of memory and time hold everywhere, and only another kernel brings what is missing.
    """
    abi = walls["landlock_abi"]
    files = f"Landlock {abi}" if abi else "open to a decoder that is taken over"
    calls = "seccomp" if walls["seccomp_filters"] else "open to a decoder that is taken over"
    memory = f"{walls['memory_bytes'] / 2**20:.0f} MB"
    hint = f"Run it on a kernel with Landlock and seccomp: {walls['missing']}." if walls["missing"] else ""
    return Check("sandbox", True, f"files: {files}; sockets, fork, exec: {calls}; {memory}; {seconds:g} s", hint)


def _disk(context: Context) -> Iterator[Check]:
    config = context.config
    places = {"state": context.state}
    if not is_server(config.store.url):
        places["store"] = Path(config.store.url.removeprefix("embedded:"))
    for name, place in places.items():
        there = next(parent for parent in (place, *place.absolute().parents) if os.path.exists(parent))
        free = shutil.disk_usage(there).free
        hint = "" if free >= FREE_BYTES else f"Free some space on the file system of {there}."
        yield Check(f"disk of {name}", free >= FREE_BYTES, f"{free / 1e9:.1f} GB free", hint)


def _behind(context: Context, parts: Parts) -> Check:
    """The store of a daemon that does not answer: it has an embedded one, and nobody else gets in."""
    if is_server(context.config.store.url):
        return _store(context, parts, None)
    return Check("store", False, "the daemon that has it does not answer", "See the line of the daemon.")


def _store(context: Context, parts: Parts, status: dict[str, Any] | None) -> Check:
    config = context.config.store
    if status is not None and not is_server(config.url):
        store = status["store"]
        if not store:
            return Check("store", True, "the daemon is still starting", "Ask again in a moment.")
        return Check("store", bool(store["available"]), f"{store['address']} through the daemon", store["trouble"])
    info = parts.store.info()
    detail = f"{info.kind} {info.version} at {info.address}, collection {info.collection}"
    try:
        width = parts.encoder.width
    except ModelError:  # has its own line
        return Check("store", True, detail)
    plan = parts.rebuild.judge(width)
    return Check("store", True, f"{detail}; {plan}" if plan else detail)
