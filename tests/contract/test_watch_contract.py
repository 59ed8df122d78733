"""What every way of watching promises: each change is posted, or the whole folder is."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipwatch.config import WatchConfig
from clipwatch.folder.inbox import Dirty, Inbox
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules
from clipwatch.folder.scan import walk
from clipwatch.folder.watch import POLL_SECONDS, FolderWatch
from support.folders import HandClock, LogBook, opened_root, wait_until, watch_threads, write_image
from support.optional import needs


class Watched:
    """A folder, its watch, and all that was posted so far."""

    def __init__(self, folder: Path, backend: str, **settings: Any) -> None:
        if backend == "watchfiles":
            needs("watchfiles")
        self.folder = folder
        self.config = WatchConfig(path=str(folder), backend=backend, **settings)
        self.rules = FileRules.from_config(self.config)
        self.root = Root(self.config)
        self.root.open()
        self.inbox = Inbox()
        self.clock = HandClock()
        self.log = LogBook()
        self.watch = FolderWatch(self.root, self.rules, self.config, self.inbox, self.clock, self.log)
        self.seen: list[Dirty] = []
        self.may_look_everywhere = backend == "polling"
        self.watch.start()

    def path(self, name: bytes) -> bytes:
        return os.fsencode(self.folder) + b"/" + name

    def poll(self) -> None:
        """What the service does every few seconds."""
        if self.config.backend == "polling":
            self.clock.seconds += POLL_SECONDS
        self.watch.supervise()
        self.seen.append(self.inbox.drain())

    def told(self, name: bytes) -> bool:
        """Whether looking where it was said would find *name*, or that it is gone."""
        self.poll()
        return any(
            ("images" in dirty.everywhere and self.may_look_everywhere)
            or name in dirty.paths.get("images", ())
            or any(not tree or name.startswith(tree + b"/") for tree in dirty.trees.get("images", ()))
            for dirty in self.seen
        )

    def expect(self, *names: bytes) -> None:
        for name in names:
            wait_until(lambda name=name: self.told(name))  # type: ignore[misc]
        self.seen.clear()

    def close(self) -> None:
        self.watch.stop()
        self.root.close()


@pytest.fixture(params=["watchdog", "watchfiles", "polling"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def watched(tmp_path: Path, backend: str) -> Iterator[Watched]:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "old").mkdir()
    write_image(folder / "old" / "known.jpg", 1)
    before = watch_threads()
    it = Watched(folder, backend)
    yield it
    it.close()
    assert watch_threads() <= before


def test_a_new_file_is_told(watched: Watched) -> None:
    write_image(watched.folder / "a.jpg", 1)
    watched.expect(b"a.jpg")


def test_a_slowly_written_file_is_told_once_it_is_complete(watched: Watched) -> None:
    with (watched.folder / "slow.jpg").open("wb") as file:
        file.write(b"half")
        file.flush()
        watched.expect(b"slow.jpg")
        file.write(b"whole")
    watched.expect(b"slow.jpg")


def test_a_file_renamed_into_its_name_is_told(watched: Watched) -> None:
    (watched.folder / "b.jpg.part").write_bytes(b"x")
    (watched.folder / "b.jpg.part").rename(watched.folder / "b.jpg")
    watched.expect(b"b.jpg")


def test_an_overwritten_file_is_told(watched: Watched) -> None:
    (watched.folder / "old" / "known.jpg").write_bytes(b"new")
    watched.expect(b"old/known.jpg")


def test_both_names_of_a_renamed_file_are_told(watched: Watched) -> None:
    (watched.folder / "old" / "known.jpg").rename(watched.folder / "new.jpg")
    watched.expect(b"old/known.jpg", b"new.jpg")


def test_a_changed_case_is_a_rename(watched: Watched) -> None:
    (watched.folder / "old" / "known.jpg").rename(watched.folder / "old" / "Known.JPG")
    watched.expect(b"old/known.jpg", b"old/Known.JPG")


def test_a_deleted_file_is_told(watched: Watched) -> None:
    (watched.folder / "old" / "known.jpg").unlink()
    watched.expect(b"old/known.jpg")


def test_a_hard_link_is_told(watched: Watched) -> None:
    os.link(watched.folder / "old" / "known.jpg", watched.folder / "link.jpg")
    watched.expect(b"link.jpg")


def test_changed_permissions_and_times_are_told(watched: Watched) -> None:
    (watched.folder / "old" / "known.jpg").chmod(0o600)
    watched.expect(b"old/known.jpg")
    os.utime(watched.folder / "old" / "known.jpg", (1, 1))
    watched.expect(b"old/known.jpg")


@pytest.mark.parametrize("name", [b"new\nline.jpg", b"quo'\"te $(x).jpg", "ünïcödé.jpg".encode(), b"caf\xe9.jpg"])
def test_every_name_comes_as_its_true_bytes(watched: Watched, name: bytes, backend: str) -> None:
    if backend == "watchfiles" and name == b"caf\xe9.jpg":
        watched.may_look_everywhere = True  # it ends at such a name, and is replaced
    write_image(watched.path(name), 1)
    watched.expect(name)
    os.rename(watched.path(name), watched.path(b"old/" + name))
    watched.expect(name, b"old/" + name)
    write_image(watched.folder / "after.jpg", 2)
    watched.expect(b"after.jpg")
    assert watched.watch.state.healthy


def test_a_tree_made_at_once_is_told_whole_and_then_watched(watched: Watched) -> None:
    deep = watched.folder / "x" / "y" / "z"
    deep.mkdir(parents=True)
    write_image(deep / "a.jpg", 1)
    watched.expect(b"x/y/z/a.jpg")
    write_image(deep / "b.jpg", 2)
    watched.expect(b"x/y/z/b.jpg")


def test_a_tree_moved_in_is_told_and_then_watched(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "out" / "sub").mkdir(parents=True)
    write_image(tmp_path / "out" / "sub" / "a.jpg", 1)
    (tmp_path / "out").rename(watched.folder / "in")
    watched.expect(b"in/sub/a.jpg")
    write_image(watched.folder / "in" / "sub" / "b.jpg", 2)
    watched.expect(b"in/sub/b.jpg")


def test_a_tree_moved_out_is_told_and_no_longer_watched(watched: Watched, tmp_path: Path, backend: str) -> None:
    (watched.folder / "old").rename(tmp_path / "out")
    watched.expect(b"old/known.jpg")
    if backend == "watchdog":
        write_image(tmp_path / "out" / "later.jpg", 1)
        write_image(watched.folder / "last.jpg", 1)
        wait_until(lambda: watched.told(b"last.jpg"))
        assert not watched.told(b"old/later.jpg")


def test_both_names_of_a_renamed_tree_are_told_and_the_new_one_is_watched(watched: Watched) -> None:
    (watched.folder / "old" / "sub").mkdir()
    write_image(watched.folder / "old" / "sub" / "a.jpg", 1)
    watched.expect(b"old/sub/a.jpg")
    (watched.folder / "old").rename(watched.folder / "new")
    watched.expect(b"old/known.jpg", b"new/known.jpg", b"new/sub/a.jpg")
    write_image(watched.folder / "new" / "sub" / "b.jpg", 2)
    watched.expect(b"new/sub/b.jpg")


def test_a_directory_made_again_under_the_same_name_is_watched(watched: Watched) -> None:
    for seed in range(3):
        shutil.rmtree(watched.folder / "old")
        watched.expect(b"old/known.jpg")
        (watched.folder / "old").mkdir()
        write_image(watched.folder / "old" / "known.jpg", seed)
        watched.expect(b"old/known.jpg")


def test_a_directory_moved_onto_an_empty_one_is_watched(watched: Watched) -> None:
    (watched.folder / "empty").mkdir()
    watched.expect(b"empty/x.jpg")
    held = os.open(watched.folder / "empty", os.O_RDONLY | os.O_DIRECTORY)
    (watched.folder / "old").rename(watched.folder / "empty")
    watched.expect(b"old/known.jpg", b"empty/known.jpg")
    write_image(watched.folder / "empty" / "b.jpg", 2)
    watched.expect(b"empty/b.jpg")
    os.close(held)


def test_a_directory_swapped_with_another_is_watched(watched: Watched, tmp_path: Path) -> None:
    for _ in range(2):
        (watched.folder / "old").rename(tmp_path / "aside")
        (watched.folder / "old").mkdir()
        (tmp_path / "aside").rename(watched.folder / "old" / "in")
        shutil.move(watched.folder / "old" / "in", tmp_path / "aside")
        (watched.folder / "old").rmdir()
        (tmp_path / "aside").rename(watched.folder / "old")
    watched.expect(b"old/known.jpg")
    write_image(watched.folder / "old" / "b.jpg", 2)
    watched.expect(b"old/b.jpg")


def test_a_deleted_tree_is_told(watched: Watched) -> None:
    shutil.rmtree(watched.folder / "old")
    watched.expect(b"old/known.jpg")


def test_a_path_near_the_kernels_limit_is_told(watched: Watched) -> None:
    room = 4096 - len(watched.path(b"")) - 220
    names = [b"d" * 200] * (room // 201)
    os.makedirs(watched.path(b"/".join(names)))
    name = b"/".join([*names, b"n" * 200 + b".jpg"])
    write_image(watched.path(name), 1)
    watched.expect(name)


def test_ignored_names_are_not_told(watched: Watched, backend: str) -> None:
    (watched.folder / ".cache").mkdir()
    write_image(watched.folder / ".cache" / "a.jpg", 1)
    write_image(watched.folder / ".a.jpg", 1)
    (watched.folder / "notes.txt").write_text("x")
    write_image(watched.folder / "last.jpg", 1)
    wait_until(lambda: watched.told(b"last.jpg"))
    if backend != "polling":
        assert not watched.told(b".cache/a.jpg")
        assert not watched.told(b".a.jpg")
        assert {path for dirty in watched.seen for path in dirty.paths.get("images", ())} == {b"last.jpg"}


def test_events_obey_patterns_with_slashes(tmp_path: Path, backend: str) -> None:
    watched = Watched(tmp_path, backend, ignore=("raw/", "/sub/*.jpg", "!/sub/keep.jpg"))
    try:
        for name in ("raw", "sub", "sub/raw", "other"):
            (watched.folder / name).mkdir()
            write_image(watched.folder / name / "a.jpg", 1)
        write_image(watched.folder / "sub" / "keep.jpg", 1)
        wait_until(lambda: watched.told(b"other/a.jpg") and watched.told(b"sub/keep.jpg"))
        if backend != "polling":
            told = {path for dirty in watched.seen for path in dirty.paths.get("images", ())}
            trees = {path for dirty in watched.seen for path in dirty.trees.get("images", ())}
            assert told <= {b"other/a.jpg", b"sub/keep.jpg"}
            assert b"other" in trees
            assert trees <= {b"sub", b"other"}
    finally:
        watched.close()


def test_a_loop_of_links_does_no_harm(watched: Watched) -> None:
    (watched.folder / "loop").symlink_to(".")
    (watched.folder / "old" / "up").symlink_to("..")
    write_image(watched.folder / "old" / "a.jpg", 1)
    watched.expect(b"old/a.jpg")
    assert watched.watch.state.healthy


def test_nothing_is_told_where_nothing_happens(watched: Watched, backend: str) -> None:
    for _ in range(3):
        watched.poll()
    posted = [dirty for dirty in watched.seen if dirty]
    assert [dirty.everywhere for dirty in posted] == ([{"images": "poll"}] * 3 if backend == "polling" else [])
    assert watched.watch.state.healthy
    assert watched.watch.state.backend == backend


def test_a_folder_named_by_a_link_is_watched(tmp_path: Path, backend: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    watched = Watched(tmp_path / "link", backend)
    write_image(tmp_path / "real" / "a.jpg", 1)
    watched.expect(b"a.jpg")
    watched.close()


def test_without_recursion_only_the_folder_itself_is_told(tmp_path: Path, backend: str) -> None:
    (tmp_path / "sub").mkdir()
    watched = Watched(tmp_path, backend, recursive=False)
    write_image(tmp_path / "sub" / "a.jpg", 1)
    write_image(tmp_path / "b.jpg", 1)
    watched.expect(b"b.jpg")
    if backend != "polling":
        assert not watched.told(b"sub/a.jpg")
    watched.close()


def test_a_folder_that_another_takes_the_place_of_is_told_and_the_new_one_watched(
    watched: Watched, tmp_path: Path
) -> None:
    before = watched.root.identity
    watched.folder.rename(tmp_path / "away")
    watched.poll()
    assert watched.watch.state.backend == "none"
    assert "does not exist" in watched.watch.state.reason
    assert any("images" in dirty.everywhere for dirty in watched.seen)
    for _ in range(3):
        watched.poll()
    assert len(watched.log.reasons("events.lost")) <= 2
    watched.folder.mkdir()
    watched.seen.clear()
    watched.poll()
    assert watched.root.identity != before
    assert watched.watch.state.healthy
    assert watched.seen[0].everywhere
    watched.seen.clear()
    write_image(watched.folder / "new.jpg", 1)
    watched.expect(b"new.jpg")


def test_a_folder_that_comes_back_is_watched_again(watched: Watched, tmp_path: Path) -> None:
    before = watched.root.identity
    watched.folder.rename(tmp_path / "away")
    watched.poll()
    (tmp_path / "away").rename(watched.folder)
    watched.seen.clear()
    watched.poll()
    assert watched.root.identity == before
    assert watched.seen[0].everywhere
    assert watched.watch.state.healthy
    watched.seen.clear()
    write_image(watched.folder / "a.jpg", 1)
    watched.expect(b"a.jpg")


@pytest.mark.slow
def test_in_a_storm_of_changes_whatever_is_there_in_the_end_was_told(watched: Watched) -> None:
    for i in range(40):
        (watched.folder / f"d{i}" / "sub").mkdir(parents=True)
    for i in range(4_000):
        temporary = watched.folder / f"d{i % 40}" / f"{i}.tmp"
        temporary.write_bytes(b"x")
        temporary.rename(watched.folder / f"d{i % 40}" / "sub" / f"{i}.jpg")
        if i % 400 == 399:
            (watched.folder / f"d{i % 40}").rename(watched.folder / f"moved{i}")
            (watched.folder / f"d{i % 40}" / "sub").mkdir(parents=True)
    fresh = opened_root(watched.folder)
    files = {
        path
        for listing in walk(fresh, watched.rules, follow_symlinks=False, stop=threading.Event())
        for path, _ in listing.files
    }
    fresh.close()
    assert len(files) == 4_001
    files.discard(b"old/known.jpg")

    def all_told() -> bool:
        watched.poll()
        for dirty in watched.seen:
            if "images" in dirty.everywhere:
                files.clear()
            files.difference_update(dirty.paths.get("images", ()))
            for tree in dirty.trees.get("images", ()):
                files.difference_update([path for path in files if path.startswith(tree + b"/")])
        watched.seen.clear()
        return not files

    wait_until(all_told)
