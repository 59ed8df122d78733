"""Watch trouble is normal: it is noticed, said once, and followed by a look at the whole folder."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipwatch.config import WatchConfig
from clipwatch.folder import by_watchdog, watch
from clipwatch.folder.backend import STALL_SECONDS, Backend, explain
from clipwatch.folder.by_watchdog import WatchdogBackend
from clipwatch.folder.inbox import Inbox
from clipwatch.folder.mounts import silent_file_system
from clipwatch.folder.root import Root
from clipwatch.folder.rules import FileRules
from clipwatch.folder.watch import POLL_SECONDS, FolderWatch, WatchState
from support.folders import HandClock, LogBook, opened_root, wait_until, watch_threads, write_image
from support.processes import open_descriptors
from support.small_disk import small_disk

SUPERVISED_EVERY = 5.0


class GatedInbox(Inbox):
    """An inbox whose handler side can be made to hang, or to break."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.breaks = False

    def post(self, folder: str, path: bytes, *, removed: bool = False) -> None:
        if self.breaks:
            self.breaks = False
            raise RuntimeError("a broken handler")
        self.gate.wait()
        super().post(folder, path, removed=removed)


class Bench:
    def __init__(self, folder: Path, **settings: str | bool) -> None:
        self.config = WatchConfig(path=str(folder), **settings)  # type: ignore[arg-type]
        self.root = Root(self.config)
        self.root.open()
        self.inbox = GatedInbox()
        self.clock = HandClock()
        self.log = LogBook()
        self.made: list[Backend] = []
        self.refusals: list[OSError] = []
        rules = FileRules.from_config(self.config)
        self.watch = FolderWatch(
            self.root, rules, self.config, self.inbox, self.clock, self.log, backends={"watchdog": self._make}
        )

    def _make(self, root: Root, rules: FileRules, inbox: Inbox) -> Backend:
        if self.refusals:
            raise explain(self.refusals.pop())
        self.made.append(WatchdogBackend(root, rules, inbox))
        return self.made[-1]

    def supervise(self, seconds: float = SUPERVISED_EVERY) -> None:
        self.clock.seconds += seconds
        self.watch.supervise()

    def reader(self) -> by_watchdog._Reader:
        backend = self.made[-1]
        assert isinstance(backend, WatchdogBackend)
        assert backend._reader is not None
        return backend._reader

    def expect(self, path: bytes) -> None:
        seen: set[bytes] = set()
        wait_until(lambda: seen.update(self.inbox.drain().paths.get("images", ())) or path in seen)  # type: ignore[func-returns-value]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.fixture
def bench(folder: Path) -> Iterator[Bench]:
    before = watch_threads()
    it = Bench(folder)
    yield it
    it.inbox.gate.set()
    it.watch.stop()
    it.root.close()
    wait_until(lambda: watch_threads() <= before)


def touch_many(folder: Path, count: int) -> None:
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for i in range(count):
        os.close(os.open(b"%d.jpg" % i, os.O_CREAT | os.O_WRONLY, dir_fd=held))
    os.close(held)


def test_an_overflow_of_the_kernels_queue_is_a_look_at_everything_and_a_new_watch(
    bench: Bench, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench.watch.start()
    bench.inbox.gate.clear()
    touch_many(folder, 20_000)
    bench.inbox.gate.set()
    wait_until(lambda: "images" in bench.inbox.drain().everywhere)
    bench.supervise()
    assert not caplog.records  # which would be plain text among our JSON lines
    assert bench.log.reasons("events.lost") == ["the kernel's event queue overflowed"]
    assert "images" in bench.inbox.drain().everywhere
    assert len(bench.made) == 2
    assert bench.watch.state == WatchState("watchdog", True, "")
    write_image(folder / "after.jpg", 1)
    bench.expect(b"after.jpg")


def test_a_handler_that_hangs_is_noticed_and_replaced(bench: Bench, folder: Path) -> None:
    bench.watch.start()
    bench.supervise()
    bench.inbox.gate.clear()
    write_image(folder / "a.jpg", 1)
    bench.supervise()
    for _ in range(int(STALL_SECONDS / SUPERVISED_EVERY) + 2):
        bench.supervise()
    assert bench.log.reasons("events.lost") == ["the thread that reads events is stuck"]
    assert "images" in bench.inbox.drain().everywhere
    bench.inbox.gate.set()
    write_image(folder / "after.jpg", 1)
    bench.expect(b"after.jpg")


def test_an_idle_watch_is_not_taken_for_a_stuck_one(bench: Bench) -> None:
    bench.watch.start()
    for _ in range(10):
        before = bench.reader().batches
        bench.supervise(STALL_SECONDS - 1)
        wait_until(lambda before=before: bench.reader().batches > before)  # type: ignore[misc]
    assert bench.log.reasons("events.lost") == []
    assert not bench.inbox.drain()


def test_a_handler_that_breaks_loses_no_later_change(bench: Bench, folder: Path) -> None:
    bench.watch.start()
    bench.inbox.breaks = True
    write_image(folder / "a.jpg", 1)
    wait_until(lambda: "images" in bench.inbox.drain().everywhere)
    bench.supervise()
    assert bench.log.reasons("events.lost") == ["reading events failed: a broken handler"]
    assert "images" in bench.inbox.drain().everywhere
    write_image(folder / "after.jpg", 1)
    bench.expect(b"after.jpg")


def test_a_dead_reading_thread_is_noticed_and_replaced(bench: Bench, folder: Path) -> None:
    bench.watch.start()
    bench.reader().stop()
    bench.reader().join()
    bench.supervise()
    assert bench.log.reasons("events.lost") == ["the thread that reads events ended"]
    assert "images" in bench.inbox.drain().everywhere
    write_image(folder / "after.jpg", 1)
    bench.expect(b"after.jpg")


@pytest.mark.parametrize(
    ("code", "setting"),
    [(errno.ENOSPC, "sysctl fs.inotify.max_user_watches="), (errno.EMFILE, "sysctl fs.inotify.max_user_instances=")],
)
def test_a_refused_watch_means_polling_said_once_with_the_setting_that_cures_it(
    bench: Bench, folder: Path, code: int, setting: str
) -> None:
    bench.refusals = [OSError(code, os.strerror(code)) for _ in range(2)]
    bench.watch.start()
    assert bench.watch.state.backend == "polling"
    assert not bench.watch.state.healthy
    assert setting in bench.watch.state.reason
    for _ in range(int(POLL_SECONDS / SUPERVISED_EVERY)):
        assert not bench.inbox.drain()
        bench.supervise()
    assert bench.inbox.drain().everywhere == {"images": "poll"}
    bench.supervise(700)  # refused once more
    bench.supervise(700)  # and at last granted
    assert bench.watch.state == WatchState("watchdog", True, "")
    assert len(bench.log.reasons("events.lost")) == 1
    assert "images" in bench.inbox.drain().everywhere
    write_image(folder / "after.jpg", 1)
    bench.expect(b"after.jpg")


def test_a_folder_that_would_take_most_watches_of_the_machine_is_polled(
    bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20):
        (folder / f"d{i}").mkdir()
    monkeypatch.setattr(by_watchdog, "limit_of", lambda _: 20)
    before = open_descriptors()
    bench.watch.start()
    assert bench.watch.state.backend == "polling"
    assert "max_user_watches" in bench.watch.state.reason
    wait_until(lambda: open_descriptors() == before)


def test_a_folder_that_grows_past_the_limit_is_polled_from_then_on(
    bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_watchdog, "limit_of", lambda _: 10)
    bench.watch.start()
    assert bench.watch.state.healthy
    for i in range(20):
        (folder / f"d{i}").mkdir()
    wait_until(lambda: "images" in bench.inbox.drain().everywhere)
    bench.supervise()
    assert bench.watch.state.backend == "polling"
    assert "images" in bench.inbox.drain().everywhere


def test_ignored_directories_take_no_watch(bench: Bench, folder: Path) -> None:
    for name in (".cache/deep/er", "kept/sub"):
        (folder / name).mkdir(parents=True)
    bench.watch.start()
    assert isinstance(bench.made[0], WatchdogBackend)
    assert bench.made[0].directories == 3


def test_a_link_to_a_directory_takes_no_watch_and_is_polled_where_links_are_followed(folder: Path) -> None:
    (folder / "out").symlink_to("/usr")
    bench = Bench(folder, follow_symlinks=True)
    bench.watch.start()
    assert isinstance(bench.made[0], WatchdogBackend)
    assert bench.made[0].directories == 1
    bench.supervise(POLL_SECONDS)
    assert bench.inbox.drain().everywhere == {"images": "poll"}
    write_image(folder / "a.jpg", 1)
    bench.expect(b"a.jpg")
    bench.watch.stop()
    bench.root.close()


def test_a_slow_look_slows_polling_down(folder: Path) -> None:
    bench = Bench(folder, backend="polling")
    bench.watch.start()
    bench.watch.note_look(3.0)
    bench.supervise(POLL_SECONDS)
    bench.inbox.drain()
    bench.supervise(59.0)
    assert not bench.inbox.drain()
    bench.supervise(1.0)
    assert bench.inbox.drain().everywhere == {"images": "poll"}
    bench.root.close()


def test_a_missing_marker_means_the_folder_is_away(tmp_path: Path, folder: Path) -> None:
    (folder / "here").touch()
    bench = Bench(folder, marker="here")
    bench.watch.start()
    (folder / "here").rename(tmp_path / "here")
    for _ in range(3):
        bench.supervise()
    assert bench.watch.state.backend == "none"
    assert "marker" in bench.watch.state.reason
    assert len(bench.log.reasons("events.lost")) == 1
    (tmp_path / "here").rename(folder / "here")
    bench.inbox.drain()
    bench.supervise()
    assert bench.watch.state.healthy
    assert "images" in bench.inbox.drain().everywhere
    bench.watch.stop()
    bench.root.close()


def test_the_old_folder_is_not_listened_to_once_another_took_its_place(tmp_path: Path, folder: Path) -> None:
    bench = Bench(folder)
    bench.watch.start()
    folder.rename(tmp_path / "old")
    folder.mkdir()
    bench.supervise()
    bench.inbox.drain()
    write_image(tmp_path / "old" / "a.jpg", 1)
    write_image(folder / "b.jpg", 1)
    bench.expect(b"b.jpg")
    assert not bench.inbox.drain()
    bench.watch.stop()
    bench.root.close()


def test_a_watch_can_be_stopped_twice_and_before_it_started(bench: Bench) -> None:
    bench.watch.stop()
    bench.watch.start()
    bench.watch.stop()
    bench.watch.stop()
    assert bench.watch.state.backend == "none"


def test_a_missing_extra_is_polling_with_the_cure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "clipwatch.folder.by_watchfiles", None)
    config = WatchConfig(path=str(folder), backend="watchfiles")
    root = opened_root(folder)
    it = FolderWatch(root, FileRules.from_config(config), config, Inbox(), HandClock(), LogBook())
    it.start()
    assert it.state.backend == "polling"
    assert "pip install" in it.state.reason
    it.stop()
    root.close()


def test_a_moved_files_new_name_is_posted_before_the_old_one(
    bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen in between, a rename is a copy, whose vector is reused; the other way round it would be a removal."""
    posted: list[bytes] = []
    monkeypatch.setattr(bench.inbox, "post", lambda _, path, **__: posted.append(path))
    monkeypatch.setattr(bench.inbox, "post_tree", lambda _, path: posted.append(path))
    (folder / "old").mkdir()
    write_image(folder / "a.jpg", 1)
    bench.watch.start()
    (folder / "a.jpg").rename(folder / "b.jpg")
    (folder / "old").rename(folder / "new")
    wait_until(lambda: len(posted) == 4)
    assert posted == [b"b.jpg", b"a.jpg", b"new", b"old"]


def test_a_file_system_mounted_over_what_is_watched_is_watched_too(bench: Bench, folder: Path) -> None:
    (folder / "disk").mkdir()
    bench.watch.start()
    bench.supervise()
    assert not bench.inbox.drain()
    with small_disk(folder / "disk", 1):
        bench.supervise()
        assert bench.inbox.drain().everywhere == {"images": "what is mounted in the folder changed"}
        write_image(folder / "disk" / "new.jpg", 1)
        bench.expect(b"disk/new.jpg")
    bench.supervise()
    assert "images" in bench.inbox.drain().everywhere
    write_image(folder / "disk" / "below.jpg", 1)
    bench.expect(b"disk/below.jpg")
    bench.supervise()
    assert not bench.inbox.drain().everywhere


MOUNTS = rb"""21 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda rw
%d 21 0:33 / /mnt/photo\040share rw,relatime shared:2 - %s server:/photos rw,vers=4.2
34 33 0:34 / /mnt/photo\040share/in rw - tmpfs tmpfs rw
35 33 0:35 / /mnt/other rw - fuse.sshfs me@host: rw
"""


@pytest.mark.parametrize(
    ("kind", "silent"),
    [
        *[(kind, True) for kind in ("nfs4", "cifs", "fuse.sshfs", "9p", "virtiofs", "drvfs")],
        *[(kind, False) for kind in ("ext4", "fuseblk", "overlay", "btrfs", "tmpfs")],
    ],
)
def test_the_mount_table_tells_which_file_systems_are_silent(tmp_path: Path, kind: str, silent: bool) -> None:
    root = opened_root(tmp_path)
    own = next(
        int(line.split()[1])
        for line in Path(f"/proc/self/fdinfo/{root.descriptor}").read_text().splitlines()
        if line.startswith("mnt_id:")
    )
    table = tmp_path / "mountinfo"
    table.write_bytes(MOUNTS % (own, kind.encode()))
    assert silent_file_system(root.descriptor, b"/somewhere", table) == (kind if silent else "")
    table.write_bytes(MOUNTS % (own + 1, kind.encode()))
    assert silent_file_system(root.descriptor, b"/somewhere", table) == ""
    assert silent_file_system(root.descriptor, b"/mnt/photo share", table) == ""
    assert silent_file_system(root.descriptor, b"/mnt", table) == (kind if silent else "fuse.sshfs")
    assert silent_file_system(root.descriptor, b"/mnt", tmp_path / "none") == ""
    root.close()


def test_a_silent_file_system_is_polled_by_itself_and_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "silent_file_system", lambda *_: "nfs4")
    bench = Bench(folder)
    bench.watch.start()
    assert bench.watch.state == WatchState("polling", True, "nfs4 does not tell of all changes")
    assert bench.log.reasons("watch.armed") == ["nfs4 does not tell of all changes"]
    bench.root.close()
