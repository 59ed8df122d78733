"""An opened file is a regular one below the folder, or a reason."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clipwatch.errors import FileNotReady, FileRejected, RejectReason
from clipwatch.folder import beneath
from clipwatch.folder.opened import open_file, restat
from clipwatch.folder.root import Root
from clipwatch.records import Candidate, FileStat, OpenedFile, Reason, Signature
from support.folders import opened_root


@pytest.fixture(params=["openat2", "by component"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by component":
        monkeypatch.setattr(beneath, "_has_openat2", lambda: False)
    elif not beneath._has_openat2():
        pytest.skip("this kernel has no openat2")


def opened(root: Root, path: bytes, *, follow: bool = False, max_bytes: int = 100) -> OpenedFile:
    candidate = Candidate("images", path, FileStat(Signature(0, 0, 0), 0, 0), Reason.NEW)
    return open_file(root, candidate, follow_symlinks=follow, max_bytes=max_bytes)


def refusal(root: Root, path: bytes) -> RejectReason:
    with pytest.raises(FileRejected) as raised:
        opened(root, path)
    return raised.value.reason


@pytest.fixture
def low_limit() -> Iterator[Callable[[], None]]:
    """Leaves this process not one descriptor more until the test is over."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    beneath._has_openat2()
    yield lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("each_way")
class TestBothWays:
    def test_the_stat_is_of_the_very_descriptor(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "a.jpg").write_bytes(b"picture")
        root = opened_root(tmp_path)
        file = opened(root, b"sub/a.jpg")
        assert os.read(file.descriptor, 100) == b"picture"
        assert file.candidate.stat == restat(file.descriptor)
        assert not os.get_inheritable(file.descriptor)
        (tmp_path / "sub" / "a.jpg").write_bytes(b"another")
        assert restat(file.descriptor).signature != file.candidate.stat.signature
        os.close(file.descriptor)
        root.close()

    def test_what_is_no_picture_file_is_rejected_with_its_reason(self, tmp_path: Path) -> None:
        (tmp_path / "empty.jpg").touch()
        (tmp_path / "large.jpg").write_bytes(b"x" * 101)
        os.mkfifo(tmp_path / "fifo.jpg")
        (tmp_path / "dir.jpg").mkdir()
        root = opened_root(tmp_path)
        before = len(os.listdir("/proc/self/fd"))
        assert refusal(root, b"empty.jpg") is RejectReason.EMPTY
        assert refusal(root, b"large.jpg") is RejectReason.TOO_LARGE
        assert refusal(root, b"fifo.jpg") is RejectReason.NOT_REGULAR
        assert refusal(root, b"dir.jpg") is RejectReason.NOT_REGULAR
        assert len(os.listdir("/proc/self/fd")) == before
        root.close()

    @pytest.mark.parametrize(
        "path", [b"none.jpg", b"none/a.jpg", b"file.jpg/a.jpg", b"link.jpg", b"dir/a.jpg", b"../a.jpg", b"/etc/passwd"]
    )
    def test_what_is_not_below_the_folder_waits_for_the_next_look(self, tmp_path: Path, path: bytes) -> None:
        folder = tmp_path / "folder"
        (folder / "real").mkdir(parents=True)
        (tmp_path / "a.jpg").write_bytes(b"outside")
        (folder / "real" / "a.jpg").write_bytes(b"inside")
        (folder / "file.jpg").write_bytes(b"inside")
        (folder / "link.jpg").symlink_to("file.jpg")
        (folder / "dir").symlink_to("real")
        root = opened_root(folder)
        with pytest.raises(FileNotReady):
            opened(root, path)
        root.close()


def test_followed_links_may_lead_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "a.jpg").write_bytes(b"outside")
    (folder / "link.jpg").symlink_to(tmp_path / "a.jpg")
    root = opened_root(folder)
    file = opened(root, b"link.jpg", follow=True)
    assert os.read(file.descriptor, 100) == b"outside"
    os.close(file.descriptor)
    root.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "a.jpg").chmod(0)
    root = opened_root(tmp_path)
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o755)
    os.seteuid(65534)
    try:
        assert refusal(root, b"a.jpg") is RejectReason.UNREADABLE
    finally:
        os.seteuid(0)
    root.close()


def test_running_out_of_descriptors_is_no_fault_of_the_file(tmp_path: Path, low_limit: Callable[[], None]) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    root = opened_root(tmp_path)
    low_limit()
    with pytest.raises(FileNotReady):
        opened(root, b"a.jpg")
    root.close()
