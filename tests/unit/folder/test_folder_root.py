"""The folder's own directory: told from what is put in its place, and owned by one."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipwatch.config import WatchConfig
from clipwatch.errors import FolderUnavailable, LockHeld
from clipwatch.folder.root import Root
from support.folders import opened_root, wait_until


def test_an_absent_folder_is_said_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(FolderUnavailable, match="does not exist") as raised:
        Root(WatchConfig(path=str(tmp_path / "none"))).open()
    assert "mount" in raised.value.hint


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderUnavailable, match="is not a folder"):
        Root(WatchConfig(path=str(tmp_path / "file"))).open()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_an_unreadable_folder_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(FolderUnavailable, match="may not be read"):
            Root(WatchConfig(path=str(folder))).open()
    finally:
        os.seteuid(0)


def test_without_its_marker_the_folder_counts_as_absent(tmp_path: Path) -> None:
    watch = WatchConfig(path=str(tmp_path), marker=".here")
    root = Root(watch)
    with pytest.raises(FolderUnavailable, match=r"lacks its marker \.here"):
        root.open()
    (tmp_path / ".here").touch()
    root.open()
    root.check()
    (tmp_path / ".here").unlink()
    with pytest.raises(FolderUnavailable, match="lacks its marker"):
        root.check()
    root.close()


def test_another_directory_at_the_same_path_is_another_folder(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    root = opened_root(folder)
    before, descriptor = root.identity, root.descriptor
    folder.rename(tmp_path / "moved")
    with pytest.raises(FolderUnavailable, match="does not exist"):
        root.check()
    folder.mkdir()
    (folder / "new.jpg").touch()
    with pytest.raises(FolderUnavailable, match="replaced"):
        root.check()
    root.open()
    root.check()
    assert root.identity != before
    assert root.descriptor == descriptor
    assert "new.jpg" in os.listdir(f"/proc/self/fd/{root.descriptor}")
    with pytest.raises(FolderUnavailable, match="replaced"):
        root.check(before)
    root.close()


def test_the_folder_may_be_named_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    root = opened_root(tmp_path / "link")
    assert root.identity[1] == (tmp_path / "real").stat().st_ino
    root.check()
    root.close()


def test_a_closed_root_says_so(tmp_path: Path) -> None:
    root = opened_root(tmp_path)
    root.close()
    root.close()
    with pytest.raises(FolderUnavailable, match="not open"):
        root.check()


def test_one_process_owns_a_folder_and_nothing_is_written_into_it(tmp_path: Path) -> None:
    first, second = opened_root(tmp_path), opened_root(tmp_path)
    first.lock()
    with pytest.raises(LockHeld, match="Another process"):
        second.lock()
    assert list(tmp_path.iterdir()) == []
    first.close()
    second.lock()
    second.close()


def test_a_child_inherits_no_lock(tmp_path: Path) -> None:
    root = opened_root(tmp_path)
    root.lock()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        root.close()
        other = opened_root(tmp_path)

        def is_free() -> bool:
            try:
                other.lock()
            except LockHeld:  # the child is just being made
                return False
            return True

        wait_until(is_free)
        assert child.poll() is None
        other.close()
        child.communicate(b"\n")


def test_the_lock_follows_the_folder_that_takes_the_place(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    root = opened_root(folder)
    root.lock()
    folder.rename(tmp_path / "old")
    folder.mkdir()
    root.open()
    new, old = opened_root(folder), opened_root(tmp_path / "old")
    with pytest.raises(LockHeld):
        new.lock()
    old.lock()
    for each in (root, new, old):
        each.close()


def test_where_directories_take_no_lock_a_file_named_after_the_identity_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, state = tmp_path / "images", tmp_path / "state"
    folder.mkdir()
    real = fcntl.flock

    def as_on_nfs(descriptor: int, operation: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", as_on_nfs)
    first, second = opened_root(folder), opened_root(folder)
    with pytest.raises(FolderUnavailable, match="without locks"):
        first.lock()
    first.lock(state)
    first.open()
    first.lock(state)
    with pytest.raises(LockHeld):
        second.lock(state)
    assert list(folder.iterdir()) == []
    first.close()
    second.lock(state)
    second.close()
