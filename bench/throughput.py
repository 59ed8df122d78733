"""Pictures to vectors, end to end: clipwatch as installed, and its peers, each a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from bench.home import SETTLE_SECONDS, BenchFailed, Event, Home, moment
from bench.measure import Cost, run_measured
from bench.reference import Vectors, cosines, load

from clipwatch.libraries import SWITCHES

PEER_SECONDS: Final = 420.0
FP32: Final = "clipwatch (ONNX Runtime, fp32)"
AUTO: Final = "clipwatch (engine = auto)"
INT8: Final = "clipwatch (model optimize --use int8)"
RCLIP: Final = ("rclip 4.0.8", "with_rclip")
PEERS: Final = (
    ("plain script", "plain"),
    ("fastembed", "with_fastembed"),
    ("fastembed (parallel = cores)", "with_fastembed_parallel"),
    ("transformers", "with_transformers"),
    ("clip-retrieval", "with_clip_retrieval"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One program on one corpus.

    *seconds* leaves start, imports and loading out; *seconds_all* is the life of the process. *cpu_seconds* is of all
    of it. *cosine*: min and mean to the reference, empty where it left no vectors. *trouble*: why it did not run.
    """

    program: str
    corpus: str
    images: int = 0
    seconds: float = 0.0
    seconds_all: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss_bytes: int = 0
    cosine: tuple[float, ...] = ()
    note: str = ""
    trouble: str = ""

    @property
    def rate(self) -> float:
        """Images a second without the start; 0 where it did not run."""
        return self.images / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Corpus:
    """Pictures by the name of their kind. *truth*: what their vectors should be; None where nobody asks."""

    name: str
    folder: Path
    truth: Vectors | None


def clipwatch_row(title: str, engine: str, corpus: Corpus, model: Path, work: Path) -> Row:
    """One `sync` of *corpus* into an empty embedded store."""
    folder = corpus.folder
    home = Home.make(work / f"sync-{engine}-{corpus.name}", images=folder, model=model, engine=engine)
    images = sum(1 for _ in folder.iterdir())
    try:
        cost, answer, events = home.measured("--log-level", "info", "sync", "--json")
        counts = json.loads(answer)
        if counts["embedded"] != images:
            raise BenchFailed(f"{counts['embedded']} of {images} images embedded: {counts}")
        cosine = agreement(exported(home), corpus.truth)
    except (BenchFailed, ValueError, LookupError) as failed:
        return Row(title, corpus.name, trouble=f"failed: {failed}")
    loaded = next(event for event in events if event["event"] == "model.loaded")
    row = Row(
        title,
        corpus.name,
        images,
        working_seconds(events),
        cost.seconds,
        cost.cpu_seconds,
        cost.peak_rss_bytes,
        cosine,
        note=", ".join(str(loaded[key]) for key in ("engine", "precision") if loaded.get(key)),
    )
    shutil.rmtree(home.path)
    return row


def working_seconds(events: Sequence[Event]) -> float:
    """From the moment the files found by the first scan may be read to the last batch's verification."""
    scanned = next(event for event in events if event["event"] == "scan.finished")
    verified = [event for event in events if event["event"] == "batch.verified"]
    return moment(verified[-1]) - moment(scanned) - SETTLE_SECONDS


def exported(home: Home) -> Vectors:
    """Every stored vector by its path."""
    lines = home.measured("export", "--vectors")[1].splitlines()
    points: Iterator[dict[str, Any]] = (json.loads(line) for line in lines)
    return {point["path"]: np.asarray(point["vector"], np.float32) for point in points}


def median_of(rows: Sequence[Row]) -> Row:
    """The run with the middle rate, with the largest memory of all; where none ran, why."""
    ran = sorted((row for row in rows if not row.trouble), key=lambda row: row.rate)
    if not ran:
        return rows[0]
    rates = f"median of {', '.join(f'{row.rate:.1f}' for row in ran)} img/s"
    middle = ran[(len(ran) - 1) // 2]
    note = "; ".join(filter(None, (middle.note, rates if len(ran) > 1 else "")))
    return replace(middle, peak_rss_bytes=max(row.peak_rss_bytes for row in ran), note=note)


def int8_copy(work: Path, pictures: Path, model: Path) -> Path:
    """*model* again, switched to int8 as a user would. Raises `BenchFailed` where the gate forbids it."""
    folder = work / "int8-model"
    copy = folder / model.name
    if not copy.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model, copy)
        home = Home.make(work / "int8", images=pictures, model=copy, engine="auto")
        try:
            home.measured("model", "optimize", "--use", "int8", "--json")
        except BenchFailed:
            copy.unlink()
            raise
    return copy


def variants(work: Path, pictures: Path, model: Path) -> dict[str, Any]:
    """The answer of `model optimize`; nothing is switched."""
    home = Home.make(work / "variants", images=pictures, model=model, engine="auto")
    told: dict[str, Any] = home.answer("model", "optimize")
    shutil.rmtree(home.path)
    return told


def peer_row(title: str, module: str, corpus: Corpus, model: Path, work: Path, python: Path, cores: int) -> Row:
    """One peer's program on *corpus*."""
    if not python.exists():
        return Row(title, corpus.name, trouble=f"not run: {python} is missing; `make bench` makes it")
    converted = converted_weights(model, work.parent, python)
    output = work / f"{module}-{corpus.name}"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    told = (str(model), str(corpus.folder), str(output), str(converted), str(cores))
    cost = run_measured(
        [str(python), "-m", f"bench.peers.{module}", *told],
        cwd=Path(__file__).parents[1],
        output=output / "stdout",
        errors=output / "stderr",
        timeout_seconds=PEER_SECONDS,
        environment=offline(),
    )
    row = finished_peer(title, corpus, output, cost)
    if not row.trouble:
        shutil.rmtree(output)
    return row


def converted_weights(model: Path, cache: Path, python: Path) -> Path:
    """The tower in the peers' own forms, made once. What fails in it shows as trouble of the peers that need it."""
    folder = cache / "peers"
    if not (folder / "made").exists():
        folder.mkdir(exist_ok=True)
        print("converting the weights for the peers", flush=True)
        done = subprocess.run(
            [str(python), "-m", "bench.peers.weights", str(model), str(folder)],
            cwd=Path(__file__).parents[1],
            env=offline(),
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode == 0:
            (folder / "made").touch()
    return folder


def finished_peer(title: str, corpus: Corpus, output: Path, cost: Cost) -> Row:
    """What it told, or why it told nothing."""
    if cost.timed_out:
        return Row(title, corpus.name, trouble=f"not run: it took more than {PEER_SECONDS:.0f} s")
    if cost.status != 0 or not (output / "result.json").exists():
        tail = (output / "stderr").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        return Row(title, corpus.name, trouble=f"not run: exit {cost.status}: {' '.join(tail)[:200]}")
    try:
        cosine = agreement(load(output / "vectors.npz"), corpus.truth)
    except BenchFailed as failed:
        return Row(title, corpus.name, trouble=f"failed: {failed}")
    told = json.loads((output / "result.json").read_text(encoding="utf-8"))
    return Row(
        title,
        corpus.name,
        told["images"],
        told["seconds"],
        cost.seconds,
        cost.cpu_seconds,
        cost.peak_rss_bytes,
        cosine,
        note=told["note"],
    )


def agreement(vectors: Vectors, truth: Vectors | None) -> tuple[float, ...]:
    """(min, mean) cosine over all pictures of *truth*. Raises `BenchFailed` where one has no vector."""
    if truth is None:
        return ()
    if vectors.keys() != truth.keys():
        raise BenchFailed(f"{len(vectors)} vectors for {len(truth)} pictures")
    values = cosines(vectors, truth)
    return (float(values.min()), float(values.mean()))


def raw_costs(model: Path, folders: Sequence[Path], work: Path) -> dict[str, Any]:
    """`bench.raw`, in a process of its own."""
    work.mkdir(parents=True, exist_ok=True)
    output, errors = work / "raw.json", work / "raw.log"
    cost = run_measured(
        [sys.executable, "-m", "bench.raw", str(model), *map(str, folders)],
        cwd=Path(__file__).parents[1],
        output=output,
        errors=errors,
        timeout_seconds=PEER_SECONDS,
    )
    if cost.status != 0:
        raise BenchFailed(f"bench.raw: exit {cost.status}: {errors.read_text(encoding='utf-8')[-300:]}")
    answer: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return answer


def cost_alone(raw: Mapping[str, Any], corpus: str) -> float:
    """CPU seconds an image of scaled decoding and of the raw session, each measured alone."""
    decode: float = raw["decode"][corpus]["scaled"]["cpu_seconds_per_image"]
    session: float = raw["session"]["cpu_seconds_per_image"]
    return decode + session


def offline() -> dict[str, str]:
    """The environment with every hub told to stay silent, and no library sending anything on its own."""
    return {**os.environ, **SWITCHES, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def as_json(row: Row) -> dict[str, Any]:
    """With its rate."""
    return {**asdict(row), "images_per_second": row.rate}
