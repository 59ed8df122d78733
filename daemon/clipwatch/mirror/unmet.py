"""A point whose file a look did not meet: what the file system says of it now, and what follows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from clipwatch.config import WatchConfig
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules
from clipwatch.folder.scan import Absence, look
from clipwatch.mirror.plan import Unmet, Verdict, verdict_for
from clipwatch.records import FileStat


class Judged(NamedTuple):
    """What becomes of the point, and what lies at its path.

    *excluded*: the folder's rules no longer let the file in, whether it is there or not.
    """

    verdict: Verdict
    found: FileStat | Absence
    excluded: bool = False


def judge(
    root: Root,
    rules: FileRules,
    watch: WatchConfig,
    path: bytes | None,
    unreadable: Iterable[bytes],
    *,
    rules_changed: bool = False,
) -> Judged:
    """One more look at *path*, None where the point names none; *unreadable*: directories the look could not read.

    *rules_changed*: since a scan last found nothing missing. Otherwise it is not the rules that exclude a file beyond
    `max_images` or behind a link: other files came before it, or somebody made the link.
    """
    if path is None:
        nothing = Unmet(None, admitted=False, absent=False, unreadable_above=False)
        return Judged(verdict_for(nothing), Absence.GONE)
    found = look(root, rules, path, follow_symlinks=watch.follow_symlinks)
    unreadable_above = is_below(path, unreadable)
    # A file that is there and was not met is beyond the limit, unless the look could not go where it is.
    beyond_limit = bool(watch.max_images) and isinstance(found, FileStat) and not unreadable_above
    unmet = Unmet(
        path,
        admitted=rules.admits(path) and not beyond_limit,
        absent=found in (Absence.GONE, Absence.DIRECTORY, Absence.NOT_REGULAR),
        unreadable_above=unreadable_above,
    )
    excluded = not rules.admits(path) or (rules_changed and (beyond_limit or _is_behind_link(root, rules, watch, path)))
    return Judged(verdict_for(unmet), found, excluded)


def _is_behind_link(root: Root, rules: FileRules, watch: WatchConfig, path: bytes) -> bool:
    return not watch.follow_symlinks and isinstance(look(root, rules, path, follow_symlinks=True), FileStat)


def is_below(path: bytes, directories: Iterable[bytes]) -> bool:
    """Whether *path* is one of *directories*, or lies somewhere below one."""
    return any(directory == b"" or path == directory or path.startswith(directory + b"/") for directory in directories)
