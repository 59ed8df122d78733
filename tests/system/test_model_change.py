"""Another model: in place where it is as wide, else beside the old collection; never two in one answer.

Commands take seconds on a busy machine, so each test asks few questions.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from typing import Any

import pytest

from clipwatch.model.bundle import Bundle, TextFacts, file_sha256, write_bundle
from support import onnx_models
from support.commands import COMMAND, Home
from support.folders import wait_until, write_image

pytestmark = pytest.mark.slow

IMAGES = 16
QUESTION = "images/00.png"
WAIT_SECONDS = 3.0
"""Settle time where a test looks at a change before it begins to be carried out."""


class Album:
    """Sixteen pictures, and models that are only names here."""

    def __init__(self, home: Home) -> None:
        self.home = home
        home.images.mkdir()
        for seed in range(IMAGES):
            write_image(home.images / f"{seed:02d}.png", seed)
        home.environment["CLIPWATCH_BATCH__SIZE"] = "1"

    def make(self, name: str, *, width: int, seed: int) -> None:
        folder = self.home.path / name
        onnx_models.save(onnx_models.vision_tower(width=width, seed=seed), folder / "clip_vision.onnx")
        onnx_models.save(onnx_models.text_tower(width=width, seed=seed), folder / "clip_text.onnx")
        onnx_models.tokenizer(folder / "tokenizer.json")

    def use(self, name: str) -> None:
        self.home.environment["CLIPWATCH_MODEL__PATH"] = name

    def sync(self, *options: str) -> dict[str, Any]:
        result: dict[str, Any] = self.home.json("sync", *options)
        return result

    def scores(self, *, expect: int = 0) -> dict[str, Any]:
        """One answer, every image that is in it with its score."""
        answer: dict[str, Any] = self.home.json("search", "--image", QUESTION, "--limit", "100", expect=expect)
        return answer

    def models(self) -> set[str]:
        """Of all points that are shown."""
        return {json.loads(line)["payload"]["model"] for line in self.home.run("export").stdout.splitlines()}

    def collections(self) -> list[str]:
        """Directories of the embedded store."""
        return sorted(place.name for place in (self.home.path / "data/store/collections").iterdir())

    def kill_sync(self, *options: str) -> None:
        """`sync`, killed after its second batch."""
        told, command = self.home.full_environment(), [COMMAND, "--log-level", "info", "sync", *options]
        with (self.home.path / "killed.log").open("w+") as log:
            process = subprocess.Popen(command, cwd=self.home.path, env=told, stderr=log)
            path = self.home.path / "killed.log"
            wait_until(lambda: path.read_text().count("batch.verified") >= 2, 60, every=0.002)
            process.send_signal(signal.SIGKILL)
            process.wait(30)


@pytest.fixture
def album(home: Home) -> Album:
    made = Album(home)
    made.make("first", width=8, seed=0)
    made.make("equal", width=8, seed=1)
    made.make("wider", width=12, seed=2)
    made.use("first")
    return made


def as_scores(answer: dict[str, Any]) -> dict[str, float]:
    return {hit["path"]: hit["score"] for hit in answer["hits"]}


def assert_within(answer: dict[str, Any], whole: dict[str, float]) -> None:
    """Every hit has the score that one model gives it."""
    for path, score in as_scores(answer).items():
        assert score == pytest.approx(whole[path], abs=1e-4), path


def test_an_equally_wide_model_embeds_in_place_and_answers_from_what_is_done(album: Album) -> None:
    album.sync()
    old = as_scores(album.scores())
    assert len(old) == IMAGES
    album.use("equal")
    answers = []
    album.home.environment["CLIPWATCH_WATCH__SETTLE_SECONDS"] = str(WAIT_SECONDS)
    with album.home.daemon() as daemon:
        answers.append(album.scores())
        assert answers[0]["partial"] == {"done": 0, "of": IMAGES}
        assert answers[0]["hits"] == []
        said = album.home.run("search", "--image", QUESTION).stderr
        assert f"0 of {IMAGES} images are searched so far" in said

        def whole() -> bool:
            answers.append(album.scores())
            return "partial" not in answers[-1]

        wait_until(whole, 60)
        assert album.home.wait_exact()["points"] == IMAGES
        assert album.home.json("verify")["exact"] is True
        new = as_scores(album.scores())
        assert len(new) == IMAGES
        assert max(abs(new[path] - old[path]) for path in new) > 0.01
        for answer in answers:
            assert_within(answer, new)
            if "partial" in answer:
                # Counted a moment after the search: more may be done by then.
                assert len(answer["hits"]) <= answer["partial"]["done"]
        assert len(album.models()) == 1
        assert not daemon.events("collection.switched")


def test_a_killed_change_goes_on_where_it_was(album: Album) -> None:
    album.sync()
    album.use("equal")
    album.kill_sync()
    answer = album.scores()
    partial = answer["partial"]
    assert 2 <= partial["done"] < IMAGES
    assert len(answer["hits"]) == partial["done"]
    assert album.sync()["embedded"] == IMAGES - partial["done"]
    assert album.home.json("verify", "--deep")["exact"] is True


def test_another_width_is_built_beside_while_the_old_one_answers(album: Album) -> None:
    album.sync()
    old = as_scores(album.scores())
    album.use("wider")
    album.home.environment["CLIPWATCH_WATCH__SETTLE_SECONDS"] = str(WAIT_SECONDS)
    with album.home.daemon() as daemon:
        daemon.wait_for("rebuild.started")
        before = album.scores()
        assert before["partial"] == {"done": 0, "of": IMAGES, "old": True}
        assert as_scores(before) == pytest.approx(old, abs=1e-4)
        words = album.home.run("search", "a", "red", "car")
        assert f"built anew, 0 of {IMAGES} images so far" in words.stderr
        assert len(words.stdout.splitlines()) == 10
        rebuild = album.home.json("status")["rebuild"]
        assert (rebuild["done"], rebuild["of"], rebuild["held"]) == (0, IMAGES, "")
        answers = [before]

        def whole() -> bool:
            answers.append(album.scores())
            return "partial" not in answers[-1]

        wait_until(whole, 60)
        daemon.wait_for("collection.switched")
        new = as_scores(album.scores())
        assert len(new) == IMAGES
        for answer in answers:
            assert len(answer["hits"]) == IMAGES
            assert_within(answer, old if "partial" in answer else new)
        assert "rebuild" not in album.home.json("status")
        assert album.home.json("verify")["exact"] is True
        assert daemon.stop() == 0
    assert len(album.collections()) == 1


def test_everything_works_through_the_alias(album: Album) -> None:
    album.sync()
    album.use("wider")
    album.sync()
    (album.home.images / "00.png").rename(album.home.images / "renamed.png")
    again = album.sync()
    assert (again["embedded"], again["reused"], again["deleted"]) == (0, 1, 1)
    assert len(album.collections()) == 1
    assert album.home.json("verify", "--deep")["exact"] is True
    assert album.home.json("status")["points"] == IMAGES
    assert album.home.json("check")["ok"] is True
    assert "renamed.png" in {json.loads(line)["path"] for line in album.home.run("export").stdout.splitlines()}


def test_a_killed_rebuild_goes_on_where_it_was(album: Album) -> None:
    album.sync()
    old = as_scores(album.scores())
    album.use("wider")
    album.kill_sync()
    answer = album.scores()
    partial = answer["partial"]
    assert 2 <= partial["done"] < IMAGES
    assert as_scores(answer) == pytest.approx(old, abs=1e-4)
    with album.home.daemon() as daemon:
        daemon.wait_for("collection.switched")
        status = album.home.wait_exact()
        assert status["done"]["embedded"] == IMAGES - partial["done"]
        assert album.home.json("verify")["exact"] is True
    assert len(album.collections()) == 1


def test_rebuild_makes_everything_anew_with_the_same_model_and_is_asked_for_once(album: Album) -> None:
    album.sync()
    assert album.sync("--rebuild")["embedded"] == IMAGES
    with album.home.daemon(options=["--rebuild"]) as daemon:
        daemon.wait_for("collection.switched")
        assert album.home.wait_exact()["done"]["embedded"] == IMAGES
        assert daemon.stop() == 0
    assert album.sync()["embedded"] == 0
    assert len(album.collections()) == 1


def test_a_killed_rebuild_of_the_same_model_goes_on_without_being_asked_for_again(album: Album) -> None:
    album.sync()
    album.kill_sync("--rebuild")
    assert 0 < album.sync()["embedded"] < IMAGES
    assert len(album.collections()) == 1
    assert album.sync()["embedded"] == 0


def test_where_the_old_model_is_gone_a_search_says_how_far_the_rebuild_is(album: Album) -> None:
    album.sync()
    album.use("wider")
    album.kill_sync()
    shutil.copy(album.home.path / "equal/clip_vision.onnx", album.home.path / "first/clip_vision.onnx")
    refused = album.home.run("search", "--image", QUESTION, expect=1)
    assert f"of {IMAGES} images so far" in refused.stderr
    assert refused.stderr.count("clipwatch: ") == 1
    shutil.rmtree(album.home.path / "first")
    assert "clipwatch: The collection is being built" in album.home.run("search", "a", "car", expect=1).stderr


def test_a_collection_with_points_of_others_is_refused_with_the_cure(album: Album) -> None:
    album.sync()
    album.home.environment["CLIPWATCH_WATCH__NAME"] = "other"
    album.use("wider")
    for command in ("sync", "run"):
        refused = album.home.run(command, expect=2)
        sentence = refused.stderr.splitlines()[-1]
        assert "'images'" in sentence
        assert "clipwatch forget NAME" in sentence
    assert album.collections()
    assert album.home.json("forget", "images") == {"deleted": IMAGES}
    assert album.sync()["embedded"] == IMAGES


def test_an_emptied_folder_loses_nothing_by_a_rebuild_until_it_is_confirmed(album: Album) -> None:
    album.sync()
    for file in album.home.images.iterdir():
        file.unlink()
    album.use("wider")
    held = album.home.run("sync", expect=1)
    assert f"{IMAGES} of the {IMAGES} points" in held.stderr
    assert album.home.json("status")["points"] == IMAGES
    album.home.run("confirm")
    assert album.home.json("status")["points"] == 0
    assert album.home.json("verify")["exact"] is True


def test_a_model_file_that_is_replaced_changes_nothing_until_the_restart(album: Album) -> None:
    album.sync()
    with album.home.daemon() as daemon:
        first = album.models()
        part = album.home.path / "part.onnx"
        shutil.copy(album.home.path / "wider/clip_vision.onnx", part)
        part.replace(album.home.path / "first/clip_vision.onnx")
        write_image(album.home.images / "late.png", 99)
        wait_until(lambda: album.home.json("status")["points"] == IMAGES + 1, 30)
        album.home.wait_exact()
        assert album.models() == first
        late = album.home.json("search", "--image", "images/late.png", "--limit", "1")["hits"][0]
        assert (late["path"], late["score"]) == ("late.png", pytest.approx(1.0, abs=1e-4))
        assert album.home.json("sync")["embedded"] == 0
        assert daemon.stop() == 0
    assert album.sync()["embedded"] == IMAGES + 1
    assert album.models().isdisjoint(first)


def test_a_text_tower_that_is_no_pair_is_refused_when_words_come(album: Album) -> None:
    album.sync()
    first = album.home.path / "first"
    shutil.copy(album.home.path / "wider/clip_text.onnx", first / "clip_text.onnx")
    refused = album.home.run("search", "a", "red", "car", expect=2)
    assert "not a pair" in refused.stderr
    assert refused.stderr.count("clipwatch: ") == 1

    # The same width, but not the one that was made together with the vision tower.
    vision = first / "clip_vision.onnx"
    facts = TextFacts("clip_text.onnx", file_sha256(album.home.path / "equal/clip_text.onnx"))
    write_bundle(Bundle("a pair", False, vision.name, file_sha256(vision), facts, {}, ()), first)
    onnx_models.save(onnx_models.text_tower(width=8, seed=5), first / "clip_text.onnx")
    refused = album.home.run("search", "a", "red", "car", expect=2)
    assert "is not the pair of the vision model a pair" in refused.stderr
    shutil.copy(album.home.path / "equal/clip_text.onnx", first / "clip_text.onnx")
    assert album.home.json("search", "a", "red", "car")["hits"]
