"""`sync --dry-run` says what `sync` then does: as many embedded, as many reused, as many deleted."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from clipwatch.config import Config
from clipwatch.mirror.compare import load_ledger
from clipwatch.mirror.dry_run import plan_folder
from clipwatch.mirror.losses import Now
from clipwatch.mirror.notebook import read_losses
from support.mirrors import FOLDER, HOUR, Bench, fill, padded_picture, picture, put, tiny_encoder
from unit.mirror.test_verify_and_plan import planned

GIF = b"GIF89a" + bytes(40)
WEBP = b"RIFF\0\0\0\0WEBPVP8 " + bytes(40)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
WITHOUT_A_POINT = {"b.webp": WEBP, "c.heic": HEIC, "d.gif": GIF, "d.png": GIF, "empty.png": b"", "text.jpg": b"words"}


def sync_as_planned(b: Bench) -> set[tuple[str, str, str]]:
    """The plan, after a pass that did what it says."""
    plan = planned(b)
    result = b.sync()
    actions = [action for action, _, _ in plan]
    assert (result["embedded"], result["reused"], result["deleted"]) == tuple(
        actions.count(action) for action in ("embed", "reuse", "delete")
    )
    assert planned(b) == set()
    return plan


def hard_links(b: Bench, below: str) -> None:
    """What `cp -al` does."""
    files = [file for file in b.folder.iterdir() if file.is_file()]
    (b.folder / below).mkdir()
    for file in files:
        os.link(file, b.folder / below / file.name)


def test_a_touched_file_is_not_announced_and_a_copy_is_reused(b: Bench) -> None:
    fill(b.folder, 3)
    b.sync()
    os.utime(b.folder / "00001.png")
    shutil.copy(b.folder / "00002.png", b.folder / "copy.png")
    assert sync_as_planned(b) == {("reuse", "new", "copy.png")}


def test_a_file_overwritten_by_a_copy_or_by_a_rename_is_reused(b: Bench) -> None:
    fill(b.folder, 4)
    b.sync()
    shutil.copy(b.folder / "00000.png", b.folder / "00001.png")
    (b.folder / "00002.png").rename(b.folder / "00003.png")
    assert sync_as_planned(b) == {
        ("reuse", "changed", "00001.png"),
        ("reuse", "renamed", "00003.png"),
        ("delete", "renamed", "00002.png"),
    }


def test_of_new_files_with_one_content_the_first_is_embedded(b: Bench) -> None:
    for name in ("a.png", "b.png", "c.png"):
        put(b.folder, name, padded_picture(1))
    put(b.folder, "d.png", padded_picture(2))  # As large, and another picture.
    assert sync_as_planned(b) == {
        ("embed", "new", "a.png"),
        ("reuse", "new", "b.png"),
        ("reuse", "new", "c.png"),
        ("embed", "new", "d.png"),
    }


def test_hard_links_of_pictures_are_reused_and_those_of_rejected_files_not_announced(b: Bench) -> None:
    b.watch = replace(b.watch, extensions=("png", "jpg", "gif", "webp", "heic"))
    fill(b.folder, 2)
    for name, data in WITHOUT_A_POINT.items():
        put(b.folder, name, data)
    put(b.folder, "cut.png", picture(9)[:60])
    b.sync()
    told = len(b.told.events("image.rejected"))
    hard_links(b, "snap")
    plan = planned(b)
    assert plan == {
        ("reuse", "new", "snap/00000.png"),
        ("reuse", "new", "snap/00001.png"),
        ("embed", "new", "snap/cut.png"),  # Its first bytes are those of a picture.
    }
    result = b.sync()
    assert (result["embedded"], result["reused"]) == (0, 2)
    paths = [event["path"] for event in b.told.events("image.rejected")[told:]]
    assert sorted(paths) == ["snap/cut.png", "snap/d.png", "snap/empty.png", "snap/text.jpg"], "the others are told"
    assert planned(b) == set()


def test_what_cannot_be_a_picture_is_not_announced(b: Bench) -> None:
    for name, data in WITHOUT_A_POINT.items():
        put(b.folder, name, data)
    os.mkfifo(b.folder / "pipe.png")
    (b.folder / "link.png").symlink_to("nowhere")
    put(b.folder, "good.png", picture(1))
    assert sync_as_planned(b) == {("embed", "new", "good.png")}


def test_a_picture_that_is_none_any_more_is_announced_to_lose_its_point(b: Bench) -> None:
    fill(b.folder, 3)
    b.sync()
    put(b.folder, "00001.png", b"")
    put(b.folder, "00002.png", GIF)
    assert sync_as_planned(b) == {("delete", "changed", "00001.png"), ("delete", "changed", "00002.png")}


@pytest.mark.parametrize("how", ["a link is made", "its rights change"])
def test_a_rejected_file_whose_ctime_alone_changed_is_not_told_again(b: Bench, how: str) -> None:
    put(b.folder, "cut.png", picture(9)[:60])
    b.sync()
    for _ in range(2):
        if how == "a link is made":
            os.link(b.folder / "cut.png", b.folder / "other.name")
            (b.folder / "other.name").unlink()
        (b.folder / "cut.png").chmod(0o600)
        assert planned(b) == set()
        assert b.sync()["rejected"] == 1
    assert len(b.told.events("image.rejected")) == 1


def test_a_rejected_file_with_other_content_of_its_size_and_time_is_told(b: Bench) -> None:
    put(b.folder, "a.png", picture(9)[:60])
    before = (b.folder / "a.png").stat()
    b.sync()
    put(b.folder, "a.png", bytes(60))
    os.utime(b.folder / "a.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    b.sync()
    assert [event["reason"] for event in b.told.events("image.rejected")] == ["truncated", "unsupported"]


def test_after_a_change_of_the_model_each_content_is_embedded_once(b: Bench) -> None:
    b.encoder = tiny_encoder(1)
    fill(b.folder, 2)
    shutil.copy(b.folder / "00000.png", b.folder / "copy.png")
    b.sync()
    b.encoder = tiny_encoder()
    assert sync_as_planned(b) == {
        ("embed", "model", "00000.png"),
        ("embed", "model", "00001.png"),
        ("reuse", "model", "copy.png"),
    }


def test_what_another_folder_has_is_reused(b: Bench, tmp_path: Path) -> None:
    fill(b.folder, 2)
    b.sync()
    model = tiny_encoder().fingerprint
    fill(tmp_path / "more", 3)
    other = replace(b.watch, name="more", path=str(tmp_path / "more"))
    plan, _ = plan_folder(
        other,
        Config(),
        store=b.store,
        ledgers={name: load_ledger(b.store, name, model) for name in (FOLDER, "more")},
        rejections=lambda _: {},
        losses=lambda folder: read_losses(b.state / "n", folder, kind="deletes", now=Now.of(b.clock), seconds=HOUR),
        mounts=lambda _: (),
        now=Now.of(b.clock),
    )
    assert {(item["action"], item["path"]) for item in plan} == {
        ("reuse", "00000.png"),
        ("reuse", "00001.png"),
        ("embed", "00002.png"),
    }
