"""`verify` and `sync --dry-run` say what a pass would find: no more, and no less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipwatch.config import Config, WatchConfig
from clipwatch.errors import RejectReason
from clipwatch.folder import opened, scan
from clipwatch.folder.beneath import open_beneath
from clipwatch.mirror.compare import load_ledger
from clipwatch.mirror.dry_run import plan_folder
from clipwatch.mirror.losses import Now, hold_seconds
from clipwatch.mirror.notebook import read_losses, read_mounts, read_rejections
from clipwatch.mirror.verify import verify
from clipwatch.records import Point, point_uuid, uuid_text
from clipwatch.store.contract import Refusal
from support.mirrors import FOLDER, Bench, fill, picture, put, shared_decoder, tiny_encoder


def watched(b: Bench) -> WatchConfig:
    return replace(b.watch, path=str(b.folder))


def noted(b: Bench) -> Any:
    return partial(read_rejections, b.state / "notebook.sqlite", limits="limits")


def mounts(b: Bench) -> Any:
    return partial(read_mounts, b.state / "notebook.sqlite")


def verified(b: Bench, *, deep: bool = False) -> dict[str, Any]:
    encoder = tiny_encoder()
    decoder = shared_decoder(encoder.preprocessing)
    decoder.known = lambda _: False
    return verify(
        [watched(b)],
        store=b.store,
        encoder=encoder,
        decoder=decoder,
        file_bytes=1_000_000,
        rejections=noted(b),
        mounts=mounts(b),
        deep=deep,
    )


def paths(result: Mapping[str, Any], kind: str) -> set[str]:
    return {entry["path"] for entry in result[kind]}


def reasons(result: Mapping[str, Any]) -> dict[str, str]:
    return {entry["path"]: entry["reason"] for entry in result["rejected"]}


def plan_of(b: Bench) -> tuple[list[dict[str, Any]], list[str]]:
    return plan_folder(
        watched(b),
        Config(limits=b.limits),
        store=b.store,
        ledgers={FOLDER: load_ledger(b.store, FOLDER, tiny_encoder().fingerprint)},
        rejections=noted(b),
        mounts=mounts(b),
        losses=lambda folder: read_losses(
            b.state / "notebook.sqlite",
            folder,
            kind="deletes",
            now=Now.of(b.clock),
            seconds=hold_seconds(b.limits),
        ),
        now=Now.of(b.clock),
    )


def planned(b: Bench) -> set[tuple[str, str, str]]:
    return {(action["action"], action["reason"], action["path"]) for action in plan_of(b)[0]}


def lock(monkeypatch: pytest.MonkeyPatch, where: bytes) -> None:
    """Root may read everything, so it is refused where things are opened: *where*, and below."""

    def refuse(root: int, path: bytes, flags: int, *, follow_symlinks: bool) -> int:
        if path == where or path.startswith(where + b"/"):
            raise PermissionError(13, "Permission denied")
        return open_beneath(root, path, flags, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(scan, "open_beneath", refuse)
    monkeypatch.setattr(opened, "open_beneath", refuse)


def test_an_unreadable_directory_is_never_exact_and_its_points_are_not_extra(
    b: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(b.folder, 2, below="locked/")
    fill(b.folder, 2, first=10)
    b.sync()
    assert verified(b)["exact"] is True
    lock(monkeypatch, b"locked")
    assert b.sync()["undone"]
    result = verified(b)
    assert result["exact"] is False
    assert result["undone"] == ["Directory locked of folder images could not be read: Permission denied."]
    assert not result["extra"]
    assert planned(b) == set()


def test_an_unreadable_directory_without_points_is_not_exact_either(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(b.folder, 2)
    b.sync()
    fill(b.folder, 1, first=5, below="locked/")
    lock(monkeypatch, b"locked")
    assert verified(b)["exact"] is False


def unread(number: int) -> str:
    return f"Images of folder images that could not be read, and whose points may be old: {number}."


def test_a_picture_that_can_no_longer_be_read_keeps_its_point_and_is_never_exact(
    b: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(b.folder, 3)
    b.sync()
    (b.folder / "00001.png").chmod(0)
    lock(monkeypatch, b"00001.png")
    result = b.sync()
    assert (result["undone"], result["rejected"]) == ([], 0)
    for deep in (False, True):
        result = verified(b, deep=deep)
        assert (result["exact"], result["stale"]) == (False, [])
        assert reasons(result) == {"00001.png": "unreadable"}
        assert result["undone"] == [unread(1)]
    assert planned(b) == set()
    monkeypatch.undo()
    assert verified(b)["exact"], "its content is still that of its point"
    assert planned(b) == set()


def test_what_looks_equal_and_cannot_be_read_is_not_exact_by_content(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(b.folder, 2)
    b.sync()
    lock(monkeypatch, b"00001.png")
    assert verified(b)["exact"] is True
    result = verified(b, deep=True)
    assert (result["exact"], result["stale"], result["undone"]) == (False, [], [unread(1)])


def test_a_new_picture_that_cannot_be_read_is_rejected_and_exact(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(b.folder, 2)
    lock(monkeypatch, b"00001.png")
    b.sync()
    result = verified(b)
    assert (result["exact"], result["undone"]) == (True, [])
    assert reasons(result) == {"00001.png": "unreadable"}


def test_a_file_whose_very_name_cannot_be_looked_up_keeps_its_point_and_is_never_exact(
    b: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    b.watch = replace(b.watch, follow_symlinks=True)
    fill(b.folder, 1)
    put(tmp_path / "elsewhere", "far.png", picture(7))
    (b.folder / "link.png").symlink_to(tmp_path / "elsewhere" / "far.png")
    b.sync()
    assert b.paths() == {b"00000.png", b"link.png"}
    (b.folder / "link.png").unlink()
    (b.folder / "link.png").symlink_to("link.png")  # A circle: what it leads to cannot be known.
    b.sync()
    assert b.paths() == {b"00000.png", b"link.png"}
    result = verified(b)
    assert (result["exact"], result["extra"], result["undone"]) == (False, [], [unread(1)])
    assert reasons(result) == {"link.png": "unreadable"}
    assert planned(b) == set()


def test_what_decoding_cannot_show_is_told_by_the_notebook(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(b.folder, 3)
    poison = uuid_text(point_uuid("images", b"00001.png"))
    upsert = b.store.upsert

    def refuse(points: list[Point]) -> tuple[Refusal, ...]:
        good = [point for point in points if point.id != poison]
        upsert(good)
        return tuple(Refusal(point, "poison") for point in points if point.id == poison)

    monkeypatch.setattr(b.store, "upsert", refuse)
    [sentence] = b.sync()["undone"]
    assert "00001.png" in sentence
    assert "poison" in sentence
    result = verified(b)
    assert result["exact"] is False, "the picture is good, and has no point"
    assert paths(result, "missing") == {"00001.png"}
    assert reasons(result) == {"00001.png": "store_refused"}
    (b.state / "notebook.sqlite").unlink()
    result = verified(b)
    assert (paths(result, "missing"), reasons(result)) == ({"00001.png"}, {})


def test_an_old_point_whose_successor_is_refused_is_stale_and_says_why(
    b: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(b.folder, 2)
    b.sync()
    put(b.folder, "00001.png", picture(50))
    monkeypatch.setattr(b.store, "upsert", lambda points: tuple(Refusal(point, "poison") for point in points))
    b.sync()
    result = verified(b)
    assert result["exact"] is False
    assert paths(result, "stale") == {"00001.png"}
    assert reasons(result) == {"00001.png": "store_refused"}


def test_a_picture_without_a_usable_vector_is_rejected_and_not_missing(b: Bench) -> None:
    class Blind:
        """Sees nothing in the first picture of each batch."""

        def encode(self, pixels: Any) -> Any:
            rows = tiny_encoder().encode(pixels).copy()
            rows[0] = np.nan
            return rows

        def __getattr__(self, name: str) -> Any:
            return getattr(tiny_encoder(), name)

    fill(b.folder, 3)
    b.encoder = Blind()
    b.sync()
    result = verified(b)
    assert result["exact"] is True
    assert set(reasons(result).values()) == {str(RejectReason.BAD_VECTOR)}
    assert planned(b) == set(), "a pass leaves it alone"


def test_a_known_bad_file_is_in_no_plan_until_it_changes(b: Bench) -> None:
    fill(b.folder, 1)
    put(b.folder, "bad.png", picture(5)[:60])
    assert planned(b) == {("embed", "new", "00000.png"), ("embed", "new", "bad.png")}
    b.sync()
    assert planned(b) == set()
    put(b.folder, "bad.png", picture(5)[:61])
    assert planned(b) == {("embed", "new", "bad.png")}


def test_a_point_of_what_is_known_to_be_bad_now_is_planned_to_go(b: Bench) -> None:
    fill(b.folder, 2)
    b.sync()
    point = next(item for item in b.store.points(vectors=True) if item.payload["path"] == "00001.png")
    put(b.folder, "00001.png", b"no picture")
    b.sync()
    assert point.vector is not None
    b.store.upsert([Point(point.id, point.vector, point.payload)])  # Somebody brings it back.
    assert planned(b) == {("delete", "changed", "00001.png")}
    b.sync()
    assert planned(b) == set()


def test_a_rename_is_told_by_content_and_is_no_loss(b: Bench) -> None:
    fill(b.folder, 60)
    b.sync()
    (b.folder / "away").mkdir()
    for seed in range(60):
        (b.folder / f"{seed:05d}.png").rename(b.folder / "away" / f"{seed:05d}.png")
    put(b.folder, "new.png", picture(99))
    plan, _ = plan_of(b)
    assert not [action for action in plan if "held" in action]
    assert [action["path"] for action in plan if action["action"] == "embed"] == ["new.png"]
    assert {action["reason"] for action in plan if action["action"] == "reuse"} == {"renamed"}
    assert len([action for action in plan if action["action"] == "delete" and action["reason"] == "renamed"]) == 60
    result = b.sync()
    assert (result["embedded"], result["reused"], result["deleted"], result["held"]) == (1, 60, 60, 0)


def test_a_new_file_as_large_as_a_gone_one_is_no_rename_by_that(b: Bench) -> None:
    put(b.folder, "a.png", picture(1) + bytes(10))
    put(b.folder, "b.png", picture(2))
    b.sync()
    (b.folder / "a.png").unlink()
    put(b.folder, "c.png", picture(1) + bytes(9) + b"x")
    assert planned(b) == {("delete", "gone", "a.png"), ("embed", "new", "c.png")}


def test_the_plan_of_an_emptied_folder_says_that_it_would_be_held(b: Bench) -> None:
    fill(b.folder, 2)
    b.sync()
    for file in b.folder.iterdir():
        file.unlink()
    plan, undone = plan_of(b)
    assert {action["held"] for action in plan} == {"everything_gone"}
    assert undone == []
