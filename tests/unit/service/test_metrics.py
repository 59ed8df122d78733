"""The status as Prometheus reads it, and the files that are built on its names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from clipwatch.errors import RejectReason, StoreUnavailable
from clipwatch.folder.settle import Settling
from clipwatch.records import Signature
from clipwatch.service.metrics import exposition
from clipwatch.service.status import RecentWork, bottleneck, busy_shares

DOCS = Path(__file__).parents[3] / "docs"
STATUS: Mapping[str, Any] = {
    "state": "held",
    "images": 12,
    "points": 9,
    "pending": 2,
    "lag_seconds": 1.5,
    "rejected": 3,
    "rejected_by_reason": {"truncated": 2, "empty": 1},
    "ignored": 4,
    "ignored_by_type": {"heic": 3, "txt": 1},
    "undecodable": {"heic": 3},
    "held": 5,
    "model": {
        "name": 'a "model"\n',
        "fingerprint": "sha256:0",
        "engine": "onnxruntime",
        "precision": "int8",
        "provider": "CPUExecutionProvider",
        "demonstration": True,
    },
    "store": {"available": True, "retries": 7, "unavailable_seconds": 2.5},
    "watch": [
        {
            "name": "images",
            "state": "held",
            "images": 12,
            "points": 9,
            "held": 5,
            "unconfirmed": 6,
            "healthy": False,
            "last_scan": 1e9,
            "last_scan_seconds": 0.25,
        },
        {
            "name": "disk",
            "state": "folder-missing",
            "images": 0,
            "points": 0,
            "held": 0,
            "unconfirmed": 0,
            "last_scan": None,
            "last_scan_seconds": 0.0,
        },
    ],
    "stages": {
        "depths": {"decode": 1, "encode": 2, "store": 3},
        "seconds": {"decode": 4.0, "encode": 5.0, "store": 6.0, "verify": 7.0},
        "images": {"decode": 8, "encode": 9, "store": 10, "verify": 11},
        "busy": {"decode": 0.1, "encode": 0.9, "store": 0.2},
        "bottleneck": "encode",
    },
    "done": {"embedded": 1, "reused": 2, "refreshed": 3, "deleted": 4},
    "loop_age_seconds": 0.5,
    "stuck": ["encode"],
}


def samples(status: Mapping[str, Any] = STATUS) -> dict[tuple[str, ...], float]:
    """Name and label values, in the labels' order, to value; as a scraper parses them."""
    text, media_type = exposition(lambda: status, "1.2.3")()
    assert media_type.startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_every_figure_of_the_status_is_told() -> None:
    told = samples()
    assert told["clipwatch_images_total", "points"] == 9
    assert told["clipwatch_images_total", "held"] == 5
    assert told["clipwatch_unconfirmed", "images"] == 6
    assert told["clipwatch_rejected", "truncated"] == 2
    assert told["clipwatch_rejected", "crashed"] == 0
    assert {name[1] for name in told if name[0] == "clipwatch_rejected"} == {str(reason) for reason in RejectReason}
    assert told["clipwatch_worker_stuck", "encode"] == 1
    assert told["clipwatch_worker_stuck", "store"] == 0
    assert told["clipwatch_changes_total", "reused"] == 2
    assert told["clipwatch_stage_seconds_sum", "verify"] == 7
    assert told["clipwatch_stage_seconds_count", "verify"] == 11
    assert told["clipwatch_stage_depth", "store"] == 3
    assert told["clipwatch_stage_busy_ratio", "encode"] == 0.9
    assert told["clipwatch_store_retries_total",] == 7
    assert told["clipwatch_store_unavailable_seconds_total",] == 2.5
    assert told["clipwatch_lag_seconds",] == 1.5
    assert told["clipwatch_loop_age_seconds",] == 0.5
    assert told["clipwatch_last_scan_timestamp_seconds", "images"] == 1e9
    assert told["clipwatch_state", "held"] == 1
    assert told["clipwatch_state", "watching"] == 0
    how = ("onnxruntime", "sha256:0", 'a "model"\n', "int8", "CPUExecutionProvider")
    assert told["clipwatch_model_info", "true", *how] == 1
    assert told["process_resident_memory_bytes",] > 0
    assert [name for name, *_ in told if name == "clipwatch_build_info"]


def test_what_is_not_known_has_no_sample() -> None:
    told = samples()
    assert ("clipwatch_last_scan_timestamp_seconds", "disk") not in told
    assert ("clipwatch_watch_healthy", "disk") not in told
    assert told["clipwatch_folder_up", "disk"] == 0
    assert told["clipwatch_folder_up", "images"] == 1


def test_a_status_that_cannot_be_had_is_an_error_not_a_zero() -> None:
    def status() -> Mapping[str, Any]:
        raise StoreUnavailable("The daemon is too busy to answer.")

    scrape = exposition(status, "1.2.3")
    with pytest.raises(StoreUnavailable):
        scrape()


def test_the_dashboard_and_the_alerts_name_only_metrics_that_exist() -> None:
    existing = {name for name, *_ in samples()}
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += re.findall(r"^\s+expr: (.+)$", (DOCS / "alerts.yml").read_text(), re.MULTILINE)
    named = {name for text in expressions for name in re.findall(r"\b(?:clipwatch|process)_\w+", text)}
    labels = {"clipwatch_state"}
    assert len(named) > 15
    assert named - existing - labels == set()


def test_the_longest_wait_is_that_of_the_file_that_stood_still_first() -> None:
    settling = Settling(settle_seconds=0.5)
    assert settling.waiting_since() is None
    for seconds, name in enumerate((b"a", b"b", b"c")):
        settling.observe(name, Signature(1, 1, 1), now=float(seconds))
    assert settling.waiting_since() == 0
    assert len(settling.ready(10)) == 3
    assert settling.waiting_since() == 0
    settling.forget(b"a")
    assert settling.waiting_since() == 1
    settling.observe(b"b", Signature(2, 2, 2), now=20.0)
    assert settling.waiting_since() == 2


def test_the_busiest_stage_is_the_bottleneck_unless_all_are_idle() -> None:
    assert bottleneck({"decode": 0.6, "encode": 0.9, "store": 0.2}) == "encode"
    assert bottleneck({"decode": 0.5, "encode": 0.1, "store": 0.2}) == "decode"
    assert bottleneck({"decode": 0.1, "encode": 0.49, "store": 0.2}) == ""
    assert bottleneck({}) == ""


def test_decoding_is_shared_by_its_workers_and_verifying_is_the_writers_work() -> None:
    seconds = {"decode": 16.0, "encode": 3.0, "store": 4.0, "verify": 1.0}
    assert busy_shares(seconds, 10, 4) == {"decode": 0.4, "encode": 0.3, "store": 0.5}
    assert busy_shares(seconds, 0, 4) == {}


def test_only_the_last_minute_counts() -> None:
    recent = RecentWork(decode_workers=1)

    def work(decode: float, encode: float) -> dict[str, float]:
        return {"decode": decode, "encode": encode, "store": 0.0, "verify": 0.0}

    assert recent.shares(0, work(0, 0)) == {}
    assert recent.shares(30, work(30, 0))["decode"] == 1
    assert recent.shares(60, work(30, 15))["decode"] == 0.5
    later = recent.shares(100, work(30, 55))
    assert bottleneck(later) == "encode"
    assert later["decode"] == 0
    assert recent.shares(100, work(30, 55)) == later
