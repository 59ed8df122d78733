"""What the doctor finds, and with whose eyes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clipwatch import config_file
from clipwatch.cli import check, check_folders, check_service, checks
from clipwatch.cli.assemble import Context
from clipwatch.cli.check_folders import (
    Check,
    Inotify,
    Seen,
    clock_check,
    folder_checks,
    inotify_check,
    inotify_used,
    last_written,
    see,
    watching_checks,
)
from clipwatch.cli.check_service import Service, installed_service, owner_of
from clipwatch.cli.checks import run_checks, sandbox_check
from clipwatch.cli.handlers import while_starting
from clipwatch.cli.service import Program, instance_of, shipped
from clipwatch.config import Config, StoreConfig, WatchConfig
from clipwatch.errors import FolderUnavailable
from clipwatch.service.control import ControlServer
from support.pictures import small_jpeg
from support.stores import Told

NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
WALLS: dict[str, Any] = {"landlock_abi": 7, "seccomp_filters": 1, "memory_bytes": 2**30, "missing": ""}
LIMIT = Inotify(instances=128, watches=1000)
NONE = Inotify(0, 0)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Others may enter it, as they may not a `tmp_path`."""
    with tempfile.TemporaryDirectory(prefix="clipwatch-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def context_in(directory: Path, **environment: str) -> Context:
    settings = {
        "CLIPWATCH_WATCH__PATH": str(directory / "images"),
        "CLIPWATCH_STATE__PATH": str(directory / "state"),
        "CLIPWATCH_STORE__URL": f"embedded:{directory / 'store'}",
        "CLIPWATCH_WATCH__NAME": "images",
        "CLIPWATCH_MODEL__ENGINE": "onnxruntime",
        **environment,
    }
    return Context(config_file.load(None, settings), Told(), None, json=True)  # type: ignore[arg-type]


def failures(found: list[Check]) -> dict[str, Check]:
    return {item.name: item for item in found if not item.ok}


def test_walls_in_force_are_told_in_words() -> None:
    check = sandbox_check(WALLS, 20)
    assert (check.ok, check.hint) == (True, "")
    assert check.detail == "files: Landlock 7; sockets, fork, exec: seccomp; 1024 MB; 20 s"


def test_a_kernel_without_walls_is_a_warning_and_no_failure() -> None:
    check = sandbox_check({**WALLS, "landlock_abi": 0, "missing": "the kernel has no Landlock"}, 20)
    assert check.ok
    assert check.detail.startswith("files: open to a decoder that is taken over; sockets, fork, exec: seccomp")
    assert "the kernel has no Landlock" in check.hint


def test_a_daemon_that_is_still_starting_is_no_failure_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "state").mkdir(mode=0o700)
    with contextlib.closing(ControlServer(tmp_path / "state", while_starting(), Told())):
        found = run_checks(context_in(tmp_path))
    assert failures(found) == {}
    store = next(item for item in found if item.name == "store")
    assert store.detail == "the daemon is still starting"
    assert store.hint


def test_a_store_that_is_away_and_a_full_disk_are_found_and_the_rest_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=400_000_000))
    found = failures(run_checks(context_in(tmp_path, CLIPWATCH_STORE__URL="http://127.0.0.1:9")))
    assert found.keys() == {"store", "disk of state"}
    assert "cannot be reached" in found["store"].detail
    assert "0.4 GB free" in found["disk of state"].detail
    assert all(item.hint for item in found.values())


@pytest.mark.parametrize(
    ("needs", "used", "cure"),
    [
        (Inotify(1, 10), NONE, ""),
        (Inotify(2, 800), NONE, ""),
        (Inotify(2, 801), NONE, "sysctl -w fs.inotify.max_user_watches=524288"),
        (Inotify(1, 300), Inotify(3, 600), "sysctl -w fs.inotify.max_user_watches=524288"),
        (Inotify(2, 2), Inotify(126, 0), ""),
        (Inotify(3, 3), Inotify(126, 0), "sysctl -w fs.inotify.max_user_instances=512"),
        (Inotify(9, 2_000_000), Inotify(126, 0), "max_user_watches=4000000 fs.inotify.max_user_instances=512"),
    ],
)
def test_what_all_folders_need_together_is_held_against_what_is_left(needs: Inotify, used: Inotify, cure: str) -> None:
    check = inotify_check(needs, used=used, limit=LIMIT)
    assert (check.ok, cure in check.hint) == (not cure, True)
    assert check.ok == (not check.hint)


def test_a_kernel_that_tells_no_limits_is_believed() -> None:
    assert inotify_check(Inotify(50, 10**9), used=NONE, limit=NONE).ok


def test_what_this_user_has_of_inotify_is_counted(tmp_path: Path) -> None:
    for process, files in {"7": "ii", "8": "i.", "self": "i"}.items():
        for kind in ("fd", "fdinfo"):
            (tmp_path / process / kind).mkdir(parents=True)
        for number, kind in enumerate(files):
            link = "anon_inode:inotify" if kind == "i" else "/dev/null"
            (tmp_path / process / "fd" / str(number)).symlink_to(link)
            (tmp_path / process / "fdinfo" / str(number)).write_text("pos:\t0\n" + "inotify wd:1 ino:2\n" * 5)
    assert inotify_used(tmp_path) == Inotify(instances=3, watches=15)


def test_the_kernel_tells_it_as_it_is_read(tmp_path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    try:
        assert libc.inotify_add_watch(descriptor, os.fsencode(tmp_path), 0x100) > 0
        used = inotify_used()
    finally:
        os.close(descriptor)
    assert used.instances >= 1
    assert used.watches >= 1


def watched(**changes: Any) -> dict[str, Any]:
    return {"name": "a", "backend": "watchdog", "watch_reason": "", "healthy": True, **changes}


@pytest.mark.parametrize(
    ("found", "running", "wanted"),
    [
        (Seen(directories=5), [], [("inotify", True)]),
        (Seen(directories=5000), [], [("inotify", False)]),
        (Seen(directories=5000, silent="nfs4"), [], [("watching a", True)]),
        (Seen(directories=5000, trouble=FolderUnavailable("away")), [], []),
        (Seen(directories=5000), [watched()], [("watching a", True)]),
        (Seen(directories=5), [watched(backend="", watch_reason="")], [("inotify", True)]),
        (
            Seen(directories=5000),
            [watched(backend="polling", watch_reason="too many directories", healthy=False)],
            [("watching a", False), ("inotify", False)],
        ),
        (Seen(silent="nfs4"), [watched(backend="polling", watch_reason="nfs4")], [("watching a", True)]),
    ],
)
def test_a_daemon_tells_how_it_watches_and_without_one_the_limits_do(
    found: Seen, running: list[dict[str, Any]], wanted: list[tuple[str, bool]]
) -> None:
    answers = list(watching_checks([(WatchConfig(name="a"), found)], running, used=NONE, limit=LIMIT))
    assert [(answer.name, answer.ok) for answer in answers] == wanted
    assert all(answer.ok or answer.hint for answer in answers)


def test_the_folders_are_summed_and_polled_ones_left_out() -> None:
    some = [(WatchConfig(name=name), Seen(directories=450)) for name in "ab"]
    polled = (WatchConfig(name="c", backend="polling"), Seen(directories=450))
    (*_, last) = watching_checks([*some, polled], [], used=NONE, limit=LIMIT)
    assert not last.ok
    assert last.detail.startswith("900 directories in 2 folders")


NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "written", "ok"),
    [
        (NOW, {}, True),
        (NOW, {"state": NOW.timestamp() + 60}, True),
        (NOW, {"state": 0.0, "folder": NOW.timestamp() + 3600}, False),
        (NOW - timedelta(days=900), {}, False),
    ],
)
def test_a_clock_behind_what_was_written_already_is_wrong(now: datetime, written: dict[str, float], ok: bool) -> None:
    check = clock_check(now, written)
    assert (check.ok, bool(check.hint)) == (ok, not ok)
    assert ok or not written or "folder was changed at 2026-05-01T01:00:00" in check.detail


def test_a_moment_beyond_every_calendar_is_told_as_the_last_one() -> None:
    check = clock_check(NOW, {"folder": 9.2e18})
    assert not check.ok
    assert "9999-12-31" in check.detail


def test_what_was_written_last_is_told_by_the_kernels_time(tmp_path: Path) -> None:
    assert last_written(tmp_path) == 0.0
    assert last_written(tmp_path / "none") == 0.0
    (tmp_path / "a.jpg").touch()
    os.utime(tmp_path / "a.jpg", (4e9, 4e9))  # a picture may say what it likes
    assert abs(last_written(tmp_path) - datetime.now(UTC).timestamp()) < 60
    assert abs(see(WatchConfig(path=str(tmp_path))).newest_seconds - last_written(tmp_path)) < 1e-3


def test_images_and_directories_that_this_user_may_not_read_are_named(open_directory: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg", "open/d.jpg"):
        (open_directory / name).parent.mkdir(exist_ok=True)
        (open_directory / name).touch(0o644)
    (open_directory / "b.jpg").chmod(0)
    (open_directory / "open" / "d.jpg").chmod(0)
    watch = WatchConfig(path=str(open_directory))
    with somebody():
        (check,) = folder_checks(watch, see(watch))
    assert (check.ok, check.detail) == (False, "2 of 4 images may not be read: b.jpg, open/d.jpg")
    assert check.hint
    (open_directory / "open").chmod(0)
    with somebody():
        (check,) = folder_checks(watch, see(watch))
    assert (check.ok, check.detail) == (False, "cannot read open")
    (open_directory / "open").chmod(0o755)


def test_a_folder_without_a_picture_that_can_be_used_is_told_with_what_is_in_it(tmp_path: Path) -> None:
    for seed in range(3):
        (tmp_path / f"{seed}.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500))
        (tmp_path / f"{seed}.webp").write_bytes(b"RIFF\0\0\0\0WEBPVP8 ")
    watch = WatchConfig(path=str(tmp_path))
    (found,) = folder_checks(watch, see(watch))
    assert found.detail == (
        f"{tmp_path}: 0 images in 1 directories; 6 ignored: 3 heic, 3 webp (not in a format that can be decoded here)"
    )
    assert (found.ok, "Convert" in found.hint) == (True, True), "a warning, no failure"
    (tmp_path / "a.heic").write_bytes(small_jpeg())
    (found,) = folder_checks(watch, see(watch))
    assert "1 images" in found.detail, "what is in the file decides"
    (found,) = folder_checks(watch, see(WatchConfig(path=str(tmp_path), extensions=("tif",))))
    assert ("7 ignored: 4 heic, 3 webp" in found.detail, "watch.extensions" in found.hint) == (True, True)


def test_only_so_many_files_of_other_formats_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_folders, "OPENED", 2)
    for seed in range(5):
        (tmp_path / f"{seed}.gif").write_bytes(b"GIF89a")
    os.mkfifo(tmp_path / "fifo.gif")
    seen = see(WatchConfig(path=str(tmp_path)))
    assert (seen.undecodable, seen.images) == ({"gif": 2}, 4), "the fifo is an image by its name, as `sync` counts"


@contextlib.contextmanager
def somebody() -> Iterator[None]:
    """Not root, who may read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_the_installed_service_is_read_from_its_unit_and_drop_ins(tmp_path: Path) -> None:
    config = Path("/etc/clipwatch/config.toml")
    units = tmp_path
    (tmp_path / "clipwatch.service").write_text(shipped("clipwatch.service"))
    (tmp_path / "clipwatch@.service").write_text(instance_of(shipped("clipwatch.service")))
    (tmp_path / "clipwatch.service.d").mkdir()
    (tmp_path / "clipwatch.service.d" / "broken.conf").write_text('BindPaths="\n')
    assert installed_service(config, units) is None
    (tmp_path / "clipwatch.service.d" / "broken.conf").write_bytes(b"\xff")
    assert installed_service(config, units) is None
    (tmp_path / "clipwatch.service.d" / "broken.conf").unlink()
    (tmp_path / "clipwatch.service.d" / "more.conf").write_text(
        "[Service]\nSupplementaryGroups=photos\nLoadCredential=api_key:/etc/clipwatch/api_key\n"
        'BindReadOnlyPaths="-/home/me/my photos"\n'
    )
    service = installed_service(config, units)
    assert service is not None
    assert (service.user, service.groups, service.directory) == ("clipwatch", ("photos",), Path("/var/lib/clipwatch"))
    assert (service.hides_homes, service.credential) == (True, "/etc/clipwatch/api_key")
    assert service.does_not_see([Path("/home/me/my photos"), Path("/srv/photos"), Path("/home/you")]) == [
        Path("/home/you")
    ]
    instance = installed_service(Path("/etc/clipwatch/work.toml"), units)
    assert instance is not None
    assert instance.directory == Path("/var/lib/clipwatch/work")
    assert installed_service(Path("/somewhere/else.toml"), units) is None
    assert installed_service(None, units) is None
    assert installed_service(config, tmp_path / "none") is None


def test_a_hidden_folder_is_a_finding(tmp_path: Path) -> None:
    context = context_in(tmp_path, CLIPWATCH_WATCH__PATH="/home/you/images")
    service = Service("clipwatch", directory=Path("/var/lib/clipwatch"), hides_homes=True)
    (found,) = checks._hidden(service, context)
    assert (found.ok, "/home/you/images" in found.detail) == (False, True)
    assert "service install" in found.hint


@AS_ROOT
def test_root_looks_as_the_services_user_with_its_groups_and_its_key(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (open_directory / "api_key").write_text("s3cret\n")
    says = 'id -un; id -Gn; pwd; echo "$CLIPWATCH_STORE__API_KEY $*"; exit 7'
    monkeypatch.setattr(check_service, "this_program", lambda: Program(("/bin/sh", "-c", says, "sh"), (), False))
    service = Service("nobody", ("daemon",), open_directory, credential=str(open_directory / "api_key"))
    config = Config(store=StoreConfig(url="http://127.0.0.1:9"))
    assert check_service.run_as(service, ["check", "--json"], config) == 7
    name, groups, directory, last = capfd.readouterr().out.splitlines()
    assert (name, directory, last) == ("nobody", str(open_directory), "s3cret check --json")
    assert "daemon" in groups.split()


@AS_ROOT
def test_a_program_that_the_user_may_not_run_is_the_finding(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (open_directory / "state").mkdir()
    os.chown(open_directory / "state", NOBODY, NOBODY)
    assert owner_of(open_directory / "state") is not None
    assert owner_of(open_directory / "state" / "not" / "yet") is not None
    assert owner_of(open_directory) is None
    private = open_directory / "private"
    private.mkdir(mode=0o700)
    monkeypatch.setattr(check_service, "this_program", lambda: Program((str(private / "clipwatch"),), (), False))
    monkeypatch.chdir(open_directory)
    assert check.main(SimpleNamespace(), context_in(open_directory)) == 1  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert "nobody cannot run it" in said
    assert list((open_directory / "state").iterdir()) == []
