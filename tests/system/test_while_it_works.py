"""The real daemon while others write, copy and search."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import httpx
import pytest

from support.commands import Home
from support.folders import wait_until
from support.mirrors import fill, picture, put
from support.onnx_models import save, vision_tower

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
WRITES, SECONDS, BACKLOG = 500, 1.0, 400


def test_five_hundred_writes_cost_one_inference_and_a_copy_with_kept_times_is_seen(home: Home, tmp_path: Path) -> None:
    home.environment |= {
        "CLIPWATCH_MODEL__PATH": str(save(vision_tower(width=8, side=56), tmp_path / "tiny.onnx")),
        "CLIPWATCH_WATCH__SETTLE_SECONDS": "1",
    }
    home.images.mkdir()
    pause = threading.Event()
    with home.daemon() as daemon:
        daemon.wait_for("scan.finished")
        for seed in range(WRITES):
            put(home.images, "busy.png", picture(seed % 7 + 10))
            pause.wait(SECONDS / WRITES)
        put(home.images, "busy.png", picture(1))
        daemon.wait_for("batch.verified")
        assert home.wait_exact()["points"] == 1
        assert sum(line["images"] for line in daemon.events("batch.embedded")) == 1

        # As `cp -p` does: another content under the name, with the times that it had elsewhere.
        (home.path / "other.png").write_bytes(picture(2))
        os.utime(home.path / "other.png", (1_000_000_000, 1_000_000_000))
        shutil.copy2(home.path / "other.png", home.images / "busy.png")
        shutil.copy2(home.path / "other.png", home.images / "new.png")
        wait_until(lambda: home.json("status")["done"]["embedded"] == 2, 30)
        assert home.wait_exact()["points"] == 2
        answer = home.json("verify", "--deep")
        assert answer["exact"], answer
        assert daemon.stop() == 0


def test_searches_while_a_backlog_is_worked_off_never_fail(home: Home, tmp_path: Path) -> None:
    home.environment |= {
        "CLIPWATCH_MODEL__PATH": str(save(vision_tower(width=8, side=56), tmp_path / "tiny.onnx")),
        "CLIPWATCH_BATCH__SIZE": "5",
        "CLIPWATCH_HTTP__LISTEN": "127.0.0.1:0",
    }
    home.images.mkdir()
    fill(home.images, BACKLOG)
    with home.daemon() as daemon:
        address = str(daemon.wait_for("http.listening")[-1]["address"])
        daemon.wait_for("batch.verified")
        searches = 0
        with httpx.Client(base_url=address, timeout=30) as client:
            while client.get("/api/status").json()["pending"]:
                answer = client.post("/api/search", content=picture(0))
                assert answer.status_code == 200, answer.text
                assert answer.json()["hits"]
                searches += 1
        assert searches > 5, "many batches went by meanwhile"
        assert home.wait_exact()["points"] == BACKLOG
        assert daemon.stop() == 0
