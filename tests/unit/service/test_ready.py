"""When the service manager is told that we are up, and what `/readyz` says from then on."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipwatch.errors import ConfigError
from clipwatch.service import daemon
from clipwatch.store.qdrant import QdrantStore
from support.daemons import Running, running
from support.folders import wait_until, write_image


@pytest.fixture(autouse=True)
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    write_image(tmp_path / "images" / "a.png", 1)
    return tmp_path / "images"


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until this is set, the store takes its time to say whether the collection is there."""
    event, ensure = threading.Event(), QdrantStore.ensure

    def slow(self: QdrantStore, width: int) -> None:
        event.wait(60)
        ensure(self, width)

    monkeypatch.setattr(QdrantStore, "ensure", slow)
    yield event
    event.set()


def announced(it: Running) -> bool:
    return any(event == "daemon.ready" for _, event, _ in it.logs.lines)


def test_it_is_up_once_the_store_has_answered_and_ready_once_all_is_scanned(
    tmp_path: Path, images: Path, answering: threading.Event
) -> None:
    with running(tmp_path, watchdog_seconds=0.4) as it, it.turning():
        wait_until(lambda: it.daemon.mirror.folders["images"].available, 60)
        assert it.daemon.ask(it.daemon.unready) == [
            "The store has not answered yet.",
            "The first scan of folder images is not done.",
        ]
        assert not announced(it)
        answering.set()
        wait_until(lambda: announced(it), 60)
        wait_until(lambda: not it.daemon.unready(), 60)
        shutil.rmtree(images)
        wait_until(it.daemon.unready, 60)
        (reason,) = it.daemon.unready()
        assert str(images) in reason
        images.mkdir()
        wait_until(lambda: not it.daemon.unready(), 60)


def test_a_store_that_hangs_does_not_keep_it_from_being_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answering: threading.Event
) -> None:
    monkeypatch.setattr(daemon, "STORE_ANSWER_SECONDS", 0.1)
    with running(tmp_path) as it, it.turning():
        wait_until(lambda: announced(it), 60)
        assert "The store has not answered yet." in it.daemon.unready()
        answering.set()


def test_a_store_that_is_away_does_not_either_and_each_reason_is_told(tmp_path: Path, images: Path) -> None:
    shutil.rmtree(images)
    with running(tmp_path, store_url="http://127.0.0.1:9") as it, it.turning():
        wait_until(lambda: announced(it), 60)
        store, folder = it.daemon.unready()
        assert "127.0.0.1:9" in store
        assert str(images) in folder


def test_a_collection_that_does_not_fit_ends_it_before_it_was_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def misfit(_self: QdrantStore, width: int) -> None:
        raise ConfigError(f"The collection's vectors are not {width} wide.")

    monkeypatch.setattr(QdrantStore, "ensure", misfit)
    with running(tmp_path) as it, pytest.raises(ConfigError):
        it.daemon.run()
    assert not announced(it)
