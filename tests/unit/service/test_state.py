"""The state directory: who may hold it, and what becomes of it when it is deleted or its disk is full."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from clipwatch.errors import ClipwatchError, ConfigError, LockHeld
from clipwatch.service.state import StateLock, keeper, make_state_directory, state_lock
from support.folders import LogBook


def failing(number: int) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def test_one_holds_it_and_the_other_is_told_by_whom(tmp_path: Path) -> None:
    state = tmp_path / "data" / "state"
    with state_lock(state):
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        with pytest.raises(LockHeld, match=rf"pid {os.getpid()}"):
            StateLock(state)
    with state_lock(state):
        pass


def test_a_deleted_one_is_made_and_held_again(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with state_lock(state) as lock:
        assert not lock.renew()
        shutil.rmtree(state)
        assert lock.renew()
        with pytest.raises(LockHeld):
            StateLock(state)
        assert not lock.renew()


def test_whoever_took_a_deleted_one_first_has_it_until_it_lets_go(tmp_path: Path) -> None:
    log = LogBook()
    with state_lock(tmp_path / "state") as lock:
        keep = keeper({"lock": lock.renew}, log)
        shutil.rmtree(tmp_path / "state")
        with state_lock(tmp_path / "state"):
            keep()
            keep()
        assert [event for _, event, _ in log.lines] == ["state.lost"]
        keep()
        keep()
    assert [event for _, event, _ in log.lines] == ["state.lost", "state.renewed"]
    assert log.lines[1][2] == {"what": ["lock"], "message": "Made again: lock."}


@pytest.mark.parametrize("call", ["mkdir", "open"])
@pytest.mark.parametrize(
    ("number", "status"), [(errno.ENOSPC, 1), (errno.EDQUOT, 1), (errno.EIO, 1), (errno.EROFS, 2), (errno.EACCES, 2)]
)
def test_what_time_heals_is_no_wrong_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, status: int
) -> None:
    monkeypatch.setattr(os, call, failing(number))
    with pytest.raises(ClipwatchError, match="cannot be used") as caught:
        StateLock(tmp_path / "state")
    assert caught.value.exit_status == status


def test_a_full_disk_has_no_room_for_the_pid_and_the_lock_is_held_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", failing(errno.ENOSPC))
    with state_lock(tmp_path), pytest.raises(LockHeld, match="pid unknown"):
        StateLock(tmp_path)


@pytest.mark.parametrize("exists", [True, False])
def test_root_makes_nothing_that_the_owner_could_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    state = tmp_path / "state"
    if exists:
        state.mkdir()
    if os.getuid() == 0:
        os.chown(state if exists else tmp_path, 54321, 54321)
        owner = "'#54321'"
    else:
        owner = pwd.getpwuid(os.getuid()).pw_name
        monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigError) as caught:
        make_state_directory(state)
    assert f"`sudo -u {owner}`" in caught.value.hint
    assert [file for file in tmp_path.rglob("*") if file != state] == []
    assert state.exists() == exists
