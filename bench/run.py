"""`make bench`: measures clipwatch and its peers in one run, on one machine, with the same pictures and weights.

Prints as it goes; writes `bench/results/latest.json` and `latest.md`. What each figure means: docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
if __package__ in (None, ""):
    sys.path[0] = str(ROOT)

from bench import corpus, machine, make_vit, moments, reference, report, scale, throughput  # noqa: E402
from bench.home import BenchFailed  # noqa: E402

from clipwatch.model.cores import usable_cores  # noqa: E402

if TYPE_CHECKING:
    from bench.reference import Vectors

CACHE: Final = ROOT / "bench" / ".cache"
RESULTS: Final = ROOT / "bench" / "results"
PEERS_PYTHON: Final = ROOT / ".venv-bench" / "bin" / "python"
PARTS: Final = ("raw", "sync", "variants", "peers", "scale", "events", "starts")


def main() -> int:
    """Exit 1 where something that was to be measured was not (a peer that is missing is no reason)."""
    options = parse(sys.argv[1:])
    if options.write_docs:
        return write_docs()
    started = time.monotonic()
    bench = Bench(options, usable_cores())
    bench.results["machine"] = machine.describe(bench.cores)
    bench.results["command"] = shlex.join(["python", "bench/run.py", *sys.argv[1:]])
    for part in PARTS:
        if part in options.only:
            print(f"\n== {part}", flush=True)
            getattr(bench, part)()
            bench.write()
    print("\n" + report.markdown(bench.results))
    print(f"{time.monotonic() - started:.0f} s in all; {RESULTS / 'latest.md'}")
    return 1 if bench.results["troubles"] else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """What to measure, and how much of it."""
    parser = argparse.ArgumentParser(description="Measure clipwatch and its peers; see docs/performance.md.")
    parser.add_argument("--only", default=",".join(PARTS), metavar="PART,...", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="pictures of each kind (100)")
    parser.add_argument("--kinds", default=",".join(kind.name for kind in corpus.KINDS), help="of pictures")
    parser.add_argument("--quick", action="store_true", help="20 pictures, small folders: to see that all runs")
    parser.add_argument("--large", action="store_true", help="a folder of 1,000,000 files too: many minutes, 5 GB")
    parser.add_argument("--write-docs", action="store_true", help="put the last results into docs/performance.md")
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    options.kinds = options.kinds.split(",")
    if unknown := set(options.only) - set(PARTS) | set(options.kinds) - {kind.name for kind in corpus.KINDS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if options.quick:
        options.count = min(options.count, 20)
    return options


def write_docs() -> int:
    """From the last results."""
    results = json.loads((RESULTS / "latest.json").read_text(encoding="utf-8"))
    report.write_docs(ROOT / "docs" / "performance.md", results)
    return 0


@dataclass
class Bench:
    """One run: what is measured goes into *results*, part by part."""

    options: argparse.Namespace
    cores: int
    results: dict[str, Any] = field(default_factory=lambda: {"troubles": []})

    def __post_init__(self) -> None:
        CACHE.mkdir(exist_ok=True)
        RESULTS.mkdir(exist_ok=True)
        self.work = CACHE / "work"
        shutil.rmtree(self.work, ignore_errors=True)
        self.model = make_vit.make(CACHE / "vit-b-32.onnx")
        self.kinds = [kind for kind in corpus.KINDS if kind.name in self.options.kinds]

    # -- parts -----------------------------------------------------------------------------------------

    def raw(self) -> None:
        """Session and decoding, each alone."""
        folders = [self._pictures(kind) for kind in self.kinds]
        raw = self._try("raw", lambda: throughput.raw_costs(self.model, folders, self.work))
        if raw is not None:
            self.results["raw"] = raw
            self.results["bounds"] = {kind.name: throughput.bound(raw, kind.name, self.cores) for kind in self.kinds}
            print(json.dumps(raw, indent=1))

    def sync(self) -> None:
        """clipwatch, with each engine, on each corpus."""
        for kind in self.kinds:
            folder, truth = self._pictures(kind), self._truth(kind)
            for title, engine in throughput.CLIPWATCH_ENGINES:
                self._row(
                    throughput.clipwatch_row(title, engine, kind.name, folder, self.model, self.work, truth), ours=True
                )

    def variants(self) -> None:
        """What `model optimize` offers for this model on this machine."""
        pictures = self._pictures(next(kind for kind in corpus.KINDS if kind.name == "2mp"))
        self._note("variants", lambda: throughput.variants(self.work, pictures, self.model))

    def peers(self) -> None:
        """The others, on each corpus."""
        for kind in self.kinds:
            folder, truth = self._pictures(kind), self._truth(kind)
            for title, module in throughput.PEERS:
                row = throughput.peer_row(title, module, kind.name, folder, self.model, self.work, truth, PEERS_PYTHON)
                self._row(row, ours=False)

    def scale(self) -> None:
        """Many files."""
        quick = self.options.quick
        sizes = [1_000, 5_000] if quick else [1_000, 10_000, 100_000]
        if self.options.large:
            sizes.append(1_000_000)
        same = 2_000 if quick else 20_000
        self._note("second_sync", lambda: scale.second_sync(CACHE, same))
        self.results["looks"] = []
        for size in sizes:
            looked = self._try(f"looks at {size} files", lambda size=size: scale.look_at(CACHE, size))  # type: ignore[misc]
            if looked is not None:
                self.results["looks"].append(scale.as_json(looked))
                print(json.dumps(scale.as_json(looked)), flush=True)
        self._note("rename", lambda: scale.rename(CACHE, 1_000 if quick else scale.RENAMED))

    def events(self) -> None:
        """From a dropped file to its point."""
        pictures = self._pictures(next(kind for kind in corpus.KINDS if kind.name == "2mp"))
        drops = 20 if self.options.quick else 200
        self._note("events", lambda: moments.event_to_searchable(self.work, pictures, self.model, drops))

    def starts(self) -> None:
        """Starts and commands."""
        pictures = self._pictures(next(kind for kind in corpus.KINDS if kind.name == "2mp"))
        self._note("starts", lambda: moments.starts(self.work, pictures, self.model))

    # -- what they share ---------------------------------------------------------------------------------

    def _pictures(self, kind: corpus.Kind) -> Path:
        return corpus.make(CACHE, kind, self.options.count, processes=self.cores)

    def _truth(self, kind: corpus.Kind) -> Vectors:
        return reference.reference(CACHE, self.model, self._pictures(kind))

    def _row(self, row: throughput.Row, *, ours: bool) -> None:
        self.results.setdefault("throughput", []).append(throughput.as_json(row))
        if row.trouble and ours:
            self.results["troubles"].append(f"{row.program} on {row.corpus}: {row.trouble}")
        told = row.trouble or (
            f"{row.rate:6.1f} img/s, {row.images / row.seconds_all:5.1f} with start, "
            f"{row.cpu_seconds / row.images:.3f} CPU s an image, {row.peak_rss_bytes / 2**20:5.0f} MiB, "
            f"cosine {row.cosine[0]:.6f}, {row.note}"
        )
        print(f"{row.corpus:5} {row.program:32} {told}", flush=True)

    def _note(self, key: str, measure: Callable[[], Mapping[str, Any]]) -> None:
        result = self._try(key, measure)
        if result is not None:
            self.results[key] = result
            print(f"{key}: {json.dumps(result)}", flush=True)

    def _try(self, what: str, measure: Callable[[], Any]) -> Any:
        """What *measure* gives; None, and a line in the report, where it failed."""
        try:
            return measure()
        except (BenchFailed, OSError, LookupError, ValueError, StopIteration, subprocess.SubprocessError) as failed:
            told = f"{what}: {failed}" if isinstance(failed, BenchFailed) else f"{what}: {failed!r}"
            self.results["troubles"].append(told)
            print(told, flush=True)
            return None

    def write(self) -> None:
        """After each part, so that an interrupted run leaves what it has."""
        (RESULTS / "latest.json").write_text(json.dumps(self.results, indent=1), encoding="utf-8")
        (RESULTS / "latest.md").write_text(report.markdown(self.results), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
