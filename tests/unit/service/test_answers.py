"""What can be asked of a collection: which of its points a search counts, and how several parts make one question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipwatch.config import Config, WatchConfig
from clipwatch.errors import ConfigError, RejectReason
from clipwatch.mirror.notebook import Rejection
from clipwatch.records import Vector
from clipwatch.service.answers import Answers, stored_status
from clipwatch.store.qdrant import QdrantStore
from support.mirrors import picture, shared_decoder, tiny_encoder
from support.stores import open_test_store, sample_point

STATUS_KEYS = {"state", "images", "points", "pending", "rejected", "ignored", "held", "model", "store", "watch"}
WORDS = {"north": 0, "east": 1, "up": 2}
"""Each word is an axis of its own."""


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Iterator[QdrantStore]:
    with open_test_store(tmp_path) as made:
        yield made


def axis(word: str, *more: str) -> Vector:
    vector = np.zeros(8, np.float32)
    for name in (word, *more):
        vector[WORDS[name]] = 1
    result: Vector = vector / np.linalg.norm(vector)
    return result


def answers(store: QdrantStore, noted: Mapping[str, Mapping[bytes, Rejection]] | None = None) -> Answers:
    encoder = tiny_encoder()
    decoder = shared_decoder(encoder.preprocessing)
    decoder.known = lambda _: False

    def text(texts: Sequence[str]) -> Any:
        return np.stack([axis(word) for word in texts])

    return Answers(
        Config(watch=(WatchConfig(name="images"), WatchConfig(path="more", name="more"))),
        store=store,
        encoder=encoder,
        decoder=lambda: decoder,
        text=text,
        rejections=lambda folder: (noted or {}).get(folder, {}),
    )


def add(
    store: QdrantStore, path: str, *, folder: str = "images", ours: bool = True, vector: Vector | None = None
) -> None:
    model = tiny_encoder().fingerprint if ours else "sha256:another"
    store.upsert([sample_point(path, folder=folder, model=model, vector=vector)])


def found(store: QdrantStore, plus: list[dict[str, Any]], minus: list[dict[str, Any]] | None = None) -> list[str]:
    hits = answers(store).search({"plus": plus, "minus": minus or []})["hits"]
    return [hit["path"] for hit in hits]


# -- filters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("typed", "stored"), [("png", "PNG"), ("PNG", "PNG"), ("Jpeg", "JPEG"), ("jpg", "JPEG")])
def test_a_format_is_found_however_it_is_written(store: QdrantStore, typed: str, stored: str) -> None:
    model = tiny_encoder().fingerprint
    store.upsert([sample_point(f"{name}.x", model=model, format=name) for name in ("PNG", "JPEG")])
    hits = answers(store).search({"plus": [{"text": "up"}], "filter": {"format": typed}})["hits"]
    assert [hit["path"] for hit in hits] == [f"{stored}.x"]


def test_a_name_that_is_no_text_comes_with_its_bytes(store: QdrantStore) -> None:
    model = tiny_encoder().fingerprint
    store.upsert(
        [sample_point("plain.jpg", model=model), sample_point("\\xff.jpg", model=model, path_base64="/y5qcGc=")]
    )
    hits = {hit["path"]: hit for hit in answers(store).search({"plus": [{"text": "up"}]})["hits"]}
    assert hits["\\xff.jpg"].keys() == {"path", "folder", "score", "id", "path_base64"}
    assert hits["plain.jpg"].keys() == {"path", "folder", "score", "id"}


# -- partial ------------------------------------------------------------------------------------------------


def test_a_change_of_model_counts_the_points_of_all_configured_folders(store: QdrantStore) -> None:
    add(store, "a.jpg")
    add(store, "b.jpg", ours=False)
    add(store, "c.jpg", folder="more", ours=False)
    assert answers(store).search({"plus": [{"text": "up"}]})["partial"] == {"done": 1, "of": 3}
    add(store, "b.jpg")
    add(store, "c.jpg", folder="more")
    assert "partial" not in answers(store).search({"plus": [{"text": "up"}]})


def test_points_of_others_are_no_change_under_way(store: QdrantStore) -> None:
    add(store, "a.jpg")
    add(store, "theirs.jpg", folder="another machine's", ours=False)
    assert answers(store).search({"plus": [{"text": "up"}]}).keys() == {"hits"}


def test_a_point_kept_for_a_file_that_cannot_be_read_does_not_keep_a_change_under_way(store: QdrantStore) -> None:
    add(store, "a.jpg")
    add(store, "kept.jpg", ours=False)
    noted = {
        path: Rejection("images", path, b"", reason, "")
        for path, reason in (
            (b"kept.jpg", RejectReason.UNREADABLE),
            (b"never stored.jpg", RejectReason.UNREADABLE),
            (b"b.jpg", RejectReason.TRUNCATED),
        )
    }
    asked = answers(store, {"images": noted})
    assert "partial" not in asked.search({"plus": [{"text": "up"}]})
    add(store, "b.jpg", ours=False)
    assert asked.search({"plus": [{"text": "up"}]})["partial"] == {"done": 1, "of": 2}


# -- several parts, with weights ------------------------------------------------------------------------------


def test_weights_decide_between_words(store: QdrantStore) -> None:
    add(store, "north.jpg", vector=axis("north"))
    add(store, "east.jpg", vector=axis("east"))
    assert found(store, [{"text": "north"}, {"text": "east", "weight": 0.5}]) == ["north.jpg", "east.jpg"]
    assert found(store, [{"text": "north", "weight": 0.5}, {"text": "east"}]) == ["east.jpg", "north.jpg"]


def test_minus_leads_away_as_far_as_its_weight(store: QdrantStore) -> None:
    add(store, "both.jpg", vector=axis("north", "east"))
    add(store, "north.jpg", vector=axis("north"))
    asked: list[dict[str, Any]] = [{"text": "north"}, {"text": "east", "weight": 0.8}]
    assert found(store, asked) == ["both.jpg", "north.jpg"]
    assert found(store, asked, [{"text": "east", "weight": 0.7}]) == ["north.jpg", "both.jpg"]


def test_words_are_added_to_a_picture(store: QdrantStore) -> None:
    image = {"image": picture(1)}
    seen = answers(store).picture_vector(picture(1))
    add(store, "alike.jpg", vector=seen)
    blend = seen + 2 * axis("north")
    add(store, "alike, and north.jpg", vector=(blend / np.linalg.norm(blend)).astype(np.float32))
    assert found(store, [image]) == ["alike.jpg", "alike, and north.jpg"]
    assert found(store, [image, {"text": "north", "weight": 2}]) == ["alike, and north.jpg", "alike.jpg"]
    assert found(store, [image, {"text": "north"}], [{"text": "north"}]) == ["alike.jpg", "alike, and north.jpg"]


def test_parts_that_cancel_each_other_are_the_askers_mistake(store: QdrantStore) -> None:
    with pytest.raises(ConfigError, match="cancel each other out") as caught:
        found(store, [{"text": "north", "weight": 0.5}], [{"text": "north", "weight": 0.5}])
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("weight", [0, -1, 1001, float("nan"), float("inf"), True, "1", None])
def test_a_weight_is_a_number_above_nothing(store: QdrantStore, weight: object) -> None:
    with pytest.raises(ConfigError, match="weight must be"):
        found(store, [{"text": "north", "weight": weight}])


# -- shapes of the answers --------------------------------------------------------------------------------------


def test_a_hit_has_the_keys_that_programs_rely_on(store: QdrantStore) -> None:
    add(store, "a.jpg")
    answer = answers(store).search({"plus": [{"text": "up"}]})
    assert answer["hits"][0].keys() == {"path", "folder", "score", "id"}


def test_without_a_daemon_nothing_is_said_that_only_it_can_know(store: QdrantStore) -> None:
    add(store, "a.jpg")
    add(store, "theirs.jpg", folder="another machine's")
    status = stored_status(Config(watch=(WatchConfig(name="images"),)), store)
    assert status.keys() == STATUS_KEYS
    assert status["points"] == 1
    assert [status[key] for key in ("images", "pending", "rejected", "ignored", "held")] == [None] * 5
    assert status["watch"] == [{"name": "images", "state": "stopped", "path": "images", "points": 1}]
