"""`clipwatch model …` as installed: answers, exit statuses, and what a person is told to do next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from clipwatch.__main__ import main
from clipwatch.model import cards
from clipwatch.model.cards import CARDS, CardFile, ModelCard
from support import onnx_models as models
from support.commands import Home
from support.hub_stand_in import COMMIT, HubStandIn, running_hub

REPOSITORY = "someone/little"
LOCAL = {
    "onnx/vision_model.onnx": "vision_model.onnx",
    "onnx/text_model.onnx": "text_model.onnx",
    "tokenizer.json": "tokenizer.json",
}


@pytest.fixture
def hub(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStandIn]:
    """Serves towers that work and know nothing."""
    folder = tmp_path_factory.mktemp("hub")
    models.save(models.vision_tower(), folder / "onnx" / "vision_model.onnx")
    models.save(models.text_tower(), folder / "onnx" / "text_model.onnx")
    models.tokenizer(folder / "tokenizer.json")
    with running_hub(REPOSITORY, {name: (folder / name).read_bytes() for name in LOCAL}) as running:
        home.environment["HF_ENDPOINT"] = running.endpoint
        yield running


@pytest.fixture
def little(hub: HubStandIn, home: Home, monkeypatch: pytest.MonkeyPatch) -> ModelCard:
    """The one card there is, for commands in this process."""
    card = ModelCard(
        name="little",
        title="Little CLIP",
        repository=REPOSITORY,
        revision=COMMIT,
        files={
            remote: CardFile(name, hashlib.sha256(hub.files[remote]).hexdigest(), len(hub.files[remote]))
            for remote, name in LOCAL.items()
        },
        width=8,
        side=224,
        context=6,
        pad_id=1,
        licence="MIT",
        summary="",
        folder="little",
    )
    monkeypatch.setattr(cards, "CARDS", (card,))
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.chdir(home.path)
    return card


def test_the_list_tells_each_model_with_what_one_chooses_by(home: Home) -> None:
    told = home.json("model", "list")["models"]
    assert [model["name"] for model in told] == [card.name for card in CARDS]
    assert set(told[0]) == {
        "name",
        "title",
        "width",
        "side",
        "megabytes",
        "licence",
        "repository",
        "revision",
        "summary",
    }


def test_a_hub_that_has_something_else_is_refused_with_status_2(home: Home, hub: HubStandIn) -> None:
    refused = home.run("model", "fetch", "clip-vit-base-patch32", expect=2)
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert hub.endpoint in refused.stderr
    assert "Did you mean" in home.run("model", "fetch", "siglip-base", expect=2).stderr


def test_a_fetched_model_says_how_it_is_used_and_one_that_knows_nothing_is_refused(
    home: Home, little: ModelCard, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "fetch", "little"]) == 0
    path = "models/little/vision_model.onnx"
    assert f'To use it, write into the configuration:\n\n[model]\npath = "{path}"\n' in capsys.readouterr().out
    assert main(["model", "fetch", "little", "--give-up-seconds", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "little", "path": path, "revision": COMMIT}

    refused = home.run("model", "info", path, expect=2)
    assert refused.stdout == ""
    assert "The model little fails its own test" in refused.stderr
    assert "empty known_answers in its bundle.json" in refused.stderr


def test_a_device_that_is_not_there_is_status_2(home: Home) -> None:
    home.environment["CLIPWATCH_MODEL__DEVICE"] = "cuda"
    refused = home.run("model", "info", expect=2)
    assert 'model.device = "cuda"' in refused.stderr
    assert 'set model.device = "auto"' in refused.stderr


def test_the_doctor_says_when_nothing_proves_that_two_towers_are_a_pair(home: Home) -> None:
    home.add_samples("cat.jpg")
    plain = home.path / "plain"
    models.save(models.vision_tower(), plain / "vision_model.onnx")
    models.save(models.text_tower(), plain / "text_model.onnx")
    models.tokenizer(plain / "tokenizer.json")
    home.environment["CLIPWATCH_MODEL__PATH"] = "plain"
    told = {check["name"]: check for check in home.json("check", expect=None)["checks"]}
    assert told["text search"]["ok"]
    assert "pairing unproven" in told["text search"]["detail"]
    assert "clipwatch model fetch" in told["text search"]["hint"]
    assert "model.pair_unproven" in home.run("model", "info").stderr


def no_number(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


def test_variants_are_measured_on_the_watched_pictures_and_switched_only_within_the_gate(home: Home) -> None:
    home.add_samples("cat.jpg", "moon.png")
    models.small_vit(home.path / "vit.onnx")
    home.environment["CLIPWATCH_MODEL__PATH"] = "vit.onnx"
    told = json.loads(home.run("model", "optimize", "--json").stdout, parse_constant=no_number)
    assert set(told) == {"model", "pictures", "rows", "chosen"}
    assert (told["pictures"], told["chosen"]) == (2, "original")
    original, int8, openvino = told["rows"]
    assert set(original) == {"variant", "images_per_second", "cosine_mean", "cosine_min", "size_bytes", "note"}
    assert (original["variant"], int8["variant"], openvino["variant"]) == ("original", "int8", "openvino")
    assert (openvino["images_per_second"] is None) is bool(openvino["note"])

    for allow in ("0.5", "nan"):
        refused = home.run("model", "optimize", "--use", "int8", "--allow", allow, expect=2)
        assert "--allow must lie between 0.99 and 1" in refused.stderr
    switched = home.run("model", "optimize", "--use", "original").stdout
    assert "on 2 pictures of images:\nvariant " in switched
    assert switched.endswith("In force from the next start: original.\n")
    assert not list(home.path.glob("vit.int8*"))
