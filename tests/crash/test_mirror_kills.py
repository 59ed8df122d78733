"""The real command, killed at every store call and at any moment: the next start ends in the same collection."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clipwatch.config import ModelConfig
from clipwatch.errors import CollectionMissing
from clipwatch.model.load import load_encoder
from support.changes import change_everything
from support.commands import COMMAND, FAST, PATIENCE_SECONDS, Home
from support.faulty_proxy import FaultyProxy, Request
from support.mirrors import assert_exact, fill, true_images
from support.onnx_models import save, vision_tower
from support.stores import Told, drop_collection, fresh_collection, shared_engine, store_config, store_on

pytestmark = pytest.mark.slow
BATCH = 8


class KillingProxy(FaultyProxy):
    """Tells also when the engine has done its work, before the answer goes back."""

    on_forwarded: Callable[[Request], None] | None = None

    def _forward(self, request: Request) -> bytes:
        answer = super()._forward(request)
        if self.on_forwarded is not None:
            self.on_forwarded(request)
        return answer


class Scene:
    """A folder, an engine behind a proxy, and runs of the command between them."""

    def __init__(self, directory: Path, proxy: KillingProxy) -> None:
        self.proxy, self.folder = proxy, directory / "images"
        self.collection = fresh_collection()
        self.home = Home(
            directory,
            {
                "CLIPWATCH_WATCH__NAME": "images",
                "CLIPWATCH_STORE__URL": proxy.url,
                "CLIPWATCH_STORE__COLLECTION": self.collection,
                "CLIPWATCH_LIMITS__DELETE_FRACTION": "1",
                "CLIPWATCH_BATCH__SIZE": str(BATCH),
                "CLIPWATCH_MODEL__PATH": str(save(vision_tower(width=8, side=56), directory / "tiny.onnx")),
                "CLIPWATCH_MODEL__THREADS": "1",
            },
        )
        config = ModelConfig(path=self.home.environment["CLIPWATCH_MODEL__PATH"], engine="onnxruntime", threads=1)
        self.encoder = load_encoder(config, batch_size=BATCH, logger=Told(), explicit_path=True)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        ours = {key: value for key, value in os.environ.items() if not key.startswith("CLIPWATCH_")}
        self.process = subprocess.Popen(
            [COMMAND, *arguments],
            cwd=self.home.path,
            env={**ours, **FAST, **self.home.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return self.process

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE_SECONDS)

    def stored(self) -> set[str]:
        """The contents that the collection has vectors of."""
        config = store_config(collection=self.collection)
        with contextlib.closing(store_on(shared_engine().socket_path, config)) as store:
            try:
                return {point.payload["content"] for point in store.points(vectors=False)}
            except CollectionMissing:
                return set()

    def sync(self) -> dict[str, Any]:
        """One whole run."""
        answer: dict[str, Any] = self.home.json("sync")
        return answer

    def assert_exact(self) -> None:
        config = store_config(collection=self.collection)
        with contextlib.closing(store_on(shared_engine().socket_path, config)) as store:
            assert_exact(self.folder, store, encoder=self.encoder)


@pytest.fixture(name="scene")
def _scene(tmp_path: Path) -> Iterator[Scene]:
    engine = shared_engine()
    with KillingProxy(engine.socket_path) as proxy:
        scene = Scene(tmp_path, proxy)
        yield scene
        if scene.process is not None and scene.process.poll() is None:
            scene.kill()
            scene.process.wait(PATIENCE_SECONDS)
    drop_collection(engine.socket_path, scene.collection)


def killed_at(scene: Scene, number: int, *, after: bool) -> bool:
    """Run `sync` and kill it at its *number*th request; False where it ended before that.

    *after*: the engine has done its work, and nobody was told; else it has not heard of the request.
    """
    first = len(scene.proxy.requests)

    def kill(request: Request) -> None:
        if request.number - first == number:
            scene.kill()
            scene.wait()
            raise ConnectionResetError  # of the proxy's connection: the request, or its answer, goes no further

    scene.proxy.on_request, scene.proxy.on_forwarded = (None, kill) if after else (kill, None)
    scene.start("sync")
    status = scene.wait()
    scene.proxy.on_request = scene.proxy.on_forwarded = None
    assert status in (0, -signal.SIGKILL)
    return status != 0


def sweep(scene: Scene, sides: Callable[[int], tuple[bool, ...]]) -> int:
    """Kill at the first, second, third … request until a run ends before its turn; how many kills that were."""
    fill(scene.folder, 6)
    kills = 0
    for number in itertools.count(1):
        for after in sides(number):
            change_everything(scene.folder, kills)
            if not killed_at(scene, number, after=after):
                scene.assert_exact()
                return kills
            kills += 1
            before = scene.stored()
            answer = scene.sync()
            scene.assert_exact()
            fresh = {truth.content for truth in true_images(scene.folder).values()} - before
            assert answer["embedded"] == len(fresh), "what was stored is not embedded again, and each content once"
            assert answer["held"] == 0
    raise AssertionError("unreachable")


@pytest.mark.timeout(600)
def test_killed_at_every_store_call_the_next_start_ends_in_the_same_collection(scene: Scene) -> None:
    assert sweep(scene, lambda number: (number % 2 == 0,)) >= 12


@pytest.mark.soak
def test_killed_before_and_after_every_store_call(scene: Scene) -> None:
    assert sweep(scene, lambda _: (False, True)) >= 24


def killed_at_random(scene: Scene, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    fill(scene.folder, 6)
    for round_ in range(kills):
        change_everything(scene.folder, round_)
        process = scene.start("run" if round_ % 2 else "sync")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(dice.uniform(0.3, 3.0))
        scene.kill()
        scene.wait()
        scene.sync()
        scene.assert_exact()


@pytest.mark.timeout(600)
def test_killed_at_any_moment_the_next_start_ends_in_the_same_collection(scene: Scene) -> None:
    killed_at_random(scene, 20, seed=int(os.environ.get("CLIPWATCH_SOAK_SEED", "1")))


@pytest.mark.soak
def test_killed_at_two_hundred_moments(scene: Scene) -> None:
    killed_at_random(scene, 200, seed=int(os.environ.get("CLIPWATCH_SOAK_SEED", "1")))
