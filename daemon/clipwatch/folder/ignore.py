"""A folder's `ignore` patterns, with the meaning that they have in a `.gitignore` file at the top of the folder.

The glob syntax of one pattern is translated by `pathspec`. Which pattern decides is decided here, one directory entry
at a time, as git does it: of those that match the entry, the last one counts, and what lies below an ignored directory
is never asked about. Names are bytes, and `?` and `[...]` match one byte of them, as in git.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from clipwatch.errors import ConfigError

_GLOB: Final = re.compile(rb"[*?\[\\]")
_MANY_STARS: Final = re.compile(rb"(?<![^/])\*{3,}(?![^/])")
_STAR: Final = b"[^/]*"
"""What `pathspec` makes of a star."""

_TRAILING_SPACES: Final = re.compile(rb"((?<!\\)(?:\\\\)*) +\Z")
"""Those that no backslash keeps."""
_SETS: Final = re.compile(rb"\\.|\[[!^]?\]?[^\]]*\]", re.DOTALL)
"""Of a glob or a regular expression: `[...]`, and what a backslash takes out of the search for them."""
_SET_SYNTAX: Final = re.compile(rb"\\|\[|--|&&|~~|\|\|")
"""Inside `[...]`: what git and Python's regular expressions read in different ways."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern. *glob*: without `!`, the slash at its end and the one at its beginning that anchors it.

    *by_name*: it holds no slash, so it is compared with an entry's name alone, at any depth.
    """

    glob: bytes
    ignores: bool
    directories_only: bool
    by_name: bool
    anchored: bool = False

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Raises `ConfigError` for a pattern that could never match.

        A `#` at the beginning is part of the name: a list of strings has no comments.
        """
        glob = _TRAILING_SPACES.sub(rb"\1", os.fsencode(text))
        ignores = not glob.startswith(b"!")
        glob = glob.removeprefix(b"!")
        directories_only = glob.endswith(b"/")
        glob = glob.removesuffix(b"/")
        anchored = glob.startswith(b"/")
        glob = _MANY_STARS.sub(b"**", glob.removeprefix(b"/"))
        if glob.startswith(b"**/") and b"/" not in glob.removeprefix(b"**/"):
            glob, anchored = glob.removeprefix(b"**/"), False
        parts = glob.split(b"/")
        if not glob or any(part in (b"", b".", b"..") for part in parts):
            raise _refused(text, "can never match", "Write it relative to the folder, as in `sub/*.jpg` or `sub/`.")
        by_name = len(parts) == 1 and not anchored
        if any(
            _SET_SYNTAX.search(found.group(0)[1:]) for found in _SETS.finditer(glob) if found.group(0).startswith(b"[")
        ):
            raise _refused(text, "cannot be used", "Inside [...] write single characters and ranges only.")
        pattern = cls(glob, ignores, directories_only, by_name, anchored)
        try:
            if not pattern.is_simple:
                pattern.compiled()
        except (re.error, ValueError):
            raise _refused(text, "can never match", "A [ needs its ], and a backslash something after it.") from None
        return pattern

    @property
    def is_plain(self) -> bool:
        """Whether it is a name as it stands."""
        return self.by_name and not _GLOB.search(self.glob)

    @property
    def beginning(self) -> bytes:
        """What names begin with that it matches, where that is all that it says."""
        return self._only(self.glob[:-1]) if self.glob.endswith(b"*") else b""

    @property
    def ending(self) -> bytes:
        """What names end with that it matches, where that is all that it says."""
        return self._only(self.glob[1:]) if self.glob.startswith(b"*") else b""

    @property
    def is_simple(self) -> bool:
        """Whether it is a name, a beginning or an ending."""
        return bool(self.is_plain or self.beginning or self.ending)

    def _only(self, rest: bytes) -> bytes:
        return rest if self.by_name and not _GLOB.search(rest) else b""

    def compiled(self) -> Callable[[bytes], object]:
        """What says whether a name (*by_name*), or else a path, is one that it matches. Raises as `pathspec` does."""
        # Imported here, since it takes 20 ms and the default patterns do not need it.
        from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

        glob = self.glob
        if glob in (b"*", b"**") and not self.anchored:
            return lambda _name: True
        if glob == b"**" or glob.endswith(b"/**"):
            glob += b"/*"  # all that lies below, but not the directory itself
        if glob.startswith((b"#", b"!")):
            glob = b"\\" + glob
        if _TRAILING_SPACES.search(glob):  # one that the slash behind it kept
            glob = glob[:-1] + b"\\ "
        # A path without a slash in it is one of the folder itself: to anchor it, it needs the slash that was taken off.
        regex, include = GitIgnoreSpecPattern.pattern_to_regex(b"/" + glob if self.anchored else glob)
        if regex is None or include is None:
            raise ValueError
        if regex == b".":
            return lambda _path: True
        regex = _SETS.sub(_but_no_slash, regex)
        return re.compile(_without_retries(regex) if self.by_name else regex, re.DOTALL).fullmatch


def _but_no_slash(found: re.Match[bytes]) -> bytes:
    """A set, which in git never matches the slash between two names."""
    part = found.group(0)
    return part if part.startswith(b"\\") or part == b"[^/]" else b"(?!/)" + part


def _without_retries(regex: bytes) -> bytes:
    """The same for one name, with each star but the last as short as it can be, for good.

    Otherwise a name made for the purpose, such as 250 times `a` for `*a*a*a*a*b`, would take hours to compare.
    """
    first, *rest = regex.split(_STAR)
    shortest = b"".join(b"(?>" + _STAR + b"?" + part + b")" for part in rest[:-1])
    return first + shortest + _STAR + rest[-1] if rest else regex


def _refused(text: str, what: str, hint: str) -> ConfigError:
    return ConfigError(f"The ignore pattern {text!r} {what}.", hint=hint)


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring patterns that all ignore, or all do not: their order does not matter.

    Most patterns are a name, a beginning or an ending; comparing bytes is far cheaper than a regular expression.
    """

    ignores: bool
    names: frozenset[bytes]
    beginnings: tuple[bytes, ...]
    endings: tuple[bytes, ...]
    by_name: tuple[Callable[[bytes], object], ...]
    by_path: tuple[Callable[[bytes], object], ...]

    @classmethod
    def of(cls, ignores: bool, patterns: Iterable[Pattern]) -> _Group:
        names, beginnings, endings = set[bytes](), list[bytes](), list[bytes]()
        by_name, by_path = list[Callable[[bytes], object]](), list[Callable[[bytes], object]]()
        for pattern in patterns:
            if pattern.is_plain:
                names.add(pattern.glob)
            elif pattern.beginning:
                beginnings.append(pattern.beginning)
            elif pattern.ending:
                endings.append(pattern.ending)
            else:
                (by_name if pattern.by_name else by_path).append(pattern.compiled())
        return cls(ignores, frozenset(names), tuple(beginnings), tuple(endings), tuple(by_name), tuple(by_path))

    def matches(self, path: bytes, name: bytes) -> bool:
        return (
            name in self.names
            or name.startswith(self.beginnings)
            or name.endswith(self.endings)
            or (bool(self.by_name) and any(matches(name) for matches in self.by_name))
            or (bool(self.by_path) and any(matches(path) for matches in self.by_path))
        )


@dataclass(frozen=True, slots=True)
class Ignore:
    """All patterns of one folder, compiled; paths are relative to the folder."""

    _files: tuple[_Group, ...] = field(default=())
    """The last pattern comes first."""
    _directories: tuple[_Group, ...] = field(default=())

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Ignore:
        """Raises `ConfigError` for a pattern that could never match."""
        parsed = [Pattern.parse(text) for text in patterns]
        return cls(_groups([p for p in parsed if not p.directories_only]), _groups(parsed))

    def ignores_file(self, path: bytes, name: bytes) -> bool:
        """Whether the file *path*, which ends with *name*, is ignored; its directory is known not to be."""
        for group in self._files:
            if group.matches(path, name):
                return group.ignores
        return False

    def ignores_directory(self, path: bytes, name: bytes) -> bool:
        """The same for a directory."""
        for group in self._directories:
            if group.matches(path, name):
                return group.ignores
        return False

    def hides(self, directory: bytes) -> bool:
        """Whether *directory*, or one above it, is ignored; the empty path is the folder itself."""
        begin = 0
        while directory:
            end = directory.find(b"/", begin)
            part = directory if end < 0 else directory[:end]
            if self.ignores_directory(part, part[begin:]):
                return True
            if end < 0:
                break
            begin = end + 1
        return False


def _groups(patterns: Iterable[Pattern]) -> tuple[_Group, ...]:
    groups = [_Group.of(ignores, group) for ignores, group in groupby(patterns, key=lambda pattern: pattern.ignores)]
    return tuple(reversed(groups))
