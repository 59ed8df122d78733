"""What is in a folder now, and the places that could not be read."""

from __future__ import annotations

import errno
import heapq
import os
import stat
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Final

from clipwatch.folder.beneath import ABSENT, is_regular, open_beneath, spelled_truly
from clipwatch.folder.files import Files
from clipwatch.folder.ignored import BY_PATTERN, DIRECTORY, LINK, type_of_name
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules
from clipwatch.records import FileStat, file_stat

CHUNK_ENTRIES: Final = 10_000
"""A directory with more entries comes as several listings, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One directory, or one part of a very large one: several listings may name the same directory.

    *directory* and all paths are below the folder. *ignored*: how many entries were passed over, by type (see
    `folder.ignored`). *not_regular*: image names that are neither files nor directories. *unreadable*, if not empty,
    is why the directory was not seen whole: then nothing at or below it may be taken for gone. *linked*: where followed
    links in it lead to another file system, by its device one path of each.
    """

    directory: bytes
    files: Files = field(default_factory=Files)
    ignored: Mapping[str, int] = field(default_factory=dict)
    unreadable: str = ""
    not_regular: tuple[bytes, ...] = ()
    linked: Mapping[int, bytes] = field(default_factory=dict)


class Absence(StrEnum):
    """Why `look` has no regular file to show."""

    GONE = "gone"
    """Proven: no such entry, or nothing that belongs to the folder by its rules (a link that is not followed)."""
    UNREADABLE = "unreadable"
    """It may be there or not: nothing may be concluded."""
    NOT_REGULAR = "not_regular"
    DIRECTORY = "directory"


def walk(
    root: Root, rules: FileRules, *, follow_symlinks: bool, below: bytes = b"", stop: threading.Event
) -> Iterator[Listing]:
    """List the folder, or what is *below* one of its directories, as a stream.

    What vanishes meanwhile is left out; a *below* that is not there gives no listing. When *stop* is set, the
    last listing says so as *unreadable*: a look that was cut short proves nothing. Followed links are entered after
    all real directories, in order of their paths, each real directory once: the same tree gives the same paths.
    Raises nothing but `FolderUnavailable` when *root* is not open.
    """
    if not rules.enters(below):
        return
    root_descriptor = root.descriptor
    if not follow_symlinks:
        if spelled_truly(root_descriptor, below):
            yield from _Walk(root_descriptor, rules, False, stop).listings(below)
        return
    for listing in _Walk(root_descriptor, rules, True, stop).listings(b""):
        # Only a whole walk knows by which path a linked directory is entered.
        if _is_within(listing.directory, below) or (listing.unreadable and _is_within(below, listing.directory)):
            yield listing


def _is_within(path: bytes, directory: bytes) -> bool:
    return not directory or path == directory or path.startswith(directory + b"/")


class _Walk:
    def __init__(self, root: int, rules: FileRules, follow_symlinks: bool, stop: threading.Event) -> None:
        self._root = root
        self._rules = rules
        self._follow = follow_symlinks
        self._stop = stop
        self._directories: list[bytes] = []
        self._links: list[bytes] = []
        self._entered: set[tuple[int, int]] = set()
        self._devices = {os.fstat(root).st_dev}

    def listings(self, below: bytes) -> Iterator[Listing]:
        self._directories.append(below)
        while self._directories or self._links:
            directory = self._directories.pop() if self._directories else heapq.heappop(self._links)
            if self._stop.is_set():
                yield Listing(below, unreadable="the look was stopped")
                return
            try:
                opened = open_beneath(self._root, directory, os.O_RDONLY | os.O_DIRECTORY, follow_symlinks=self._follow)
            except OSError as error:
                if directory == b"" or not self._vanished(error):
                    yield Listing(directory, unreadable=_words(error))
                continue
            try:
                if self._is_first_visit(opened):
                    yield from self._read(directory, opened)
            finally:
                os.close(opened)

    def _vanished(self, error: OSError) -> bool:
        return error.errno in ABSENT or (error.errno == errno.ELOOP and not self._follow)

    def _is_first_visit(self, opened: int) -> bool:
        if not self._follow:
            return True
        status = os.fstat(opened)
        identity = (status.st_dev, status.st_ino)
        if identity in self._entered:
            return False
        self._entered.add(identity)
        return True

    def _read(self, directory: bytes, opened: int) -> Iterator[Listing]:
        part = _Part(directory)
        try:
            with os.scandir(opened) as entries:
                while chunk := list(islice(entries, CHUNK_ENTRIES)):
                    self._take(chunk, part)
                    if len(chunk) == CHUNK_ENTRIES:
                        yield part.listing()
                        part = _Part(directory)
                    if self._stop.is_set():
                        break
        except OSError as error:
            part.unreadable = _words(error)
        if self._stop.is_set():
            part.unreadable = "the look was stopped"
        yield part.listing()

    def _take(self, entries: list[os.DirEntry[str]], part: _Part) -> None:
        # Runs once for every file of every look: names are bound and the usual case comes first.
        ignores_file, is_image_name = self._rules.ignore.ignores_file, self._rules.is_image_name
        encode, prefix, add, ignored = os.fsencode, part.prefix, part.files.add, part.ignored
        for entry in entries:
            name = encode(entry.name)
            path = prefix + name
            try:
                if not entry.is_file(follow_symlinks=False):
                    self._take_other(entry, path, name, part)
                elif ignores_file(path, name):
                    ignored[BY_PATTERN] += 1
                elif is_image_name(name):
                    add(path, entry.stat(follow_symlinks=False))
                else:
                    ignored[type_of_name(name)] += 1
            except FileNotFoundError:
                continue
            except OSError as error:
                if self._follow and entry.is_symlink():
                    # A link in a circle, or to where this user may not look, casts doubt on itself (`look` says so):
                    # whoever may make one must not be able to keep a whole directory from being believed.
                    ignored[LINK] += 1
                else:
                    part.unreadable = f"{entry.name!r}: {_words(error)}"

    def _take_other(self, entry: os.DirEntry[str], path: bytes, name: bytes, part: _Part) -> None:
        """Whatever is no plain file by itself."""
        is_link = entry.is_symlink()
        followed = self._follow and is_link
        if entry.is_dir(follow_symlinks=followed):
            if self._rules.ignores_directory(path, name):
                part.ignored[BY_PATTERN] += 1
            elif not self._rules.recursive:
                part.ignored[DIRECTORY] += 1
            elif followed:
                heapq.heappush(self._links, path)
                self._note_device(path, entry.stat(), part)
            else:
                self._directories.append(path)
        elif self._rules.ignores_file(path, name):
            part.ignored[BY_PATTERN] += 1
        elif is_link and not followed:
            part.ignored[LINK] += 1
        elif not self._rules.is_image_name(name):
            part.ignored[type_of_name(name)] += 1
        else:
            status = entry.stat(follow_symlinks=followed)
            if is_regular(status):
                part.files.add(path, status)
                self._note_device(path, status, part)
            else:
                part.not_regular.append(path)

    def _note_device(self, path: bytes, status: os.stat_result, part: _Part) -> None:
        if self._follow and status.st_dev not in self._devices:
            self._devices.add(status.st_dev)
            part.linked[status.st_dev] = path


class _Part:
    """A listing being made."""

    __slots__ = ("directory", "files", "ignored", "linked", "not_regular", "prefix", "unreadable")

    def __init__(self, directory: bytes) -> None:
        self.directory = directory
        self.prefix = directory + b"/" if directory else b""
        self.files = Files()
        self.not_regular: list[bytes] = []
        self.linked: dict[int, bytes] = {}
        self.ignored: Counter[str] = Counter()
        self.unreadable = ""

    def listing(self) -> Listing:
        return Listing(self.directory, self.files, self.ignored, self.unreadable, tuple(self.not_regular), self.linked)


def look(root: Root, rules: FileRules, path: bytes, follow_symlinks: bool) -> FileStat | Absence:
    """The regular file at *path* below the folder, or why there is none; as `walk` would see it."""
    if not rules.admits(path):
        return Absence.GONE
    parent, _, name = path.rpartition(b"/")
    try:
        directory = open_beneath(root.descriptor, parent, os.O_PATH | os.O_DIRECTORY, follow_symlinks=follow_symlinks)
    except OSError as error:
        absent = error.errno in ABSENT or (error.errno == errno.ELOOP and not follow_symlinks)
        return Absence.GONE if absent else Absence.UNREADABLE
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=follow_symlinks)
    except OSError as error:
        return Absence.GONE if error.errno in ABSENT else Absence.UNREADABLE
    finally:
        os.close(directory)
    if stat.S_ISLNK(status.st_mode) or not spelled_truly(root.descriptor, path):
        return Absence.GONE
    if is_regular(status):
        return file_stat(status)
    return Absence.DIRECTORY if stat.S_ISDIR(status.st_mode) else Absence.NOT_REGULAR


def _words(error: OSError) -> str:
    return error.strerror or str(error)
