"""What clipwatch aims at, and whether it got there: figures of one report, each beside its limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from bench.corpus import KINDS
from bench.kept import Results
from bench.throughput import FP32, RCLIP, cost_alone

Row = Mapping[str, Any]
MIB: Final = 2**20
COSINE: Final = 0.999
WAITING: Final = 1.08
FASTEST: Final = {"12mp": 2.0, "2mp": 3.0}
"""Times rclip's rate, by the fastest engine whose vectors are the model's."""

LOOKS: Final = ((100_000, 1.0), (1_000_000, 10.0))
IDLE_FILES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Aim:
    """*sign*: how *value* should stand to *limit*; either is None where it was not measured.

    *detail*: whom or what the figure is of, where that is not said.
    """

    words: str
    limit: float | None
    value: float | None
    sign: Literal["≤", "<", "≥"] = "≤"
    detail: str = ""

    @property
    def verdict(self) -> str:
        if self.value is None or self.limit is None:
            return "not measured"
        met = {"≤": self.value <= self.limit, "<": self.value < self.limit, "≥": self.value >= self.limit}[self.sign]
        return "met" if met else "**missed**"


def aims(results: Results) -> Iterator[Aim]:
    """All of them, measured or not."""
    rows = throughput(results)
    yield from _waiting(results, rows)
    yield from _rclip(rows)
    yield _others(rows)
    yield from _memory(rows)
    yield _cosine(rows)
    yield from _scale(results["parts"].get("scale", {}))
    yield from _moments(results["parts"])


def throughput(results: Results) -> list[Row]:
    """The rows of clipwatch and of its peers."""
    parts = results["parts"]
    return [row for part in ("sync", "peers") for row in parts.get(part, {}).get("rows", [])]


def fastest_that_passes(rows: Sequence[Row], corpus: str) -> Row | None:
    """clipwatch's best rate with vectors that count as the model's."""
    good = [row for row in rows if _ours(row) and row["corpus"] == corpus and row["cosine"] and _passes(row)]
    return max(good, key=lambda row: float(row["images_per_second"]), default=None)


def waiting(results: Results, row: Row) -> float | None:
    """Wall time × cores over the CPU time that its two stages take alone: 1 where nothing ever waits."""
    raw = results["parts"].get("raw", {})
    if row["corpus"] not in raw.get("decode", {}):
        return None
    return float(results["machine"]["cores"]) / (float(row["images_per_second"]) * cost_alone(raw, row["corpus"]))


def bytes_an_image(looks: Sequence[Row]) -> float | None:
    """How much the daemon's own memory grows with the folder, between the smallest and the largest one."""
    ordered = sorted(looks, key=lambda look: int(look["images"]))
    if len(ordered) < 2:
        return None
    more = float(ordered[-1]["anonymous_bytes"] - ordered[0]["anonymous_bytes"])
    return more / (int(ordered[-1]["images"]) - int(ordered[0]["images"]))


def _waiting(results: Results, rows: Sequence[Row]) -> Iterator[Aim]:
    for kind in KINDS:
        row = _row(rows, FP32, kind.name)
        value = waiting(results, row) if row else None
        yield Aim(f"{kind.name}, fp32: wall × cores ÷ CPU time of the two stages alone", WAITING, value)


def _rclip(rows: Sequence[Row]) -> Iterator[Aim]:
    for kind in KINDS:
        peer, ours = _row(rows, RCLIP[0], kind.name), _row(rows, FP32, kind.name)
        yield Aim(f"{kind.name}, fp32: × rclip's rate", 1.0, _ratio(ours, peer), "≥")
    for corpus, limit in FASTEST.items():
        ours = fastest_that_passes(rows, corpus)
        value = _ratio(ours, _row(rows, RCLIP[0], corpus))
        detail = str(ours["program"]) if ours else ""
        yield Aim(f"{corpus}, the fastest engine that passes: × rclip's rate", limit, value, "≥", detail)


def _others(rows: Sequence[Row]) -> Aim:
    ours = _row(rows, FP32, "12mp")
    peers = [row for row in _peers(rows, "12mp") if row["program"] != RCLIP[0]]
    best = max(peers, key=lambda row: float(row["images_per_second"]), default=None)
    detail = str(best["program"]) if best else ""
    return Aim("12mp, fp32: × the rate of the best other peer", 3.0, _ratio(ours, best), "≥", detail)


def _memory(rows: Sequence[Row]) -> Iterator[Aim]:
    for kind in KINDS:
        ours, peers = _row(rows, FP32, kind.name), _peers(rows, kind.name)
        least = min(peers, key=lambda row: int(row["peak_rss_bytes"]), default=None)
        value = ours["peak_rss_bytes"] / MIB if ours else None
        limit, detail = (least["peak_rss_bytes"] / MIB, str(least["program"])) if least else (None, "")
        yield Aim(f"{kind.name}, fp32: peak RSS in MiB, below each peer's", limit, value, "<", detail)


def _cosine(rows: Sequence[Row]) -> Aim:
    """Of float32 and of whatever counts as the fastest: an engine that does not pass is not taken by itself."""
    judged = [row for row in rows if row["program"] == FP32 and row["cosine"]]
    judged += [row for kind in KINDS if (row := fastest_that_passes(rows, kind.name))]
    return Aim(
        "cosine to the reference, the lowest of all pictures",
        COSINE,
        min((float(row["cosine"][0]) for row in judged), default=None),
        "≥",
    )


def _scale(scale: Row) -> Iterator[Aim]:
    looks = {int(look["images"]): look for look in scale.get("looks", [])}
    for images, limit in LOOKS:
        yield Aim(f"a look at {images:,} unchanged files, s", limit, _of(looks.get(images), "look_seconds"))
    yield Aim("memory of the daemon, bytes an image", 150.0, bytes_an_image(list(looks.values())))
    idle = _of(looks.get(IDLE_FILES), "idle_cpu_percent")
    yield Aim(f"idle with {IDLE_FILES:,} files, % of a core", 0.2, idle)
    renamed = scale.get("rename")
    yield Aim("10,000 files renamed by one `mv`, s", 10.0, _of(renamed, "seconds"), "<")
    yield Aim("inferences for them", 0.0, _of(renamed, "inferences"))


def _moments(parts: Mapping[str, Row]) -> Iterator[Aim]:
    waits, starts = parts.get("events"), parts.get("starts")
    beyond = _of(waits, "beyond_settle_and_inference_p99_seconds")
    yield Aim("event to searchable, p99, s beyond the settle time and the picture's inference", 0.05, beyond)
    for key, words, limit in (
        ("run_to_ready_seconds", "`run` to ready, ViT-B/32, ONNX Runtime, s", 1.5),
        ("run_to_ready_auto_seconds", "the same with engine = auto, s", 1.5),
        ("status_with_daemon_seconds", "`status`, s", 0.2),
        ("status_without_daemon_seconds", "`status` without a daemon, s", 0.2),
        ("help_seconds", "`--help`, s", 0.2),
    ):
        yield Aim(words, limit, _of(starts, key))


def _row(rows: Sequence[Row], program: str, corpus: str) -> Row | None:
    return next((row for row in _ran(rows, corpus) if row["program"] == program), None)


def _peers(rows: Sequence[Row], corpus: str) -> list[Row]:
    return [row for row in _ran(rows, corpus) if not _ours(row)]


def _ran(rows: Sequence[Row], corpus: str) -> list[Row]:
    return [row for row in rows if row["corpus"] == corpus and not row["trouble"]]


def _ours(row: Row) -> bool:
    return str(row["program"]).startswith("clipwatch")


def _passes(row: Row) -> bool:
    return bool(row["cosine"][0] >= COSINE)


def _ratio(ours: Row | None, theirs: Row | None) -> float | None:
    return ours["images_per_second"] / theirs["images_per_second"] if ours and theirs else None


def _of(row: Row | None, key: str) -> float | None:
    return float(row[key]) if row and row.get(key) is not None else None
