"""When losses wait: over restarts, in young folders, and where a live watch reported each delete."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.mirrors import HOUR, Bench, fill, picture, put


def mirrored(b: Bench, number: int) -> list[Path]:
    fill(b.folder, number)
    b.start()
    b.quiet()
    return sorted(b.folder.iterdir())


def delete(b: Bench, *files: Path) -> None:
    """As a person does it while the kernel watches."""
    for file in files:
        file.unlink()
        b.touch_removed(file.relative_to(b.folder))


def move(b: Bench, *files: Path) -> None:
    """Into a sub-folder, while the kernel watches."""
    (b.folder / "sub").mkdir(exist_ok=True)
    for file in files:
        file.rename(b.folder / "sub" / file.name)
        b.touch(f"sub/{file.name}")
        b.touch_removed(file.relative_to(b.folder))


@pytest.mark.parametrize("first", ["moves", "deletes"])
def test_moves_into_a_subfolder_and_a_few_deletes_under_a_live_watch_are_not_held(b: Bench, first: str) -> None:
    files = mirrored(b, 10)
    if first == "moves":
        move(b, *files[2:])
        b.now.step()
        delete(b, *files[:2])
    else:
        delete(b, *files[:2])
        b.now.step()
        move(b, *files[2:])
    b.quiet()
    assert b.told.events("deletes.held") == []
    assert b.inferences == 10
    b.assert_exact()


def test_moves_and_deletes_that_only_a_scan_finds_are_held_no_longer_than_the_renames_take(b: Bench) -> None:
    files = mirrored(b, 10)
    (b.folder / "sub").mkdir()
    for file in files[2:]:
        file.rename(b.folder / "sub" / file.name)
    files[0].unlink()
    files[1].unlink()
    b.look()
    assert b.told.events("deletes.held") == [], "a hold that a rename ends is not begun"
    b.assert_exact()


def test_all_files_deleted_one_by_one_under_a_live_watch_are_no_missing_disk(b: Bench) -> None:
    delete(b, *mirrored(b, 3))
    b.quiet()
    assert b.told.events("deletes.held") == []
    b.assert_exact()


def test_an_unusual_share_is_held_though_a_live_watch_reported_each_delete(b: Bench) -> None:
    delete(b, *mirrored(b, 60)[:55])
    b.quiet()
    assert b.one.deletes.held == 55


def test_the_kernel_reports_nothing_of_a_disk_that_goes_and_its_files_are_held(b: Bench) -> None:
    files = mirrored(b, 3)
    files[0].unlink()
    b.touch_removed(files[0].name)
    b.folder.rename(b.folder.with_name("away"))
    b.folder.mkdir()
    b.quiet()
    b.clock.jump(3)
    b.quiet()
    assert (b.one.deletes.held, b.now.counts.deleted) == (3, 0)


@pytest.mark.parametrize("seen", ["event", "scan", "restart", "death"])
def test_a_young_folder_whose_only_points_went_is_not_taken_for_another_disk(b: Bench, seen: str) -> None:
    """Two files have a point, 72 wait for one, and the two are deleted."""
    mirrored(b, 2)
    fill(b.folder, 72, first=2)
    files = sorted(b.folder.iterdir())
    b.touch(*(file.name for file in files[2:]))
    b.now.step()
    b.now.step()
    if seen in ("restart", "death"):
        b.stop() if seen == "restart" else b.die()
    for file in files[:2]:
        file.unlink()
        if seen == "event":
            b.touch(file.name)
    if seen == "scan":
        b.now.ask_looks("test")
    elif seen != "event":
        b.start()
    b.quiet()
    assert b.told.events("deletes.held") == []
    b.assert_exact()


@pytest.mark.parametrize(("restart", "names_from"), [(False, 1000), (True, 1000), (True, 2)])
def test_another_disk_in_the_place_of_a_young_folder_is_held(b: Bench, restart: bool, names_from: int) -> None:
    """Two files have a point and 40 wait for one; the other disk has as many files, some of the same names."""
    mirrored(b, 2)
    fill(b.folder, 40, first=2)
    b.touch(*(file.name for file in sorted(b.folder.iterdir())[2:]))
    b.now.step()
    b.now.step()
    if restart:
        b.die()
    b.folder.rename(b.folder.with_name("away"))
    for number in range(40):
        put(b.folder, f"{names_from + number:05d}.png", picture(5000 + number))
    if restart:
        b.start()
    b.look()
    b.clock.jump(3)
    b.quiet()
    assert b.now.counts.deleted == 0
    assert b.one.deletes.held >= 2


def test_sync_dry_run_says_of_each_delete_whether_it_would_be_held(b: Bench) -> None:
    """Before anything was held, while it is held, when the hold time is over, and after many small deletes."""
    from unit.mirror.test_verify_and_plan import plan_of

    def held() -> list[str]:
        return [action.get("held", "") for action in plan_of(b)[0] if action["action"] == "delete"]

    fill(b.folder, 110)
    b.sync()
    files = sorted(b.folder.iterdir())
    for file in files[:50]:
        file.unlink()
    assert held() == [""] * 50
    assert b.sync()["deleted"] == 50
    for file in files[50:61]:
        file.unlink()
    assert held() == ["unusual_share"] * 11, "with the 50 of just now"
    assert b.sync()["held"] == 11
    assert held() == ["unusual_share"] * 11
    b.clock.jump(2 * HOUR)
    assert held() == [""] * 11
    assert b.sync()["deleted"] == 11
    assert held() == []
