"""One owner for each folder name in a collection, whoever comes first and however many come at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipwatch.config import WatchConfig
from clipwatch.errors import OwnedElsewhere, StoreRejected
from clipwatch.store import owners as module
from clipwatch.store.owners import Owner, Owners
from clipwatch.store.qdrant import QdrantStore
from support.mirrors import bench, fill, run_until
from support.stores import Told, open_test_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[QdrantStore]:
    with open_test_store(tmp_path) as made:
        yield made


class Machine:
    """One that has a folder named `images`, and its own state directory."""

    def __init__(self, store: Any, home: Path, name: str, path: str = "/srv/images") -> None:
        self.name, self.path, self.told = name, path, Told()
        self.state = home / name
        self.state.mkdir(exist_ok=True)
        self.owners = Owners(
            store,
            state=self.state,
            watches=lambda: [WatchConfig(path=self.path)],
            now=lambda: 1000.0,
            logger=self.told,
            identify=self.identify,
        )

    def identify(self, watch: WatchConfig) -> Owner:
        return Owner(f"{self.name}{watch.path}".replace("/", "-"), self.name, watch.path)

    def claims(self) -> bool:
        try:
            self.owners.claim("images")
        except OwnedElsewhere:
            return False
        return True


def test_the_first_to_claim_owns_it_until_another_takes_it_over(store: QdrantStore, tmp_path: Path) -> None:
    nas, laptop = Machine(store, tmp_path, "nas"), Machine(store, tmp_path, "laptop", "/home/me/images")
    assert nas.claims()
    assert nas.claims()
    with pytest.raises(
        OwnedElsewhere, match=r"belong to /srv/images on nas; this is /home/me/images on laptop"
    ) as said:
        laptop.owners.claim("images")
    assert "clipwatch adopt images" in said.value.hint
    assert said.value.exit_status == 2
    with pytest.raises(OwnedElsewhere):
        laptop.owners.check("images")
    before = laptop.owners.adopt("images")
    assert str(before) == "/srv/images on nas"
    assert laptop.claims()
    assert not nas.claims()
    assert len(store.marks()) >= 1


def test_each_name_and_each_collection_has_its_own_owner(store: QdrantStore, tmp_path: Path) -> None:
    assert Machine(store, tmp_path, "nas").claims()
    with open_test_store(tmp_path) as other:
        assert Machine(other, tmp_path, "laptop").claims()


def test_a_lost_state_directory_needs_no_taking_over(store: QdrantStore, tmp_path: Path) -> None:
    nas = Machine(store, tmp_path, "nas")
    assert nas.claims()
    os.remove(nas.state / module.FILE)
    assert Machine(store, tmp_path, "nas").claims()


def test_a_folder_that_moved_on_its_machine_is_still_its_owners(
    store: QdrantStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "machine_id", lambda: "nas")
    nas = Machine(store, tmp_path, "nas")
    assert nas.claims()
    nas.path = "/mnt/images"
    nas.owners.check("images")
    assert nas.claims()
    assert not Machine(store, tmp_path, "nas2").claims()
    # A copied state directory makes no machine another's.
    monkeypatch.setattr(module, "machine_id", lambda: "another")
    nas.path = "/elsewhere"
    assert not nas.claims()


def test_a_copied_folder_with_its_state_directory_is_not_the_one_that_moved(
    store: QdrantStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cp -r` of configuration, pictures and state on one machine: the original is still where it was."""
    monkeypatch.setattr(module, "machine_id", lambda: "nas")
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    copy.mkdir()
    nas = Machine(store, tmp_path, "nas", str(original))
    assert nas.claims()
    nas.path = str(copy)
    with pytest.raises(OwnedElsewhere, match=rf"belong to {original} on nas; this is {copy} on nas"):
        nas.owners.check("images")
    assert not nas.claims()
    link = tmp_path / "link"
    link.symlink_to(original)
    nas.path = str(link)
    assert nas.claims(), "the same directory by another path"
    nas.path = str(copy)
    away = tmp_path / "away"
    original.rename(away)
    original.symlink_to(original)  # every stat of it fails, and not for want of a file
    nas.path = str(copy)
    assert not nas.claims(), "nothing tells that the original is gone"
    original.unlink()
    assert nas.claims(), "and now it has moved"


class Interrupted:
    """A store where another machine does something just before the request number *moment* is answered."""

    def __init__(self, store: QdrantStore, moment: int) -> None:
        self._store, self._moment, self.calls = store, moment, 0
        self.meanwhile: Any = None

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        if name not in ("marks", "mark"):
            return value

        def call(*arguments: Any, **more: Any) -> Any:
            self.calls += 1
            if self.calls == self._moment:
                self.meanwhile()
            return value(*arguments, **more)

        return call


@pytest.mark.parametrize("moment", range(1, 5))
def test_of_two_that_claim_at_the_same_moment_at_most_one_is_the_owner(
    store: QdrantStore, tmp_path: Path, moment: int
) -> None:
    between = Interrupted(store, moment)
    slow, quick = Machine(between, tmp_path, "slow"), Machine(store, tmp_path, "quick")
    won: list[bool] = []
    between.meanwhile = lambda: won.append(quick.claims())
    slow_won = slow.claims()
    quick_won = any(won)
    assert slow_won + quick_won <= 1
    # Whoever asks again is told the same, and somebody gets it.
    later = [machine for machine in (quick, slow) if machine.claims()]
    assert len(later) == 1
    assert not slow_won or later == [slow]
    assert not quick_won or later == [quick]


def test_a_name_that_is_forgotten_is_free_and_anothers_is_not_forgotten_by_mistake(
    store: QdrantStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "machine_id", lambda: "this one")
    nas, laptop = Machine(store, tmp_path, "nas"), Machine(store, tmp_path, "laptop")
    assert nas.claims()
    for machine in (nas, laptop):
        machine.owners._watches = list  # the table was removed
    nas.owners.check("images")
    with pytest.raises(OwnedElsewhere, match="belong to /srv/images on nas"):
        laptop.owners.check("images", "Forget them there.")
    nas.owners.release("images")
    assert Machine(store, tmp_path, "third").claims()


def test_a_key_that_may_not_change_aliases_is_said_once_and_stops_nothing(store: QdrantStore, tmp_path: Path) -> None:
    class Closed(Interrupted):
        def __getattr__(self, name: str) -> Any:
            if name == "mark":
                raise StoreRejected("Global manage access is required.")
            return super().__getattr__(name)

    nas = Machine(Closed(store, 0), tmp_path, "nas")
    assert nas.claims()
    assert nas.claims()
    assert len(nas.told.events("owner.unmarked")) == 1


def test_a_mirror_whose_points_are_taken_over_stops_and_goes_on_when_they_are_its_own_again(tmp_path: Path) -> None:
    with open_test_store(tmp_path, ensure=False) as store, bench(tmp_path / "nas", store=store) as nas:
        at_nas, laptop = Machine(store, tmp_path, "a"), Machine(store, tmp_path, "b")
        fill(nas.folder, 4)
        nas.claim = at_nas.owners.claim
        nas.start()
        nas.quiet()
        nas.assert_exact()
        laptop.owners.adopt("images")

        (nas.folder / "00000.png").unlink()
        nas.touch("00000.png")
        nas.quiet()
        assert nas.one.refused is not None
        assert nas.store.count() == 4
        nas.look()
        assert nas.store.count() == 4
        assert len(nas.told.events("folder.owned_elsewhere")) == 1

        at_nas.owners.adopt("images")
        nas.now.owner_changed("images")
        run_until(nas.now, nas.clock, lambda: nas.one.refused is None and nas.one.available)
        nas.look()
        nas.assert_exact()


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_hold_is_not_released_for_points_that_have_another_owner(tmp_path: Path, confirmed: bool) -> None:
    with open_test_store(tmp_path, ensure=False) as store, bench(tmp_path / "nas", store=store) as nas:
        at_nas, laptop = Machine(store, tmp_path, "a"), Machine(store, tmp_path, "b")
        fill(nas.folder, 4)
        nas.claim = at_nas.owners.claim
        nas.start()
        nas.quiet()
        for file in nas.folder.iterdir():
            file.unlink()
        nas.look()
        assert nas.one.deletes.held == 4
        laptop.owners.adopt("images")
        if confirmed:
            nas.now.confirm()
        else:
            nas.clock.jump(2 * 3600)
        nas.quiet()
        assert nas.one.refused is not None
        assert nas.store.count() == 4

        if confirmed:  # that was about points which were another's: whoever takes them back has said nothing yet
            at_nas.owners.adopt("images")
            nas.now.owner_changed("images")
            run_until(nas.now, nas.clock, lambda: nas.one.refused is None and nas.one.available)
            nas.quiet()
            assert nas.one.deletes.held == 4
            assert nas.store.count() == 4
