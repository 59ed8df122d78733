"""Each alert fires on a scrape of the trouble it is for, and on nothing else."""

from __future__ import annotations

import operator
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from clipwatch import __version__
from clipwatch.clock import SystemClock
from clipwatch.config import WatchConfig
from clipwatch.errors import StoreUnavailable
from clipwatch.folder.backend import WatchRefused
from clipwatch.folder.watch import FolderWatch
from clipwatch.model.encoder import VisionEncoder
from clipwatch.service import liveness
from clipwatch.service.http import LoopView
from clipwatch.service.metrics import exposition
from support.daemons import running
from support.engines import running_engine
from support.faulty_proxy import FaultyProxy
from support.folders import LogBook, wait_until, write_image
from support.pictures import small_png

pytestmark = pytest.mark.slow

RULES = {
    rule["alert"]: rule["expr"]
    for group in yaml.safe_load((Path(__file__).parents[3] / "docs" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
ALWAYS = {"ClipwatchDemonstrationModel"}
"""Fires of every daemon here: the model that ships is the one in use."""

Scrape = list[tuple[str, dict[str, str], float]]
COMPARE: Mapping[str, Callable[[float, float], bool]] = {"==": operator.eq, ">": operator.gt}


def scrape_of(status: Mapping[str, Any]) -> Scrape:
    text, _ = exposition(lambda: status, __version__)()
    return [
        (sample.name, dict(sample.labels), sample.value)
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    ]


def values(scrape: Scrape, selector: str) -> dict[tuple[tuple[str, str], ...], float]:
    """What an instant selector with equality matchers selects, by labels."""
    name, _, matchers = selector.partition("{")
    wanted = dict(re.findall(r'(\w+)="([^"]*)"', matchers))
    return {
        tuple(sorted(labels.items())): value
        for sample, labels, value in scrape
        if sample == name and wanted.items() <= labels.items()
    }


def true(expression: str, scrape: Scrape, before: Scrape, now: float) -> bool:
    """Evaluate what the rules use of PromQL: `absent(x)`, and `x`, `time() - x` or `delta(x[1h])` against a number.

    *before*: the scrape of an hour ago, for `delta`.
    """
    absent = re.fullmatch(r"absent\((\w+)\)", expression)
    if absent:
        return not values(scrape, absent[1])
    compared = re.fullmatch(r"(.+) (==|>) ([\d.]+)", expression)
    assert compared is not None, f"the evaluator does not know {expression}"
    left, compare, right = compared[1], COMPARE[compared[2]], float(compared[3])
    if delta := re.fullmatch(r"delta\((.+)\[1h\]\)", left):
        earlier = values(before, delta[1])
        found = [value - earlier[labels] for labels, value in values(scrape, delta[1]).items() if labels in earlier]
    elif age := re.fullmatch(r"time\(\) - (.+)", left):
        found = [now - value for value in values(scrape, age[1]).values()]
    else:
        found = list(values(scrape, left).values())
    return any(compare(value, right) for value in found)


def firing(
    status: Mapping[str, Any] | None, before: Mapping[str, Any] | None = None, now: float | None = None
) -> set[str]:
    """The alerts whose expression is true of a scrape now. *before*: the status of an hour ago."""
    scrape, moment = scrape_of(status) if status else [], time.time() if now is None else now
    earlier = scrape_of(before) if before else scrape
    return {name for name, rule in RULES.items() if true(rule, scrape, earlier, moment)}


def quiet(status: dict[str, Any]) -> bool:
    return status["state"] in ("watching", "held") and not status["pending"]


def test_the_life_of_a_folder_fires_what_it_should(tmp_path: Path) -> None:
    """Missing, then there and empty, then well, then full of broken files, then emptied; and long without a scan."""
    images = tmp_path / "images"
    with running(tmp_path) as it:
        missing = it.until(lambda s: s["state"] == "folder-missing")
        assert firing(missing) == ALWAYS | {"ClipwatchFolderMissing"}

        images.mkdir()
        empty = it.until(lambda s: s["watch"][0]["last_scan"] and quiet(s))
        assert firing(empty) == ALWAYS
        for seed in range(12):
            write_image(images / f"{seed}.png", seed)
        well = it.until(lambda s: s["points"] == 12 and quiet(s))
        assert firing(well, before=empty) == ALWAYS
        assert firing(well, now=time.time() + 4 * 3600) == ALWAYS | {"ClipwatchNoScan"}
        busy = it.status()["stages"]
        assert busy["seconds"]["decode"] > 0
        assert busy["images"]["decode"] >= 12

        for number in range(11):
            (images / f"broken-{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([number]))
        it.daemon.mirror.ask_looks("test")
        worse = it.until(lambda s: s["rejected"] == 11 and quiet(s))
        assert firing(worse, before=empty) == ALWAYS | {"ClipwatchRejectedGrowing"}
        assert firing(worse, before=worse) == ALWAYS

        shutil.rmtree(images)
        images.mkdir()
        it.daemon.mirror.ask_looks("test")
        held = it.until(lambda s: s["held"] == 12)
        assert firing(held) == ALWAYS | {"ClipwatchDeletesHeld"}


def test_a_store_that_is_away_fires_and_a_question_ends(tmp_path: Path) -> None:
    """The mirror waits for the store for as long as it takes; who asks is told within `store.timeout_seconds`."""
    (tmp_path / "images").mkdir()
    with running(tmp_path, store_url="http://127.0.0.1:9") as it:
        away = it.until(lambda s: not s["store"]["available"])
        assert firing(away) == ALWAYS | {"ClipwatchStoreAway"}
        it.until(lambda s: s["store"]["retries"] > 0)
        with pytest.raises(StoreUnavailable):
            it.answers.search({"plus": [{"image": small_png()}]})


def test_an_outage_is_noticed_and_over_while_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with (
        running_engine(tmp_path / "engine") as engine,
        FaultyProxy(engine.socket_path) as proxy,
        running(tmp_path, store_url=proxy.url) as it,
    ):
        it.until(quiet)
        proxy.go_down()
        it.daemon.mirror.probe_store()
        assert firing(it.until(lambda s: not s["store"]["available"])) == ALWAYS | {"ClipwatchStoreAway"}
        proxy.come_up()
        assert firing(it.until(lambda s: s["store"]["available"] and quiet(s))) == ALWAYS


def test_a_watch_that_is_refused_fires(tmp_path: Path) -> None:
    """The watch falls back to polling, as it does where the kernel's limits are used up."""

    def refuse(*_parts: Any) -> Any:
        raise WatchRefused("the limit of watches is used up", hint="Raise it.")

    images = tmp_path / "images"
    images.mkdir()
    with running(tmp_path) as it:
        it.until(quiet)
        folder = it.daemon.mirror.folders["images"]
        watch = FolderWatch(
            folder.root,
            folder.rules,
            WatchConfig(path=str(images), backend="watchdog"),
            it.daemon.mirror.inbox,
            SystemClock(),
            LogBook(),
            backends={"watchdog": refuse},
        )
        it.daemon._watches["images"].stop()
        it.daemon._watches["images"] = watch
        watch.start()
        assert firing(it.status()) == ALWAYS | {"ClipwatchWatchUnhealthy"}


def test_a_frozen_encoder_fires_and_is_ill_health_until_it_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no service manager would restart it."""
    thaw = threading.Event()
    encode = VisionEncoder.encode

    def frozen(self: VisionEncoder, pixels: Any) -> Any:
        thaw.wait(60)
        return encode(self, pixels)

    monkeypatch.setattr(liveness, "ENCODE_SECONDS_PER_IMAGE", 0.01)
    (tmp_path / "images").mkdir()
    write_image(tmp_path / "images" / "a.png", 1)
    with running(tmp_path, watchdog_seconds=0.2) as it:
        daemon = it.daemon
        view = LoopView(
            daemon.ask, it.status, turned=lambda: daemon.turned, stuck=lambda: daemon.stuck, clock=SystemClock()
        )
        monkeypatch.setattr(VisionEncoder, "encode", frozen)
        with it.turning():
            wait_until(lambda: view.status()["stuck"] == ["encode"], 60)
            assert firing(view.status()) == ALWAYS | {"ClipwatchWorkerStuck"}
            assert not view.healthy()
            assert ("error", "daemon.stuck", {"workers": ["encode"]}) in it.logs.lines
            thaw.set()
            wait_until(lambda: quiet(view.status()) and view.healthy(), 60)
            assert firing(view.status()) == ALWAYS


def test_waiting_files_a_still_loop_and_silence_fire_and_a_full_model_does_not(tmp_path: Path) -> None:
    """What no test can wait for is told by the same status with later figures."""
    (tmp_path / "images").mkdir()
    with running(tmp_path) as it:
        status = it.until(quiet)
    assert firing({**status, "lag_seconds": 3601.0}) == ALWAYS | {"ClipwatchLag"}
    assert firing({**status, "loop_age_seconds": 121.0}) == ALWAYS | {"ClipwatchStalled"}
    assert firing({**status, "model": {**status["model"], "demonstration": False}}) == set()
    assert firing(None) == {"ClipwatchAbsent"}


def test_a_file_that_waits_is_told_as_lag(tmp_path: Path) -> None:
    """From when it stood still; nothing is waited for once it is stored."""
    images = tmp_path / "images"
    images.mkdir()
    with running(tmp_path) as it:
        it.until(quiet)
        write_image(images / "a.png", 1)
        it.until(lambda s: s["lag_seconds"] > 0.01)
        it.until(lambda s: s["points"] == 1 and quiet(s))
        assert it.status()["lag_seconds"] == 0


def test_every_alert_has_words_a_cure_and_a_severity() -> None:
    document = yaml.safe_load((Path(__file__).parents[3] / "docs" / "alerts.yml").read_text())
    for rule in document["groups"][0]["rules"]:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert set(rule["annotations"]) == {"summary", "cure"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
