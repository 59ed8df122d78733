"""What `ignore` patterns mean: the same as in a .gitignore, with git itself as the judge."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipwatch.errors import ConfigError
from clipwatch.folder.ignore import Ignore

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is the judge")

NAMES = st.sampled_from(["a", "b", "ab", "a.J", "b.J", "#a", "!b", "[a]", "*", "\\", "é", "\udce9", " ", "a\nb", "-"])
PARTS = st.one_of(
    st.sampled_from(["a", "b", "ab", "*.J", "a*", "*b", "*", "**", "***", "?", "[ab]", "[!a]", "[a-b]*", "a?b", "é"]),
    st.lists(
        st.sampled_from(["a", "b", ".J", "\udce9", " ", "*", "**", "?", "[^b]", "[]-]", "\\*", "\\[", "\\\\", "#"]),
        min_size=1,
        max_size=3,
    ).map("".join),
)
PATTERNS = st.builds(
    lambda sign, slash, parts, end: sign + slash + "/".join(parts) + end,
    st.sampled_from(["", "", "!", "!", "\\!", "#"]),
    st.sampled_from(["", "", "/"]),
    st.lists(PARTS, min_size=1, max_size=3),
    st.sampled_from(["", "", "/", " "]),
)
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=4), min_size=1, max_size=12)


def is_possible(pattern: str) -> bool:
    try:
        Ignore.of([pattern])
    except ConfigError:
        return False
    return True


def entries_of(paths: list[list[str]]) -> list[tuple[bytes, bool]]:
    """Every entry of the tree that *paths* span, directories first, with whether it is a directory."""
    everything = {os.fsencode("/".join(parts[:depth])) for parts in paths for depth in range(1, len(parts) + 1)}
    directories = {os.fsencode("/".join(parts[:depth])) for parts in paths for depth in range(1, len(parts))}
    return sorted((path, path in directories) for path in everything)


def ignored_by_git(folder: Path, patterns: list[str], paths: list[tuple[bytes, bool]]) -> set[bytes]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, is_directory in paths:
        place = os.fsencode(folder) + b"/" + path
        if is_directory:
            os.mkdir(place)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY))
    # in a file, a pattern that begins with # is a comment
    lines = [f"\\{pattern}" if pattern.startswith("#") else pattern for pattern in patterns]
    (folder.parent / "patterns").write_bytes(os.fsencode("\n".join(lines) + "\n"))
    command = [
        "git",
        "-c",
        f"core.excludesFile={folder.parent / 'patterns'}",
        "check-ignore",
        "--no-index",
        "-z",
        "--stdin",
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        input=b"".join(b"./" + path + b"\0" for path, _ in paths),
        stdout=subprocess.PIPE,
        env={**os.environ, "GIT_DIR": str(folder.parent / "repository"), "GIT_WORK_TREE": str(folder)},
        check=False,
    )
    assert done.returncode in (0, 1)
    return {path.removeprefix(b"./") for path in done.stdout.split(b"\0") if path}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("git")
    subprocess.run(["git", "init", "-q", "--bare", str(place / "repository")], check=True)
    subprocess.run(["git", "--git-dir", str(place / "repository"), "config", "core.bare", "false"], check=True)
    return place


def ignored_by_us(patterns: list[str], paths: list[tuple[bytes, bool]]) -> set[bytes]:
    ignore = Ignore.of(patterns)
    found = set()
    for path, is_directory in paths:
        above, _, name = path.rpartition(b"/")
        decide = ignore.ignores_directory if is_directory else ignore.ignores_file
        if ignore.hides(above) or decide(path, name):
            found.add(path)
    return found


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=PATHS, patterns=st.lists(PATTERNS.filter(is_possible), min_size=1, max_size=5))
def test_patterns_ignore_what_git_ignores(place: Path, tree: list[list[str]], patterns: list[str]) -> None:
    paths = entries_of(tree)
    assert ignored_by_us(patterns, paths) == ignored_by_git(place / "folder", patterns, paths)
