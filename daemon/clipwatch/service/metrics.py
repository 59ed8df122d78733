"""The status as Prometheus reads it: made from one value at each scrape, so that no code has to count for it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from clipwatch.errors import RejectReason
from clipwatch.service.liveness import WORKERS
from clipwatch.service.status import STATES

Status = Mapping[str, Any]
Labelled = Iterable[tuple[str, float | None]]


class StatusCollector(Collector):
    """Asks for the status at each scrape."""

    def __init__(self, status: Callable[[], Status], version: str) -> None:
        self._status, self._version = status, version

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: there may be no status yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Raises whatever *status* raises."""
        status = self._status()
        yield InfoMetricFamily(
            "clipwatch_build",
            "The program that runs.",
            {"version": self._version, "python": platform.python_version()},
        )
        yield from families(status)


def exposition(status: Callable[[], Status], version: str) -> Callable[[], tuple[bytes, str]]:
    """What answers a scrape: text and its content type. A registry of its own, and the process's own figures."""
    registry = CollectorRegistry()
    registry.register(StatusCollector(status, version))
    ProcessCollector(registry=registry)
    return lambda: (generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)


def families(status: Status) -> Iterator[Metric]:
    """All metrics of a `status` answer."""
    yield from _whole(status)
    yield from _folders(status["watch"])
    yield from _stages(status["stages"])
    yield from _store(status["store"])
    model = status["model"]
    labels = {key: str(model.get(key, "")) for key in ("name", "fingerprint", "engine", "precision", "provider")}
    labels["demonstration"] = str(bool(model.get("demonstration"))).lower()
    yield InfoMetricFamily("clipwatch_model", "The model that makes the vectors.", labels)


def _whole(status: Status) -> Iterator[Metric]:
    yield StateSetMetricFamily(
        "clipwatch_state",
        "1 for the state of the daemon, the worst of its folders'.",
        {state: state == status["state"] for state in STATES},
    )
    yield _gauges(
        "clipwatch_images_total",
        "Images now, by state; held ones are points whose file is gone and whose delete is in doubt.",
        "state",
        ((key, status[key]) for key in ("points", "pending", "rejected", "ignored", "held")),
    )
    yield _gauges(
        "clipwatch_rejected",
        "Images without a point, by reason.",
        "reason",
        # A reason without a sample would come into being with its first image, which no rule can tell from growth.
        ((str(reason), status["rejected_by_reason"].get(str(reason), 0)) for reason in RejectReason),
    )
    yield GaugeMetricFamily(
        "clipwatch_images_put_aside",
        "Pending images that are left alone for a while: a process was ended while it worked on each alone.",
        status.get("put_aside", 0),
    )
    yield _gauges(
        "clipwatch_ignored",
        "Files that are passed over, by type; the commonest twenty types, and the rest as one.",
        "type",
        status["ignored_by_type"].items(),
    )
    yield _gauges(
        "clipwatch_undecodable",
        "Pictures in a format that cannot be decoded here, by format; they count as ignored.",
        "format",
        status["undecodable"].items(),
    )
    changes = CounterMetricFamily(
        "clipwatch_changes", "Points changed since the start, by what was done.", labels=["what"]
    )
    for what, number in status["done"].items():
        changes.add_metric([what], number)
    yield changes
    yield GaugeMetricFamily(
        "clipwatch_lag_seconds",
        "How long the file that has waited longest for its point has stood still, or been worked on; 0: none waits.",
        status["lag_seconds"],
    )
    yield CounterMetricFamily(
        "clipwatch_log_lines_lost", "Log lines that could not be written.", status.get("log", {}).get("lost", 0)
    )
    yield GaugeMetricFamily(
        "clipwatch_loop_age_seconds", "Since the daemon's loop last turned.", status.get("loop_age_seconds", 0.0)
    )
    yield _gauges(
        "clipwatch_worker_stuck",
        "1: it has work and has not moved for so long that only a restart helps.",
        "worker",
        ((worker, float(worker in status["stuck"])) for worker in WORKERS),
    )


def _folders(folders: Iterable[Status]) -> Iterator[Metric]:
    def of(value: Callable[[Status], float | None]) -> Labelled:
        return [(folder["name"], value(folder)) for folder in folders]

    gauges: tuple[tuple[str, str, Callable[[Status], float | None]], ...] = (
        (
            "clipwatch_folder_up",
            "0: the folder is missing or unreadable, or its points are another machine's.",
            lambda f: f["state"] not in ("folder-missing", "owned-elsewhere"),
        ),
        ("clipwatch_folder_images", "Images in the folder, rejected ones included.", lambda f: f["images"]),
        ("clipwatch_folder_points", "Points of the folder.", lambda f: f["points"]),
        ("clipwatch_deletes_held", "Deletes that wait for a later scan or `confirm`.", lambda f: f["held"]),
        (
            "clipwatch_unconfirmed",
            "Points that the store does not hold as they were written, or refuses without saying why.",
            lambda f: f["unconfirmed"],
        ),
        (
            "clipwatch_watch_healthy",
            "0: changes are not heard of as configured; scans still find them.",
            lambda f: f.get("healthy"),
        ),
        (
            "clipwatch_last_scan_timestamp_seconds",
            "When the last complete scan ended, since the epoch.",
            lambda f: f["last_scan"],
        ),
        ("clipwatch_last_scan_seconds", "How long the last complete scan took.", lambda f: f["last_scan_seconds"]),
    )
    for name, words, value in gauges:
        yield _gauges(name, words, "folder", of(value))


def _stages(stages: Status) -> Iterator[Metric]:
    times = SummaryMetricFamily(
        "clipwatch_stage_seconds",
        "Seconds of work and images, by stage; decoding is summed over its workers.",
        labels=["stage"],
    )
    for stage, seconds in stages["seconds"].items():
        times.add_metric([stage], stages["images"].get(stage, 0), seconds)
    yield times
    yield _gauges("clipwatch_stage_depth", "Images in or before a stage.", "stage", stages["depths"].items())
    yield _gauges(
        "clipwatch_stage_busy_ratio",
        "The share of the last minute for which a stage worked; the highest is the bottleneck.",
        "stage",
        stages["busy"].items(),
    )


def _store(store: Status) -> Iterator[Metric]:
    yield GaugeMetricFamily("clipwatch_store_up", "0: it does not answer, or refuses.", float(store["available"]))
    yield CounterMetricFamily("clipwatch_store_retries", "Requests to the store that were repeated.", store["retries"])
    yield CounterMetricFamily(
        "clipwatch_store_unavailable_seconds", "Seconds without an answer of the store.", store["unavailable_seconds"]
    )


def _gauges(name: str, words: str, label: str, values: Labelled) -> Metric:
    """One gauge for each label; what is None has no sample."""
    family = GaugeMetricFamily(name, words, labels=[label])
    for key, value in values:
        if value is not None:
            family.add_metric([key], float(value))
    return family
