"""The installed command on real files, without a daemon."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest
from PIL import Image

from clipwatch.model.bundle import read_bundle
from clipwatch.model.files import demonstration_folder
from support.commands import COMMAND, SAMPLES, Home
from support.terminal import on_a_terminal

IGNORED_KEYS = {"ignored", "ignored_by_type", "undecodable"}
SYNC_KEYS = {"images", "embedded", "reused", "unchanged", "deleted", "rejected", "held", "seconds", *IGNORED_KEYS}
VERIFY_KEYS = {"exact", "missing", "stale", "extra", "rejected", *IGNORED_KEYS}


@pytest.mark.slow
def test_a_folder_becomes_a_verified_collection_and_follows_its_changes(home: Home) -> None:
    home.add_samples()
    (home.images / "broken.jpg").write_bytes((SAMPLES / "cat.jpg").read_bytes()[:9000])
    (home.images / "notes.jpg").write_text("no picture at all")

    first = home.json("sync")
    assert first.keys() == SYNC_KEYS
    assert (first["images"], first["embedded"], first["rejected"]) == (14, 12, 2)

    verified = home.json("verify")
    assert verified.keys() == VERIFY_KEYS
    assert verified["rejected"][0].keys() == {"path", "folder", "reason"}
    assert verified["exact"] is True
    assert {(entry["path"], entry["reason"]) for entry in verified["rejected"]} == {
        ("broken.jpg", "truncated"),
        ("notes.jpg", "unsupported"),
    }
    assert home.json("verify", "--deep")["exact"] is True

    again = home.json("sync")
    assert (again["embedded"], again["reused"], again["unchanged"], again["rejected"]) == (0, 0, 12, 2)

    shutil.copy(home.images / "cat.jpg", home.images / "kitten.jpg")
    (home.images / "moon.png").rename(home.images / "luna.png")
    (home.images / "rocket.jpg").unlink()
    os.utime(home.images / "grass.jpg")
    shutil.copy(SAMPLES / "brick-wall.jpg", home.images / "gravel.jpg")
    different = home.json("verify", expect=1)
    assert different["missing"][0].keys() == {"path", "folder"}
    assert {entry["path"] for entry in different["missing"]} == {"kitten.jpg", "luna.png"}
    assert {entry["path"] for entry in different["stale"]} == {"grass.jpg", "gravel.jpg"}
    assert {entry["path"] for entry in different["extra"]} == {"moon.png", "rocket.jpg"}

    plan = home.json("sync", "--dry-run")["plan"]
    assert {(action["action"], action["reason"], action["path"]) for action in plan} == {
        ("reuse", "new", "kitten.jpg"),
        ("reuse", "renamed", "luna.png"),
        ("reuse", "changed", "gravel.jpg"),
        ("delete", "renamed", "moon.png"),
        ("delete", "gone", "rocket.jpg"),
    }
    changed = home.json("sync")
    assert (changed["embedded"], changed["reused"], changed["deleted"], changed["held"]) == (0, 3, 2, 0)
    assert home.json("verify")["exact"] is True


@pytest.mark.slow
def test_search_finds_the_picture_itself_first_then_its_like(home: Home) -> None:
    home.add_samples()
    bundle = read_bundle(demonstration_folder() / "bundle.json")
    assert bundle is not None
    drawing = next(answer for answer in bundle.known_answers if answer.text == "red apple")
    (home.images / "apple.jpg").write_bytes(drawing.image)
    shown = on_a_terminal(home, "sync")
    assert re.search(r"sync: .*\d+/\d+.*images", shown), "a bar on a terminal"
    assert "13 images: 13 embedded" in shown
    hits = home.json("search", "--image", "images/coffee.jpg", "--limit", "3")["hits"]
    assert hits[0]["path"] == "coffee.jpg"
    assert hits[0].keys() == {"path", "folder", "score", "id"}
    assert hits[0]["score"] > 0.999
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    filtered = home.json("search", "--image", "images/coffee.jpg", "--filter", "path=cat.jpg")["hits"]
    assert [hit["path"] for hit in filtered] == ["cat.jpg"]
    bad = home.run("search", "--image", "images/none.jpg", expect=2)
    assert "images/none.jpg" in bad.stderr
    assert home.run("search", expect=2).stderr.startswith("clipwatch: There is nothing to search for.")
    assert home.json("search", "a", "red", "apple", "--limit", "1")["hits"][0]["path"] == "apple.jpg"
    cancelled = home.run("search", "an apple", "--minus", "0.5:an apple", "--minus", "0.5:an apple", expect=2)
    assert "cancel each other out" in cancelled.stderr


@pytest.mark.slow
def test_export_gives_every_point_as_lines_or_as_arrays(home: Home) -> None:
    home.add_samples("cat.jpg", "moon.png")
    home.run("sync")
    lines = [json.loads(line) for line in home.run("export", "--vectors").stdout.splitlines()]
    assert {line["path"] for line in lines} == {"cat.jpg", "moon.png"}
    payload = lines[0]["payload"]
    assert payload.keys() >= {"path", "folder", "size", "mtime_ns", "ctime_ns", "content", "model"}
    assert payload.keys() >= {"width", "height", "format", "embedded_at"}
    assert abs(np.linalg.norm(lines[0]["vector"]) - 1) < 1e-5
    home.run("export", "--format", "npz", "--output", "out.npz")
    with np.load(home.path / "out.npz") as arrays:
        assert arrays["vector"].shape == (2, 512)
        assert set(arrays["path"]) == {"cat.jpg", "moon.png"}
    assert "vector" not in json.loads(home.run("export").stdout.splitlines()[0])
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [COMMAND, "export"], cwd=home.path, env=home.full_environment(), stdout=full, stderr=PIPE, timeout=60
        )
    assert (done.returncode, done.stderr) == (1, b"clipwatch: The answer cannot be written: No space left on device.\n")


@pytest.mark.slow
def test_max_images_takes_the_first_by_path(home: Home) -> None:
    home.add_samples()
    home.environment["CLIPWATCH_WATCH__MAX_IMAGES"] = "3"
    assert home.json("sync")["embedded"] == 3
    stored = {json.loads(line)["path"] for line in home.run("export").stdout.splitlines()}
    assert stored == {"astronaut.jpg", "brick-wall.jpg", "cat.jpg"}
    assert home.json("verify")["exact"] is True


@pytest.mark.slow
def test_forget_deletes_only_a_folder_that_is_watched_no_more(home: Home) -> None:
    home.add_samples("cat.jpg")
    home.run("sync")
    assert "kept" in home.run("forget", "images", expect=2).stderr
    home.environment["CLIPWATCH_WATCH__NAME"] = "other"
    assert home.json("forget", "images") == {"deleted": 1}
    assert home.run("forget", "images", expect=2).stderr.startswith("clipwatch: The collection has no points")


@pytest.mark.slow
def test_an_emptied_folder_is_held_and_confirm_carries_it_out(home: Home) -> None:
    home.add_samples("cat.jpg", "moon.png")
    home.run("sync")
    for file in home.images.iterdir():
        file.unlink()
    held = home.json("sync", expect=1)
    assert held.keys() == SYNC_KEYS
    assert (held["held"], held["deleted"]) == (2, 0)
    assert home.json("confirm") == {"deleted": 2}
    piped = home.run("sync")
    assert (piped.stdout[:9], "sync:" in piped.stderr) == ("0 images:", False)
    home.images.rmdir()
    left = home.run("confirm", expect=1)
    assert left.stdout == "0 points deleted.\n"
    sentence = left.stderr.splitlines()[-1]
    assert sentence.startswith("clipwatch: ")
    assert "images does not exist" in sentence


def test_an_absent_folder_is_one_sentence_and_status_one(home: Home) -> None:
    done = home.run("sync", expect=1)
    assert "images" in done.stderr


def test_check_names_what_is_wrong_and_the_cure(home: Home) -> None:
    answer = home.json("check", expect=1)
    assert answer["ok"] is False
    failed = {check["name"]: check for check in answer["checks"] if not check["ok"]}
    assert failed.keys() == {"folder images"}
    assert failed["folder images"]["hint"]
    home.images.mkdir()
    assert home.json("check")["ok"] is True


def test_config_init_writes_what_config_show_then_reads(home: Home) -> None:
    home.run("config", "init")
    assert home.run("config", "init", expect=2).stderr.endswith("Use --force to write over it.\n")
    home.environment["CLIPWATCH_STORE__API_KEY"] = "a secret"
    settings = {item["key"]: item for item in home.json("config", "show")["settings"]}
    assert settings["batch.size"] == {"key": "batch.size", "value": 25, "source": "config.toml"}
    assert settings["watch[0].settle_seconds"]["source"] == "CLIPWATCH_WATCH__SETTLE_SECONDS"
    assert settings["store.api_key"]["value"] == "********"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[store]\nurll = 'x'", "Did you mean `url`?"),
        ("[stor]\nurl = 'x'", "Did you mean `store`?"),
        ("[batch]\nsize = 'many'", "batch.size in"),
        ("[batch]\nsize = 0", "between 1 and 1000"),
        ("[store]\nurl = 'ftp://x'", "is no store address"),
        ("[store]\nurl = 'http://localhost:6333'", "name must be given"),
        ("[store]\nurl = 'https://me:secret@host:6333'", "store.url holds a user, a password or a query."),
        ("[[watch]]\npath='a'\nname='x'\n[[watch]]\npath='b'\nname='x'", "Give each folder its own name."),
        ("[log]\nlevel = 'inof'", "Did you mean 'info'?"),
        ("[model]\npath = 'nowhere.onnx'", "clipwatch model fetch"),
        ("[[watch]\n", "is not valid TOML"),
    ],
)
def test_a_wrong_setting_is_one_sentence_with_the_cure_and_status_two(home: Home, text: str, words: str) -> None:
    home.images.mkdir()
    (home.path / "config.toml").write_text(text)
    done = home.run("sync", expect=2)
    assert words in done.stderr
    assert done.stderr.startswith("clipwatch: ")
    assert len(done.stderr.splitlines()) == 1


def test_wrong_words_are_status_two(home: Home) -> None:
    assert "See `clipwatch --help`" in home.run("snyc", expect=2).stderr
    assert "There is no configuration file" in home.run("--config", "absent.toml", "sync", expect=2).stderr


def test_a_store_that_is_away_is_status_three_within_the_time_given(home: Home) -> None:
    home.add_samples("cat.jpg")
    home.environment |= {
        "CLIPWATCH_STORE__URL": "http://127.0.0.1:9",
        "CLIPWATCH_WATCH__NAME": "images",
        "CLIPWATCH_STORE__TIMEOUT_SECONDS": "1",
    }
    done = home.run("sync", expect=3)
    assert done.stderr.splitlines()[-1].startswith("clipwatch: ")


@pytest.mark.parametrize("content", [b"", b"not a model", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_broken_model_is_one_sentence_and_status_two(home: Home, content: bytes) -> None:
    home.images.mkdir()
    (home.path / "model.onnx").write_bytes(content)
    home.environment["CLIPWATCH_MODEL__PATH"] = "model.onnx"
    done = home.run("sync", expect=2)
    assert "model.onnx" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_and_version_are_there(home: Home) -> None:
    assert "sync" in home.run("--help").stdout
    assert home.run("--version").stdout.startswith("clipwatch ")


def test_nothing_is_ever_written_into_the_folder(home: Home) -> None:
    home.add_samples("cat.jpg")
    before = _state(home.images)
    home.run("sync")
    home.run("verify")
    assert _state(home.images) == before


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    return {file.name: (file.stat().st_mtime_ns, file.stat().st_ctime_ns) for file in [folder, *folder.iterdir()]}


@pytest.mark.slow
def test_another_background_embeds_anew_what_it_shows_through(home: Home) -> None:
    home.images.mkdir(exist_ok=True)
    Image.new("RGBA", (30, 30), (1, 2, 3, 100)).save(home.images / "alpha.png")
    home.run("sync")
    home.environment["CLIPWATCH_IMAGE__BACKGROUND"] = "black"
    assert home.json("sync")["embedded"] == 1
    assert home.json("verify", "--deep")["exact"]
