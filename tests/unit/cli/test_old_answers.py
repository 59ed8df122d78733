"""The old collection is searched by its own model, as long as that can be had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clipwatch.cli.old_answers import OldAnswers
from clipwatch.cli.old_model import find_old, remember
from clipwatch.config import Config, ModelConfig
from clipwatch.model import weights
from clipwatch.model.load import load_encoder
from clipwatch.records import Preprocessing
from clipwatch.service.answers import Answers
from support import onnx_models
from support.mirrors import SharedDecoder, picture, shared_decoder
from support.stores import Told, open_test_store, sample_point


@dataclass
class Change:
    """A change of model under way: the old model's file, and what is asked meanwhile."""

    vision: Path
    before: OldAnswers
    hashed: list[Path]

    def answers(self) -> Answers | None:
        before = self.before()
        assert before is not None
        return before.answers


def everything_decoder(preprocessing: Preprocessing) -> SharedDecoder:
    decoder = shared_decoder(preprocessing)
    decoder.known = lambda _: False
    return decoder


@pytest.fixture(name="change")
def _change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Change]:
    told, vision = Told(), tmp_path / "old" / "clip_vision.onnx"
    onnx_models.save(onnx_models.vision_tower(width=8, side=56, seed=0), vision)
    config = ModelConfig(path=str(vision), engine="onnxruntime", threads=1)
    encoder = load_encoder(config, batch_size=1, logger=told, explicit_path=True)
    remember(tmp_path, encoder, config, told)
    hashed: list[Path] = []
    read = weights.read_weights

    def reading(file: Path) -> Any:
        hashed.append(file)
        return read(file)

    monkeypatch.setattr(weights, "read_weights", reading)
    with open_test_store(tmp_path) as front, open_test_store(tmp_path) as target:
        front.upsert([sample_point("a.png", model=encoder.fingerprint)])
        refused: set[Any] = set()
        rebuild: Any = SimpleNamespace(shows_old=True)
        yield Change(
            vision,
            OldAnswers(
                Config(),
                rebuild=rebuild,
                front=front,
                target=target,
                fingerprint="sha256:new",
                find=lambda: find_old(
                    tmp_path, "sha256:new", lambda made_by: front.count(model=made_by), told, refused
                ),
                decoder=everything_decoder,
            ),
            hashed,
        )


def test_an_old_model_that_is_put_back_answers_from_the_next_question_on(change: Change) -> None:
    away = change.vision.with_name("away")
    change.vision.rename(away)
    assert change.answers() is None
    assert change.answers() is None
    away.rename(change.vision)
    answers = change.answers()
    assert answers is not None
    assert [hit["path"] for hit in answers.search({"plus": [{"image": picture(1)}]})["hits"]] == ["a.png"]
    assert change.answers() is answers, "loaded once"


def test_another_file_in_its_place_is_read_once_and_not_at_every_question(change: Change) -> None:
    original = change.vision.read_bytes()
    onnx_models.save(onnx_models.vision_tower(width=8, side=56, seed=1), change.vision)
    change.hashed.clear()
    for _ in range(3):
        assert change.answers() is None
    assert change.hashed == [change.vision]
    change.vision.write_bytes(original)
    assert change.answers() is not None


def test_a_model_that_cannot_be_noted_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    told = Told()
    (tmp_path / "models.json").mkdir()
    encoder: Any = SimpleNamespace(
        fingerprint="f", vision_sha256="0", files=SimpleNamespace(vision=tmp_path / "m.onnx")
    )
    remember(tmp_path, encoder, ModelConfig(), told)
    assert len(told.events("model.not_remembered")) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["models.json"]
