"""The checks of the doctor: each looks at one thing and never raises."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from clipwatch.cli.asking import ask_daemon, result_of
from clipwatch.cli.assemble import Context, Parts, opened
from clipwatch.config import WatchConfig, is_server
from clipwatch.errors import ClipwatchError, LockHeld
from clipwatch.records import path_text
from clipwatch.service.state import make_state_directory

FREE_BYTES: Final = 500_000_000
"""Below this the embedded store is near to refusing writes."""

WATCH_SHARE: Final = 0.8
"""Of `fs.inotify.max_user_watches`; other programs of the same user need some too."""

EARLIEST: Final = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    name: str
    ok: bool
    detail: str
    hint: str = ""

    def as_json(self) -> dict[str, Any]:
        """As the contract spells it."""
        return {"name": self.name, "ok": self.ok, "detail": self.detail, "hint": self.hint}


def run_checks(context: Context) -> list[Check]:
    """All of them, in the order in which things depend on each other."""
    checks = [Check("config", True, str(context.loaded.file or "built-in defaults"))]
    checks.append(_guarded("state directory", lambda: _state(context)))
    checks.append(_clock())
    for watch in context.config.watch:
        checks += _folder(watch)
    running = ask_daemon(context, {"command": "status"})
    status = result_of(running) if running is not None else None
    checks.append(Check("daemon", True, f"running, {status['state']}" if status else "not running"))
    with opened(context, give_up_seconds=min(10.0, context.config.store.timeout_seconds)) as parts:
        checks.append(_guarded("model", lambda: _model(parts)))
        checks.append(_guarded("text search", lambda: _text(parts)))
        checks.append(_guarded("sandbox", lambda: _sandbox(context, parts)))
        checks += _disk(context)
        checks.append(_guarded("store", lambda: _store(context, parts, status)))
    return checks


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except ClipwatchError as error:
        return Check(name, False, error.message, error.hint)


def _state(context: Context) -> Check:
    make_state_directory(context.state)
    return Check("state directory", True, f"{context.state} can be written")


def _clock() -> Check:
    now = datetime.now(UTC)
    hint = "Set the clock; holds of deletes last by it."
    return Check("clock", now >= EARLIEST, now.isoformat(timespec="seconds"), "" if now >= EARLIEST else hint)


def _folder(watch: WatchConfig) -> Iterator[Check]:
    import threading

    from clipwatch.folder.mounts import silent_file_system
    from clipwatch.folder.root import Root
    from clipwatch.folder.rules import FileRules
    from clipwatch.folder.scan import walk

    name = f"folder {watch.name}"
    root = Root(watch)
    try:
        root.open()
        files = directories = 0
        unreadable: list[str] = []
        for listing in walk(
            root, FileRules.from_config(watch), follow_symlinks=watch.follow_symlinks, stop=threading.Event()
        ):
            files += len(listing.files)
            directories += 1
            if listing.unreadable:
                unreadable.append(path_text(listing.directory) or ".")
        silent = silent_file_system(root.descriptor, root.path)
    except ClipwatchError as error:
        yield Check(name, False, error.message, error.hint)
        return
    finally:
        root.close()
    if unreadable:
        hint = "Give this user the right to read and enter them."
        yield Check(name, False, f"cannot read {', '.join(unreadable[:5])}", hint)
    else:
        yield Check(name, True, f"{watch.path}: {files} images in {directories} directories")
    if silent:
        yield Check(f"watching {watch.name}", True, f"{silent} tells of no changes: it is looked at every few seconds")
    else:
        yield _inotify(watch, directories)


def _inotify(watch: WatchConfig, directories: int) -> Check:
    limit = Path("/proc/sys/fs/inotify/max_user_watches")
    try:
        most = int(limit.read_text())
    except (OSError, ValueError):
        return Check(f"watching {watch.name}", True, "the kernel does not tell its limit of watches")
    fits = directories <= WATCH_SHARE * most
    wanted = max(524_288, 2 * directories)
    return Check(
        f"watching {watch.name}",
        fits,
        f"{directories} directories, {most} watches allowed",
        "" if fits else f"Raise the limit: sysctl -w fs.inotify.max_user_watches={wanted}",
    )


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
        there = next(parent for parent in (place, *place.absolute().parents) if parent.exists())
        free = shutil.disk_usage(there).free
        hint = "" if free >= FREE_BYTES else f"Free some space on the file system of {there}."
        yield Check(f"disk of {name}", free >= FREE_BYTES, f"{free / 1e9:.1f} GB free", hint)


def _store(context: Context, parts: Parts, status: dict[str, Any] | None) -> Check:
    config = context.config.store
    if status is not None and not is_server(config.url):
        store = status["store"]
        return Check("store", bool(store["available"]), f"{store['address']} through the daemon", store["trouble"])
    try:
        info = parts.store.info()
    except LockHeld as held:
        return Check("store", False, held.message, held.hint)
    return Check("store", True, f"{info.kind} {info.version} at {info.address}, collection {info.collection}")
