"""`make bench`: measures clipwatch and its peers in one run, on one machine, with the same pictures and weights.

Prints as it goes; writes `bench/results/latest.json`, `latest.md` and the plots. What each figure means:
docs/performance.md. A run of some parts puts them beside those that the last run measured, where machine, code and
pictures are the same.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
if __package__ in (None, ""):
    sys.path[0] = str(ROOT)

from bench import corpus, kept, machine, make_vit, moments, reference, report, scale, throughput  # noqa: E402
from bench.home import BenchFailed  # noqa: E402
from bench.throughput import AUTO, FP32, INT8, PEERS, RCLIP, Corpus, Row  # noqa: E402

from clipwatch.model.cores import usable_cores  # noqa: E402

if TYPE_CHECKING:
    from bench.corpus import Kind

CACHE: Final = ROOT / "bench" / ".cache"
RESULTS: Final = ROOT / "bench" / "results"
PEERS_PYTHON: Final = ROOT / ".venv-bench" / "bin" / "python"
PARTS: Final = ("raw", "sync", "variants", "peers", "sizes", "scale", "events", "starts")
TURNS: Final = 3
"""Runs of clipwatch and of its nearest peer, by turns, so that a machine that tires or wakes does so for both."""

QUICK: Final = 20


def main() -> int:
    """Exit 1 where something that was to be measured was not (a peer that is missing is no reason)."""
    options = parse(sys.argv[1:])
    if options.write_docs:
        return write_docs()
    started = time.monotonic()
    bench = Bench(options, usable_cores())
    for part in PARTS:
        if part in options.only:
            print(f"\n== {part}", flush=True)
            bench.measure(part)
    print("\n" + report.markdown(bench.results))
    print(f"{time.monotonic() - started:.0f} s in all; {bench.file.with_suffix('.md')}")
    return 1 if any(bench.results["parts"][part]["troubles"] for part in options.only) else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """What to measure, and how much of it."""
    parser = argparse.ArgumentParser(description="Measure clipwatch and its peers; see docs/performance.md.")
    parser.add_argument("--only", default=",".join(PARTS), metavar="PART,...", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--count", type=int, metavar="N", help="pictures of each kind, other than its own number")
    parser.add_argument("--kinds", metavar="KIND,...", help=f"of {', '.join(kind.name for kind in corpus.KINDS)}")
    parser.add_argument("--quick", action="store_true", help="20 pictures, small folders: to see that all runs")
    parser.add_argument("--large", action="store_true", help="a folder of 1,000,000 files too: many minutes, 8 GB")
    parser.add_argument("--folders", type=Path, default=CACHE, metavar="DIR", help="where folders of many files lie")
    parser.add_argument("--write-docs", action="store_true", help="put the last results into docs/performance.md")
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    options.kinds = options.kinds.split(",") if options.kinds else None
    known = {kind.name for kind in corpus.KINDS}
    if unknown := set(options.only) - set(PARTS) | set(options.kinds or ()) - known:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return options


def write_docs() -> int:
    """From the last results, where they are whole."""
    last = kept.read(RESULTS / "latest.json")
    why = "there are none" if last is None else kept.why_not_published(last, PARTS)
    if last is None or why:
        print(f"These results are not for docs/performance.md: {why}.", file=sys.stderr)
        return 1
    report.write_docs(ROOT / "docs" / "performance.md", last)
    return 0


class Bench:
    """One run: what is measured goes into *results*, part by part."""

    def __init__(self, options: argparse.Namespace, cores: int) -> None:
        self.options, self.cores = options, cores
        CACHE.mkdir(exist_ok=True)
        RESULTS.mkdir(exist_ok=True)
        self.work = CACHE / "work"
        shutil.rmtree(self.work, ignore_errors=True)
        self.model = make_vit.make(CACHE / "vit-b-32.onnx")
        self.kinds = [kind for kind in corpus.KINDS if kind.name in (options.kinds or kind.name)]
        # A quick run is no result and replaces none.
        self.file = RESULTS / ("quick.json" if options.quick else "latest.json")
        self.run = {"command": shlex.join(["python", "bench/run.py", *sys.argv[1:]]), **machine.now()}
        self.results = self._begun()
        self.part: dict[str, Any] = {}

    def _begun(self) -> dict[str, Any]:
        new = {
            "machine": machine.describe(self.cores),
            "code": kept.code_of(ROOT),
            "commit": kept.commit_of(ROOT),
            "settings": {key: getattr(self.options, key) for key in ("quick", "count", "kinds")},
            "parts": {},
        }
        old = kept.read(self.file)
        begun = kept.continued(old, new)
        if old is not None and not begun["parts"]:
            before = self.file.with_stem(f"{self.file.stem}-before")
            print(f"The last results are of another machine, code or choice of pictures: kept as {before.name}.")
            self.file.replace(before)
        return begun

    def measure(self, part: str) -> None:
        """One part, written once it is whole: an interrupted one is no result."""
        self.part = {"run": self.run, "troubles": []}
        started = time.monotonic()
        self._try(part, getattr(self, part))
        self.part["run"] = {**self.run, "seconds": round(time.monotonic() - started)}
        self.results["parts"][part] = self.part
        self._write()

    # -- parts -----------------------------------------------------------------------------------------

    def raw(self) -> None:
        """Session and decoding, each alone."""
        folders = [self._pictures(kind) for kind in self.kinds]
        self._note(throughput.raw_costs(self.model, folders, self.work))

    def sync(self) -> None:
        """clipwatch, with each engine, on each corpus, and its nearest peer."""
        for kind in self.kinds:
            pictures = self._corpus(kind)
            runs: dict[str, list[Row]] = {}
            for _ in range(1 if self.options.quick else TURNS):
                for row in (self._clipwatch(FP32, "onnxruntime", pictures), self._peer(RCLIP, pictures)):
                    runs.setdefault(row.program, []).append(row)
            for rows in runs.values():
                self._row(throughput.median_of(rows))
            self._row(self._clipwatch(AUTO, "auto", pictures))
            self._row(self._int8_row(pictures))

    def variants(self) -> None:
        """What `model optimize` offers for this model on this machine."""
        self._note(throughput.variants(self.work, self._fewer(_kind("2mp"), 100), self.model))

    def peers(self) -> None:
        """The others, on the first half of each corpus: they take their time."""
        for kind in self.kinds:
            truth = self._truth(kind)
            folder = self._fewer(kind, self._count(kind) // 2)
            pictures = Corpus(kind.name, folder, {name: truth[name] for name in _names(folder)})
            for peer in PEERS:
                self._row(self._peer(peer, pictures))

    def sizes(self) -> None:
        """The rate against the size of a picture."""
        for kind in corpus.OTHER_SIZES:
            pictures = Corpus(kind.name, self._pictures(kind), None)
            self._row(self._clipwatch(FP32, "onnxruntime", pictures))
            self._row(self._int8_row(pictures))
            self._row(self._peer(RCLIP, pictures))

    def scale(self) -> None:
        """Many files."""
        quick = self.options.quick
        sizes = [1_000, 5_000] if quick else [1_000, 10_000, 100_000]
        if self.options.large:
            sizes.append(1_000_000)
        cache = self.options.folders
        arriving = self._fewer(_kind("2mp"), scale.ARRIVING)
        self._keep("second_sync", lambda: scale.second_sync(cache, 2_000 if quick else 20_000))
        looks = self.part["looks"] = []
        for size in sizes:
            looked = self._try(f"looks at {size} files", functools.partial(scale.look_at, cache, size, arriving))
            if looked is not None:
                looks.append(scale.as_json(looked))
                print(json.dumps(looks[-1]), flush=True)
        self._keep("rename", lambda: scale.rename(cache, 1_000 if quick else scale.RENAMED))

    def events(self) -> None:
        """From a dropped file to its point."""
        drops = 20 if self.options.quick else 200
        self._note(moments.event_to_searchable(self.work, self._pictures(_kind("2mp")), self.model, drops))

    def starts(self) -> None:
        """Starts and commands."""
        self._note(moments.starts(self.work, self._fewer(_kind("2mp"), 100), self.model))

    # -- what they share ---------------------------------------------------------------------------------

    def _count(self, kind: Kind) -> int:
        count: int = self.options.count or kind.count
        return min(count, QUICK) if self.options.quick else count

    def _fewer(self, kind: Kind, count: int) -> Path:
        return corpus.make(CACHE, kind, min(count, self._count(kind)), processes=self.cores)

    def _pictures(self, kind: Kind) -> Path:
        return self._fewer(kind, self._count(kind))

    def _truth(self, kind: Kind) -> reference.Vectors:
        return reference.reference(CACHE, self.model, self._pictures(kind))

    def _corpus(self, kind: Kind) -> Corpus:
        return Corpus(kind.name, self._pictures(kind), self._truth(kind))

    def _clipwatch(self, title: str, engine: str, pictures: Corpus) -> Row:
        return throughput.clipwatch_row(title, engine, pictures, self.model, self.work)

    def _int8_row(self, pictures: Corpus) -> Row:
        try:
            model = throughput.int8_copy(self.work, self._fewer(_kind("2mp"), 25), self.model)
        except BenchFailed as failed:
            return Row(INT8, pictures.name, trouble=f"not run: {failed}")
        return throughput.clipwatch_row(INT8, "auto", pictures, model, self.work)

    def _peer(self, peer: tuple[str, str], pictures: Corpus) -> Row:
        return throughput.peer_row(*peer, pictures, self.model, self.work, PEERS_PYTHON, self.cores)

    def _row(self, row: Row) -> None:
        self.part.setdefault("rows", []).append(throughput.as_json(row))
        if row.trouble and row.program in (FP32, AUTO, INT8):
            self.part["troubles"].append(f"{row.program} on {row.corpus}: {row.trouble}")
        told = row.trouble or (
            f"{row.rate:6.1f} img/s, {row.images / row.seconds_all:5.1f} with start, "
            f"{row.cpu_seconds / row.images:.3f} CPU s an image, {row.peak_rss_bytes / 2**20:5.0f} MiB, "
            f"{f'cosine {row.cosine[0]:.6f}, ' if row.cosine else ''}{row.note}"
        )
        print(f"{row.corpus:5} {row.program:36} {told}", flush=True)

    def _note(self, told: Mapping[str, Any]) -> None:
        self.part |= told
        print(json.dumps(told, indent=1), flush=True)

    def _keep(self, key: str, measure: Callable[[], Mapping[str, Any]]) -> None:
        told = self._try(key, measure)
        if told is not None:
            self.part[key] = told
            print(f"{key}: {json.dumps(told)}", flush=True)

    def _try(self, what: str, measure: Callable[[], Any]) -> Any:
        """What *measure* gives; None, and a line in the report, where it failed."""
        try:
            return measure()
        except (BenchFailed, OSError, LookupError, ValueError, StopIteration, subprocess.SubprocessError) as failed:
            told = f"{what}: {failed}" if isinstance(failed, BenchFailed) else f"{what}: {failed!r}"
            self.part["troubles"].append(told)
            print(told, flush=True)
            return None

    def _write(self) -> None:
        """After each part, so that an interrupted run leaves those before."""
        self.file.write_text(json.dumps(self.results, indent=1), encoding="utf-8")
        report.write(self.file.with_suffix(".md"), self.results)


def _kind(name: str) -> Kind:
    return next(kind for kind in corpus.KINDS if kind.name == name)


def _names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


if __name__ == "__main__":
    sys.exit(main())
