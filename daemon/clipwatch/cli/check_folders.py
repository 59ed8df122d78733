"""What the doctor sees of the folders: may they be read, can they be watched, is the clock right."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from clipwatch.config import WatchConfig
from clipwatch.errors import ClipwatchError, FileRejected
from clipwatch.folder.backend import limit_of
from clipwatch.folder.beneath import open_beneath
from clipwatch.folder.ignored import add_types, is_other_name, other_picture, sentence, telling
from clipwatch.folder.mounts import silent_file_system
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules
from clipwatch.folder.scan import walk
from clipwatch.image.container import HEAD_BYTES, refuse_other
from clipwatch.records import path_text

WATCH_SHARE: Final = 0.8
"""Of `fs.inotify.max_user_watches`, what is used already included: folders grow."""

EARLIEST: Final = datetime(2025, 1, 1, tzinfo=UTC)
CLOCK_SLACK_SECONDS: Final = 120.0
LATEST_SECONDS: Final = datetime.max.replace(tzinfo=UTC).timestamp() - 1
"""The last moment that can be spelled; a file server may give a later one."""

_NAMED: Final = 3

OPENED: Final = 1000
"""Of files named like a picture that cannot be decoded, so many are opened to see what they are."""


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


@dataclass(slots=True)
class Seen:
    """What a walk through one folder came upon."""

    trouble: ClipwatchError | None = None
    images: int = 0
    """As a scan counts them: by their names, without those known to be in another format; see `OPENED`."""
    ignored: dict[str, int] = field(default_factory=dict)
    undecodable: dict[str, int] = field(default_factory=dict)
    """Of *ignored*: pictures in another format."""
    directories: int = 0
    unreadable: list[str] = field(default_factory=list)
    """Directories."""
    unreadable_images: int = 0
    examples: list[str] = field(default_factory=list)
    newest_seconds: float = 0.0
    """When an image last changed, by the clock that wrote it; nobody but that clock can set it."""
    opened: int = 0
    """How many files were opened to see their format."""
    silent: str = ""
    """The file system, where it tells of no changes."""


@dataclass(frozen=True, slots=True)
class Inotify:
    """Of one user: instances and watches."""

    instances: int
    watches: int


def see(watch: WatchConfig) -> Seen:
    """Walk the folder as this user."""
    seen = Seen()
    root = Root(watch)
    try:
        root.open()
        rules = FileRules.from_config(watch)
        for listing in walk(root, rules, follow_symlinks=watch.follow_symlinks, stop=threading.Event()):
            seen.directories += 1
            if listing.unreadable:
                seen.unreadable.append(path_text(listing.directory) or ".")
            add_types(seen.ignored, listing.ignored)
            seen.images += len(listing.not_regular)
            for path, found in listing.files:
                if other := _other_format(root, watch, path, seen):
                    for types in (seen.ignored, seen.undecodable):
                        add_types(types, {other: 1})
                    continue
                seen.images += 1
                seen.newest_seconds = max(seen.newest_seconds, found.signature.ctime_ns / 1e9)
                if not os.access(path, os.R_OK, dir_fd=root.descriptor, effective_ids=True):
                    seen.unreadable_images += 1
                    if len(seen.examples) < _NAMED:
                        seen.examples.append(path_text(path))
        seen.silent = silent_file_system(root.descriptor, root.path)
    except ClipwatchError as error:
        seen.trouble = error
    finally:
        root.close()
    return seen


def _other_format(root: Root, watch: WatchConfig, path: bytes, seen: Seen) -> str:
    """As what type a file counts as ignored whose name is that of another format; "" where it may be decoded."""
    if not is_other_name(path) or seen.opened >= OPENED:
        return ""
    seen.opened += 1
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = open_beneath(root.descriptor, path, flags, follow_symlinks=watch.follow_symlinks)
        try:
            refuse_other(os.pread(descriptor, HEAD_BYTES, 0))
        finally:
            os.close(descriptor)
    except FileRejected as rejected:
        return other_picture(path, rejected.other_format)
    except OSError:
        pass  # that it may not be read is told of every file
    return ""


def folder_checks(watch: WatchConfig, seen: Seen) -> Iterator[Check]:
    """Whether it is there and can be read."""
    name = f"folder {watch.name}"
    if seen.trouble is not None:
        yield Check(name, False, seen.trouble.message, seen.trouble.hint)
    elif seen.unreadable:
        hint = "Give this user the right to read and enter them."
        yield Check(name, False, f"cannot read {', '.join(seen.unreadable[:_NAMED])}", hint)
    elif seen.unreadable_images:
        detail = f"{seen.unreadable_images} of {seen.images} images may not be read: {', '.join(seen.examples)}"
        yield Check(name, False, detail, "Give this user the right to read them.")
    else:
        told = sentence(telling(seen.ignored, seen.undecodable))
        detail = f"{watch.path}: {seen.images} images in {seen.directories} directories"
        hint = ""
        if seen.undecodable:
            hint = "Convert them to JPEG or PNG where they are to be found; the others are not touched by this."
        elif seen.ignored and not seen.images:
            hint = "Nothing in it is a picture by its name: see watch.extensions and watch.ignore."
        yield Check(name, True, f"{detail}; {told}" if told else detail, hint)


def watching_checks(
    folders: Sequence[tuple[WatchConfig, Seen]],
    running: Sequence[Mapping[str, Any]],
    *,
    used: Inotify,
    limit: Inotify,
) -> Iterator[Check]:
    """Whether changes will be told. *running*: what a daemon says of its folders; it has its watches already."""
    told = {folder["name"]: folder for folder in running if folder.get("backend")}
    needy: list[Seen] = []
    for watch, found in folders:
        name = f"watching {watch.name}"
        if found.trouble is not None:
            continue
        if watch.name in told:
            how = told[watch.name]
            reason = f": {how['watch_reason']}" if how["watch_reason"] else ""
            hint = "" if how["healthy"] else "Until that is cured it is looked at every few seconds."
            yield Check(name, how["healthy"], f"by {how['backend']}{reason}", hint)
            if how["healthy"]:
                continue
        if found.silent or watch.backend == "polling":
            why = f"{found.silent} tells of no changes" if found.silent else "watch.backend is polling"
            yield Check(name, True, f"{why}: it is looked at every few seconds")
        else:
            needy.append(found)
    if needy:
        needs = Inotify(len(needy), sum(found.directories for found in needy))
        yield inotify_check(needs, used=used, limit=limit)


def inotify_check(needs: Inotify, *, used: Inotify, limit: Inotify) -> Check:
    """Whether the kernel gives all folders together what they need, beside what this user's programs have."""
    cures = []
    if limit.watches and used.watches + needs.watches > WATCH_SHARE * limit.watches:
        cures.append(f"fs.inotify.max_user_watches={max(524_288, 2 * (used.watches + needs.watches))}")
    if limit.instances and used.instances + needs.instances > limit.instances:
        cures.append(f"fs.inotify.max_user_instances={max(512, 2 * (used.instances + needs.instances))}")
    detail = (
        f"{needs.watches} directories in {needs.instances} folders; watches in use: {used.watches} of {limit.watches}, "
        f"instances: {used.instances} of {limit.instances}"
    )
    return Check("inotify", not cures, detail, f"Raise the limit: sysctl -w {' '.join(cures)}" if cures else "")


def inotify_limit() -> Inotify:
    """The kernel's; 0 where it does not tell."""
    return Inotify(limit_of("max_user_instances"), limit_of("max_user_watches"))


def inotify_used(proc: Path = Path("/proc")) -> Inotify:
    """By this user's programs, as far as they can be seen."""
    instances = watches = 0
    for process in proc.glob("[0-9]*"):
        try:
            if process.stat().st_uid != os.geteuid():
                continue
            for descriptor in os.listdir(process / "fd"):
                if os.readlink(process / "fd" / descriptor) == "anon_inode:inotify":
                    instances += 1
                    watches += (process / "fdinfo" / descriptor).read_text(encoding="ascii").count("inotify wd:")
        except OSError:  # it ended, or may not be looked into
            continue
    return Inotify(instances, watches)


def clock_check(now: datetime, written: Mapping[str, float]) -> Check:
    """Whether *now* can be right. *written*: when something was last changed, by this machine or by a file server."""
    detail, hint = now.isoformat(timespec="seconds"), "Set the clock; holds of deletes last by it."
    if now < EARLIEST:
        return Check("clock", False, detail, hint)
    for what, seconds in written.items():
        if seconds > now.timestamp() + CLOCK_SLACK_SECONDS:
            then = datetime.fromtimestamp(min(seconds, LATEST_SECONDS), UTC).isoformat(timespec="seconds")
            return Check("clock", False, f"{detail}, but {what} was changed at {then}", hint)
    return Check("clock", True, detail)


def last_written(directory: Path) -> float:
    """When something in *directory* last changed; 0 for nothing."""
    try:
        with os.scandir(directory) as entries:
            return max((entry.stat(follow_symlinks=False).st_ctime for entry in entries), default=0.0)
    except OSError:
        return 0.0


def guarded(name: str, check: Callable[[], Check]) -> Check:
    """A check that could not be made is a finding."""
    try:
        return check()
    except ClipwatchError as error:
        return Check(name, False, error.message, error.hint)
