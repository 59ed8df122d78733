"""Who is whose owner: what tells two machines and folders apart, and how that is spelled in a mark."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipwatch import machine
from clipwatch.config import WatchConfig
from clipwatch.store import owners
from clipwatch.store.owners import Mark, Owner, Standing, first_of, judge, mark_name, owner_of, read_mark, scope_of

ID = "0123456789abcdef0123456789abcdef"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)


@given(TEXT, TEXT, TEXT, TEXT, st.integers(0, 2**33))
def test_a_mark_says_who_since_when_and_fits_any_server(
    collection: str, folder: str, host: str, path: str, since: int
) -> None:
    scope = scope_of(collection, folder)
    name = mark_name(scope, Owner("k" * 24, host, path), since)
    mark = read_mark(name, scope)
    assert mark is not None
    assert (mark.since, mark.owner.key) == (since, "k" * 24)
    assert host.endswith(mark.owner.host.removeprefix("..."))
    assert path.endswith(mark.owner.path.removeprefix("..."))
    assert len(name) <= 255
    assert name.isascii()
    assert not set(name) & set('<>:"/\\|?* ')
    assert read_mark(name, scope_of(collection, folder + "x")) is None


@pytest.mark.parametrize("name", ["images", "clipwatch-owner", "clipwatch-owner@s@x@k@h@p", "clipwatch-owner@s@1@k@h"])
def test_another_alias_is_no_mark(name: str) -> None:
    assert read_mark(name, "s") is None


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc")), max_size=5).flatmap(st.permutations))
def test_all_machines_see_the_same_owner_in_the_same_marks(pairs: list[tuple[int, str]]) -> None:
    marks = [Mark(since, Owner(key, "h", "p"), f"{since}{key}") for since, key in pairs]
    first = first_of(marks)
    standings = {key: judge(marks, key, "") for key in "abc"}
    if first is None:
        assert set(standings.values()) == {Standing.FREE}
    else:
        assert [key for key, standing in standings.items() if standing is Standing.OURS] == [first.owner.key]
        assert judge(marks, "another", first.owner.key) is Standing.MOVED


def _with_machine(monkeypatch: pytest.MonkeyPatch, identity: str, *, container: bool = False, birth: str = "") -> None:
    monkeypatch.setattr(owners, "machine_id", lambda: identity)
    monkeypatch.setattr(owners, "is_container", lambda: container)
    monkeypatch.setattr(owners, "directory_id", lambda _path: birth)


def test_an_owner_is_a_machine_and_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = WatchConfig(path=str(tmp_path / "a")), WatchConfig(path=str(tmp_path / "b"))
    _with_machine(monkeypatch, "one", birth="inode 7")
    one = owner_of(here)
    assert owner_of(here) == one
    assert owner_of(WatchConfig(path=f"{tmp_path}/b/../a")).key == one.key
    assert owner_of(there).key != one.key
    _with_machine(monkeypatch, "one", birth="made anew")
    assert owner_of(here).key == one.key
    _with_machine(monkeypatch, "two", birth="inode 7")
    assert owner_of(here).key != one.key


def test_in_a_container_the_directory_comes_before_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = WatchConfig(path="/images")
    keys = []
    for identity, birth in (("of the image", "7"), ("made at this start", "7"), ("of the image", "8")):
        _with_machine(monkeypatch, identity, container=True, birth=birth)
        keys.append(owner_of(watch).key)
    assert keys[0] == keys[1] != keys[2]


def test_one_owner_setting_is_one_owner_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for identity in ("one", "two"):
        _with_machine(monkeypatch, identity)
        keys |= {owner_of(WatchConfig(path=f"/mnt/{identity}", owner="nas")).key}
    assert len(keys) == 1


def test_the_machines_id_is_never_given_away_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "machine-id").write_text(f"{ID}\n")
    told = machine.machine_id(tmp_path)
    assert len(told) == 32
    assert told == machine.machine_id(tmp_path)
    assert told not in (ID, hashlib.sha256(ID.encode()).hexdigest()[:32])


@pytest.mark.parametrize("content", [b"", b"uninitialized\n", b"\xff\xfe", ID[:-1].encode()])
def test_a_machine_without_a_usable_id_has_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "machine-id").write_bytes(content)
    assert machine.machine_id(tmp_path) == ""
    (tmp_path / "var/lib/dbus").mkdir(parents=True)
    (tmp_path / "var/lib/dbus/machine-id").write_text(ID)
    assert machine.machine_id(tmp_path) != ""


def test_a_container_is_told_by_what_its_runtime_leaves(tmp_path: Path) -> None:
    assert not machine.is_container(tmp_path, {})
    assert machine.is_container(tmp_path, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    (tmp_path / ".dockerenv").touch()
    assert machine.is_container(tmp_path, {})


def test_a_directory_is_known_again_and_told_from_another(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    told = machine.directory_id(str(first))
    if not told:
        pytest.skip("this file system tells no birth")
    (first / "file").touch()
    assert machine.directory_id(str(first)) == told != machine.directory_id(str(second))
    assert machine.directory_id(str(tmp_path / "none")) == ""
