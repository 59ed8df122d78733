"""Points whose files a look did not meet: what the file system says of them now, and what follows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from clipwatch.config import WatchConfig
from clipwatch.folder.mounts import Unmounted
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules
from clipwatch.folder.scan import Absence, look
from clipwatch.mirror.plan import Unmet, Verdict, verdict_for
from clipwatch.records import FileStat


class Judged(NamedTuple):
    """What becomes of the point, and what lies at its path.

    *excluded*: the folder's rules no longer let the file in, whether it is there or not. *mount*: the mount point that
    the point waits for.
    """

    verdict: Verdict
    found: FileStat | Absence
    excluded: bool = False
    mount: bytes = b""


def judge(
    root: Root,
    rules: FileRules,
    watch: WatchConfig,
    paths: Sequence[bytes | None],
    *,
    unreadable: Collection[bytes],
    unmounted: Callable[[], Unmounted],
    rules_changed: bool = False,
) -> list[Judged]:
    """One more look at each of *paths*, None where the point names none.

    *unreadable*: directories the look could not read. *unmounted* is asked before and after: a disk may go meanwhile.
    *rules_changed*: since a scan last found nothing missing. Otherwise it is not the rules that exclude a file beyond
    `max_images` or behind a link: other files came before it, or somebody made the link.
    """
    before = unmounted()
    found = [Absence.GONE if path is None else _look(root, rules, watch, path) for path in paths]
    after = unmounted()
    judged = []
    for path, what in zip(paths, found, strict=True):
        one = _judge_one(rules, watch, path, what, unreadable, (before, after), rules_changed=rules_changed)
        behind_link = rules_changed and path is not None and _is_behind_link(root, rules, watch, path)
        judged.append(one._replace(excluded=True) if behind_link else one)
    return judged


def _look(root: Root, rules: FileRules, watch: WatchConfig, path: bytes) -> FileStat | Absence:
    return look(root, rules, path, follow_symlinks=watch.follow_symlinks)


def _judge_one(
    rules: FileRules,
    watch: WatchConfig,
    path: bytes | None,
    found: FileStat | Absence,
    unreadable: Collection[bytes],
    unmounted: Iterable[Unmounted],
    *,
    rules_changed: bool,
) -> Judged:
    if path is None:
        nothing = Unmet(None, admitted=False, absent=False, unreadable_above=False)
        return Judged(verdict_for(nothing), found)
    unreadable_above = is_below(path, unreadable)
    # A file that is there and was not met is beyond the limit, unless the look could not go where it is.
    beyond_limit = bool(watch.max_images) and isinstance(found, FileStat) and not unreadable_above
    mount = next((over for state in unmounted if (over := state.over(path)) is not None), None)
    unmet = Unmet(
        path,
        admitted=rules.admits(path) and not beyond_limit,
        absent=found in (Absence.GONE, Absence.DIRECTORY, Absence.NOT_REGULAR),
        unreadable_above=unreadable_above,
        unmounted_above=mount is not None,
    )
    excluded = not rules.admits(path) or (rules_changed and beyond_limit)
    return Judged(verdict_for(unmet), found, excluded, mount or b"")


def _is_behind_link(root: Root, rules: FileRules, watch: WatchConfig, path: bytes) -> bool:
    return not watch.follow_symlinks and isinstance(look(root, rules, path, follow_symlinks=True), FileStat)


def is_below(path: bytes, directories: Iterable[bytes]) -> bool:
    """Whether *path* is one of *directories*, or lies somewhere below one."""
    return any(directory == b"" or path == directory or path.startswith(directory + b"/") for directory in directories)
