"""What is there, and what could not be read."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipwatch.config import WatchConfig
from clipwatch.folder.ignored import BY_PATTERN, DIRECTORY, LINK, OTHER, add_types
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules
from clipwatch.folder.scan import CHUNK_ENTRIES, Absence, Listing, look, walk
from clipwatch.records import FileStat
from support.folders import opened_root

GO = threading.Event()


def listings(root: Root, *, follow: bool = False, below: bytes = b"", **settings: object) -> list[Listing]:
    rules = FileRules.from_config(WatchConfig(**settings))  # type: ignore[arg-type]
    return list(walk(root, rules, follow_symlinks=follow, below=below, stop=GO))


def paths(root: Root, *, follow: bool = False, below: bytes = b"", **settings: object) -> list[bytes]:
    found = listings(root, follow=follow, below=below, **settings)
    assert not [listing for listing in found if listing.unreadable]
    return sorted(path for listing in found for path, _ in listing.files)


def ignored(root: Root, **settings: object) -> dict[str, int]:
    total: dict[str, int] = {}
    for listing in listings(root, **settings):  # type: ignore[arg-type]
        add_types(total, listing.ignored)
    return total


def see(root: Root, path: bytes, *, follow: bool = False) -> FileStat | Absence:
    return look(root, FileRules.from_config(WatchConfig()), path, follow)


def test_every_image_is_listed_with_its_signature_under_its_true_bytes(tmp_path: Path) -> None:
    names = [b"a.jpg", b"sub/B.PNG", b"sub/deep/caf\xe9.jpg", b"new\nline.jpg", b"quo'\"te.jpeg"]
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    for name in names:
        descriptor = os.open(os.fsencode(tmp_path) + b"/" + name, os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, name)
        os.close(descriptor)
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.jpg").touch()
    root = opened_root(tmp_path)
    assert paths(root) == sorted(names)
    for listing in listings(root):
        for path, stat in listing.files:
            status = os.stat(os.fsencode(tmp_path) + b"/" + path)
            assert stat == FileStat(stat.signature, status.st_dev, status.st_ino)
            assert (stat.signature.size, stat.signature.mtime_ns, stat.signature.ctime_ns) == (
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
            )
            assert see(root, path) == stat
    assert ignored(root) == {"txt": 1, BY_PATTERN: 1}
    root.close()


def test_recursion_can_be_off(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.jpg").touch()
    (tmp_path / "sub" / "b.jpg").touch()
    root = opened_root(tmp_path)
    assert paths(root, recursive=False) == [b"a.jpg"]
    assert listings(root, recursive=False, below=b"sub") == []
    root.close()


def test_one_directory_can_be_listed_and_an_absent_one_lists_nothing(tmp_path: Path) -> None:
    for name in ("a/x/1.jpg", "ab/2.jpg", "3.jpg", ".h/4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    root = opened_root(tmp_path)
    for follow in (False, True):
        assert paths(root, below=b"a", follow=follow) == [b"a/x/1.jpg"]
        for absent in (b"none", b"none/deeper", b"3.jpg", b"3.jpg/x", b".h"):
            assert listings(root, below=absent, follow=follow) == []
    root.close()


def test_what_is_no_regular_file_is_told_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "dir.png").mkdir()
    (tmp_path / "dir.png" / "in.jpg").touch()
    os.mkfifo(tmp_path / "fifo.txt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))
    root = opened_root(tmp_path)
    found = listings(root)
    assert sorted(path for listing in found for path in listing.not_regular) == [b"fifo.jpg", b"socket.jpg"]
    assert paths(root) == [b"dir.png/in.jpg"]
    assert see(root, b"fifo.jpg") is Absence.NOT_REGULAR
    assert see(root, b"dir.png") is Absence.DIRECTORY
    root.close()


def test_a_directory_with_the_name_of_a_picture_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "album.jpg" / "empty.png").mkdir(parents=True)
    (tmp_path / "album.jpg" / "in.jpg").touch()
    root = opened_root(tmp_path)
    found = listings(root)
    assert [path for listing in found for path in listing.not_regular] == []
    assert paths(root) == [b"album.jpg/in.jpg"]
    assert ignored(root) == {}
    assert ignored(root, recursive=False) == {DIRECTORY: 1}
    root.close()


def test_what_is_passed_over_is_counted_by_type(tmp_path: Path) -> None:
    for name in ("a.MOV", "b.mov", "c.txt", "README", "d.20190101", "e.very-long-extension", ".hidden.jpg", "f.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "@eaDir" / "f.jpg").mkdir(parents=True)
    (tmp_path / "@eaDir" / "f.jpg" / "SYNOPHOTO_THUMB_M.jpg").touch()
    (tmp_path / "link.jpg").symlink_to("f.jpg")
    os.mkfifo(tmp_path / "fifo.txt")
    root = opened_root(tmp_path)
    assert ignored(root) == {"mov": 2, "txt": 2, OTHER: 3, BY_PATTERN: 2, LINK: 1}
    root.close()


def test_patterns_see_directories_and_files_apart(tmp_path: Path) -> None:
    for name in ("raw/a.jpg", "sub/raw/b.jpg", "sub/raw.jpg", "sub/deep/c.jpg", "c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    root = opened_root(tmp_path)
    assert paths(root, ignore=("raw/",)) == [b"c.jpg", b"sub/deep/c.jpg", b"sub/raw.jpg"]
    assert paths(root, ignore=("/raw",)) == [b"c.jpg", b"sub/deep/c.jpg", b"sub/raw.jpg", b"sub/raw/b.jpg"]
    assert paths(root, ignore=("sub/*.jpg",)) == [b"c.jpg", b"raw/a.jpg", b"sub/deep/c.jpg", b"sub/raw/b.jpg"]
    assert paths(root, ignore=("*.jpg", "!/c.jpg")) == [b"c.jpg"]
    assert paths(root, ignore=("raw/",), below=b"sub/raw") == []
    root.close()


def test_links_are_passed_over_and_counted(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    folder = tmp_path / "folder"
    for each in (outside, folder, folder / "real"):
        each.mkdir()
    (outside / "secret.jpg").touch()
    (folder / "real" / "a.jpg").touch()
    (folder / "file.jpg").symlink_to(outside / "secret.jpg")
    (folder / "dir").symlink_to(outside)
    (folder / "loop").symlink_to(".")
    root = opened_root(folder)
    assert paths(root) == [b"real/a.jpg"]
    assert ignored(root) == {LINK: 3}
    assert listings(root, below=b"dir") == []
    assert see(root, b"file.jpg") is Absence.GONE
    assert see(root, b"dir/secret.jpg") is Absence.GONE
    root.close()


def test_followed_links_show_each_real_directory_once_by_its_real_path(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    folder = tmp_path / "folder"
    for each in (outside / "sub", folder / "m"):
        each.mkdir(parents=True)
    (outside / "o.jpg").touch()
    (outside / "sub" / "s.jpg").touch()
    (outside / "back").symlink_to(folder)
    (folder / "m" / "a.jpg").touch()
    (folder / "file.jpg").symlink_to(outside / "o.jpg")
    (folder / "dangling.jpg").symlink_to("nowhere")
    (folder / "a-first").symlink_to("m")
    (folder / "y-out").symlink_to(outside)
    (folder / "z-out").symlink_to(outside)
    (folder / "loop").symlink_to(".")
    root = opened_root(folder)
    expected = [b"file.jpg", b"m/a.jpg", b"y-out/o.jpg", b"y-out/sub/s.jpg"]
    assert paths(root, follow=True) == expected
    assert paths(root, follow=True, below=b"y-out") == expected[2:]
    assert paths(root, follow=True, below=b"z-out") == []
    assert isinstance(see(root, b"file.jpg", follow=True), FileStat)
    assert see(root, b"dangling.jpg", follow=True) is Absence.GONE
    root.close()


def test_a_link_that_leads_to_itself_is_no_proof_of_absence_and_casts_no_doubt_on_others(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").symlink_to("x.jpg")
    (tmp_path / "y.jpg").touch()
    root = opened_root(tmp_path)
    [listing] = listings(root, follow=True)
    assert listing.unreadable == ""
    assert [path for path, _ in listing.files] == [b"y.jpg"]
    assert see(root, b"x.jpg", follow=True) is Absence.UNREADABLE
    root.close()


AS_NOBODY = """
import os, sys, threading
from support.folders import opened_root
from clipwatch.config import WatchConfig
from clipwatch.folder.rules import FileRules
from clipwatch.folder.scan import look, walk
os.setgid(65534); os.setuid(65534)
root, rules = opened_root(sys.argv[1]), FileRules.from_config(WatchConfig())
for below in (b"", b"closed", b"closed/in"):
    found = walk(root, rules, follow_symlinks=False, below=below, stop=threading.Event())
    for l in sorted(found, key=lambda l: l.directory):
        print(below, l.directory, [p for p, _ in l.files], l.unreadable)
print(look(root, rules, b"closed/c.jpg", False).value, look(root, rules, b"listed/d.jpg", False).value)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_an_unreadable_directory_is_told_and_hides_no_other(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "closed/c.jpg", "closed/in/e.jpg", "listed/d.jpg", "z/2.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "closed").chmod(0)
    (tmp_path / "listed").chmod(0o444)  # names can be read, files can't be examined
    common = Path(tempfile.gettempdir())
    for directory in (tmp_path, *(parent for parent in tmp_path.parents if common in parent.parents)):
        directory.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    answer = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert answer == [
        "b'' b'' [] ",
        "b'' b'a' [b'a/1.jpg'] ",
        "b'' b'closed' [] Permission denied",
        "b'' b'listed' [] 'd.jpg': Permission denied",
        "b'' b'z' [b'z/2.jpg'] ",
        "b'closed' b'closed' [] Permission denied",
        "b'closed/in' b'closed/in' [] Permission denied",
        "unreadable unreadable",
    ]


def test_a_path_too_long_for_the_kernel_is_told_not_lost(tmp_path: Path) -> None:
    """Directories nested past the 4,096 bytes of a path exist, but only relative ones reach them."""
    depth, name = 40, b"d" * 200
    held = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=held)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=held)
        os.close(held)
        held = below
        os.close(os.open(b"x.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=held))
    os.close(held)
    root = opened_root(tmp_path)
    found = listings(root)
    assert len([path for listing in found for path, _ in listing.files]) == 20
    assert [listing.unreadable for listing in found if listing.unreadable] == ["File name too long"]
    root.close()


def test_a_stopped_walk_is_not_a_complete_one(tmp_path: Path) -> None:
    for i in range(5):
        (tmp_path / f"d{i}").mkdir()
    stop = threading.Event()
    root = opened_root(tmp_path)
    walking = walk(root, FileRules.from_config(WatchConfig()), follow_symlinks=False, stop=stop)
    assert next(walking).unreadable == ""
    stop.set()
    assert [listing.unreadable for listing in walking] == ["the look was stopped"]
    root.close()


def test_what_vanishes_during_the_walk_is_no_trouble(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"d{i}").mkdir()
        (tmp_path / f"d{i}" / "a.jpg").touch()
    root = opened_root(tmp_path)
    walking = walk(root, FileRules.from_config(WatchConfig()), follow_symlinks=False, stop=GO)
    next(walking)
    for i in range(3):
        (tmp_path / f"d{i}" / "a.jpg").unlink()
        (tmp_path / f"d{i}").rmdir()
    (tmp_path / "d1").symlink_to("/")
    assert list(walking) == []
    root.close()


def test_a_replaced_root_goes_on_showing_the_one_that_is_open(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.jpg").touch()
    root = opened_root(folder)
    folder.rename(tmp_path / "old")
    folder.mkdir()
    assert paths(root) == [b"a.jpg"]
    root.close()


def test_two_walks_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    for i in range(200):
        (tmp_path / f"{i}.jpg").touch()
    root = opened_root(tmp_path)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(paths(root)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 4
    root.close()


def test_a_name_that_only_folds_to_the_true_one_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that folds case the old spelling still answers; two names of one inode stand in for it."""
    (tmp_path / "New").mkdir()
    (tmp_path / "New" / "IMG.jpg").touch()
    os.link(tmp_path / "New" / "IMG.jpg", tmp_path / "New" / "img.JPG")
    root = opened_root(tmp_path)
    assert isinstance(see(root, b"New/IMG.jpg"), FileStat)
    assert isinstance(see(root, b"New/img.JPG"), FileStat)
    real = os.listdir

    def folded(directory: int) -> list[str]:
        return [name for name in real(directory) if name != "img.JPG"]

    monkeypatch.setattr(os, "listdir", folded)
    assert isinstance(see(root, b"New/IMG.jpg"), FileStat)
    assert see(root, b"New/img.JPG") is Absence.GONE
    root.close()


def test_a_name_that_the_rules_exclude_is_not_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.part").touch()
    root = opened_root(tmp_path)
    assert see(root, b"a.part") is Absence.GONE
    assert see(root, b"none.jpg") is Absence.GONE
    assert see(root, b"none/deep.jpg") is Absence.GONE
    assert see(root, b"../" + os.fsencode(tmp_path.name) + b"/a.jpg") is not Absence.DIRECTORY
    root.close()


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """A folder in memory where there is one: making very many files on a disk takes longer than any test may."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.slow
def test_a_huge_directory_comes_in_parts_within_bounded_memory(memory_folder: Path) -> None:
    count = 200_000
    held = os.open(memory_folder, os.O_RDONLY | os.O_DIRECTORY)
    for i in range(count):
        os.mknod(b"%d.jpg" % i, dir_fd=held)
    os.close(held)
    root = opened_root(memory_folder)
    rules = FileRules.from_config(WatchConfig())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, seen, largest = time.perf_counter(), 0, 0
    for listing in walk(root, rules, follow_symlinks=False, stop=GO):
        seen += len(listing.files)
        largest = max(largest, len(listing.files))
    seconds = time.perf_counter() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{count} files in {seconds:.2f} s, {grown} KiB more")  # noqa: T201
    assert seen == count
    assert largest <= CHUNK_ENTRIES
    assert grown < 30_000
    root.close()
