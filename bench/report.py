"""Results as people read them: Markdown, plots, and the measured part of `docs/performance.md`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.aims import Aim, aims, bytes_an_image, throughput, waiting
from bench.corpus import KINDS, OTHER_SIZES
from bench.kept import Results
from bench.plot import line_plot
from bench.throughput import FP32, INT8, RCLIP, cost_alone

BEGIN: Final = "<!-- measured: begin (written by `bench/run.py --write-docs`; what stands here is replaced) -->"
END: Final = "<!-- measured: end -->"
MIB: Final = 2**20
_DRAWN: Final = {FP32: "clipwatch, fp32", INT8: "clipwatch, int8", RCLIP[0]: "rclip, fp32"}
_STARTS: Final = (
    ("run_to_ready_seconds", "`run` to `daemon.ready`, ViT-B/32, ONNX Runtime"),
    ("run_to_ready_auto_seconds", "`run` to `daemon.ready`, ViT-B/32, engine = auto"),
    ("run_to_ready_demonstration_seconds", "`run` to `daemon.ready`, demonstration model"),
    ("stop_seconds", "SIGTERM to the end of the process, idle"),
    ("status_with_daemon_seconds", "`status --json` with a daemon"),
    ("status_without_daemon_seconds", "`status --json` without one (opens the store)"),
    ("search_image_with_daemon_seconds", "`search --image` with a daemon"),
    ("help_seconds", "`--help`"),
    ("python_alone_seconds", "the interpreter alone, for comparison"),
)
_EVENTS: Final = (
    ("p50_seconds", "p50"),
    ("p99_seconds", "p99"),
    ("beyond_settle_p50_seconds", "p50 beyond the settle time"),
    ("beyond_settle_p99_seconds", "p99 beyond the settle time"),
    ("inference_p50_seconds", "of which inference, p50"),
    ("inference_p99_seconds", "of which inference, p99"),
    ("beyond_settle_and_inference_p99_seconds", "p99 beyond the settle time and the picture's own inference"),
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown(results: Results) -> str:
    """The whole report; parts that were not run are left out."""
    parts = [*_head(results), *_aims(results)]
    measured = results["parts"]
    for part, write in (
        ("raw", _raw),
        ("sync", _throughput),
        ("variants", _variants),
        ("scale", _scale),
        ("events", _events),
        ("starts", _starts),
    ):
        if part in measured or (part == "sync" and "peers" in measured):
            parts += write(results)
    troubles = [line for part in measured.values() for line in part["troubles"]]
    if troubles:
        parts += ["### Not measured", "\n".join(f"- {line}" for line in troubles)]
    return "\n\n".join(parts) + "\n"


def _head(results: Results) -> Iterator[str]:
    yield "Machine: " + "; ".join(f"{key} {value}" for key, value in results["machine"].items()) + "."
    runs: dict[str, list[str]] = {}
    for part, told in results["parts"].items():
        run = told["run"]
        words = f"`{run['command']}`, {run['date']}, load before it {run['load']}"
        runs.setdefault(words, []).append(part)
    lines = [f"- {words}: {', '.join(parts)}" for words, parts in runs.items()]
    yield f"Commit {results['commit'] or 'unknown'}; measured by"
    yield "\n".join(lines)


def _aims(results: Results) -> Iterator[str]:
    yield "### Aims"
    yield table(
        ["", "aim", "measured", ""],
        [
            [
                f"{aim.words} ({aim.detail})" if aim.detail else aim.words,
                f"{aim.sign} {_figure(aim, aim.limit)}" if aim.limit is not None else "",
                _figure(aim, aim.value) if aim.value is not None else "",
                aim.verdict,
            ]
            for aim in aims(results)
        ],
    )


def _figure(aim: Aim, value: float) -> str:
    """With as many digits as it takes to tell it from the limit; a limit as short as it is."""
    if value == aim.limit:
        return f"{value:g}" if value < 100 else f"{value:.0f}"
    if aim.limit is None or aim.limit >= 100:
        return f"{value:.0f}"
    digits = 6 if aim.words.startswith("cosine") else 3 if 0 < aim.limit < 1 else 2
    return f"{value:.{digits}f}"


def _again(*parts: str, kind: str = "", large: bool = False) -> str:
    """The command that measures a section anew."""
    command = ["python", "bench/run.py", "--only", ",".join(parts)]
    command += ["--kinds", kind] if kind else []
    command += ["--large"] if large else []
    return f"Again: `{shlex.join(command)}`"


def _raw(results: Results) -> Iterator[str]:
    raw = results["parts"]["raw"]
    if "session" not in raw:
        return
    costs = [("raw session, batches of 25, pixels in memory", raw["session"])]
    for corpus, decoded in raw["decode"].items():
        costs += [(f"decode {corpus}, {name}, one thread", cost) for name, cost in decoded.items()]
    yield "### The parts alone"
    yield table(
        ["", "img/s", "best img/s", "CPU ms an image"],
        [
            [
                words,
                f"{cost['images_per_second']:.1f}",
                f"{cost['best_images_per_second']:.1f}",
                f"{1000 * cost['cpu_seconds_per_image']:.1f}",
            ]
            for words, cost in costs
        ],
    )
    yield _again("raw")


def _throughput(results: Results) -> Iterator[str]:
    all_rows = throughput(results)
    for kind in KINDS:
        rows = [row for row in all_rows if row["corpus"] == kind.name]
        if not rows:
            continue
        yield f"### {kind.title}: {max(row['images'] for row in rows)} pictures"
        best = next((row["images_per_second"] for row in rows if row["program"] == RCLIP[0]), 0.0)
        yield table(
            ["program", "img/s", "× rclip", "img/s with start", "CPU s an image", "peak RSS MiB", "cosine min", "mean"],
            [_row(row, best) for row in rows if not row["trouble"]],
        )
        ours = next((row for row in rows if row["program"] == FP32 and not row["trouble"]), None)
        ratio = waiting(results, ours) if ours else None
        if ratio is not None:
            bound = float(results["machine"]["cores"]) / cost_alone(results["parts"]["raw"], kind.name)
            yield (
                f"Where nothing waits, two stages of this cost allow {bound:.1f} img/s; "
                f"clipwatch in fp32 takes {ratio:.2f} times as long."
            )
        notes = [
            f"- {row['program']}: {row['trouble'] or row['note']}" for row in rows if row["trouble"] or row["note"]
        ]
        if notes:
            yield "\n".join(notes)
        yield _again("raw", "sync", "peers", kind=kind.name)


def _row(row: Mapping[str, Any], best: float) -> list[str]:
    rate, images = row["images_per_second"], row["images"]
    cosine = [f"{value:.6f}" for value in row["cosine"]] or ["", ""]
    return [
        row["program"],
        f"{rate:.1f}",
        f"{rate / best:.2f}" if best else "",
        f"{images / row['seconds_all']:.1f}",
        f"{row['cpu_seconds'] / images:.3f}",
        f"{row['peak_rss_bytes'] / MIB:.0f}",
        *cosine,
    ]


def _variants(results: Results) -> Iterator[str]:
    told = results["parts"]["variants"]
    rows = told.get("rows")
    if not rows:
        return
    yield f"### Variants of one model: `clipwatch model optimize` on {told['pictures']} pictures of 2 megapixels"
    original = rows[0]["images_per_second"]
    yield table(
        ["variant", "img/s, inference alone", "× original", "cosine mean", "min", "MB"],
        [
            [
                row["variant"],
                f"{row['images_per_second']:.1f}",
                f"{row['images_per_second'] / original:.2f}",
                f"{row['cosine_mean']:.6f}",
                f"{row['cosine_min']:.6f}",
                f"{row['size_bytes'] / 1e6:.1f}",
            ]
            for row in rows
            if row["images_per_second"] is not None
        ],
    )
    notes = [f"- {row['variant']}: {row['note']}" for row in rows if row["note"]]
    if notes:
        yield "\n".join(notes)
    yield _again("variants")


def _scale(results: Results) -> Iterator[str]:
    scale = results["parts"]["scale"]
    for key, write in (("second_sync", _second_sync), ("looks", _looks), ("rename", _rename)):
        if scale.get(key):
            yield from write(scale[key])
    yield _again("scale", large=any(look["images"] >= 1_000_000 for look in scale.get("looks", [])))


def _second_sync(told: Mapping[str, Any]) -> Iterator[str]:
    yield "### Nothing to do"
    yield (
        f"A second `clipwatch sync` over {told['images']:,} unchanged files, the whole command: "
        f"{told['seconds']:.2f} s, {told['cpu_seconds']:.2f} s of CPU."
    )


def _looks(looks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "### A daemon's look at unchanged files"
    head = [
        "files",
        "look s",
        "ledger read s",
        "`sync` s",
        "start to first look s",
        "RSS MiB",
        "engine MiB",
        "idle CPU %",
        "new pictures/s",
    ]
    yield table(
        head,
        [
            [
                f"{look['images']:,}",
                f"{look['look_seconds']:.3f}",
                f"{look['ledger_seconds']:.2f}",
                f"{look['sync_seconds']:.2f}",
                f"{look['start_seconds']:.2f}",
                f"{look['rss_bytes'] / MIB:.0f}",
                f"{look['engine_rss_bytes'] / MIB:.0f}",
                f"{look['idle_cpu_percent']:.2f}",
                f"{look['arrivals_per_second']:.0f}",
            ]
            for look in looks
        ],
    )
    grown = bytes_an_image(looks)
    if grown is not None:
        yield f"Memory of the daemon beyond its base: {grown:.0f} bytes an image."


def _rename(told: Mapping[str, Any]) -> Iterator[str]:
    yield "### A folder renamed"
    yield (
        f"{told['images']:,} files by one `mv`: {told['seconds']:.1f} s until all points have moved, "
        f"{told['inferences']:.0f} inferences."
    )


def _events(results: Results) -> Iterator[str]:
    told = results["parts"]["events"]
    if "drops" not in told:
        return
    yield "### From the event to searchable"
    yield f"{told['drops']:.0f} JPEGs of 2 megapixels dropped one by one on an idle daemon, ViT-B/32 in fp32:"
    yield table(["", "ms"], [[words, f"{1000 * told[key]:.0f}"] for key, words in _EVENTS])
    yield _again("events")


def _starts(results: Results) -> Iterator[str]:
    told = results["parts"]["starts"]
    yield "### Starts and commands"
    yield table(["median of 5", "s"], [[words, f"{told[key]:.3f}"] for key, words in _STARTS if key in told])
    yield _again("starts")


def plots(results: Results) -> dict[str, str]:
    """SVG documents by file name."""
    size = {kind.name: kind.megapixels for kind in (*KINDS, *OTHER_SIZES) if kind.quality}
    rates: dict[str, list[tuple[float, float]]] = {}
    for row in (*throughput(results), *results["parts"].get("sizes", {}).get("rows", [])):
        if row["program"] in _DRAWN and row["corpus"] in size and not row["trouble"]:
            rates.setdefault(_DRAWN[row["program"]], []).append((size[row["corpus"]], row["images_per_second"]))
    looks = results["parts"].get("scale", {}).get("looks", [])

    def against_size(columns: Mapping[str, str], unit: float = 1) -> dict[str, list[tuple[float, float]]]:
        return {name: [(look["images"], look[key] / unit) for look in looks] for name, key in columns.items()}

    files = "files in the folder"
    arrivals = against_size({"new pictures indexed": "arrivals_per_second"})
    times = against_size({"look": "look_seconds", "ledger read": "ledger_seconds", "whole sync": "sync_seconds"})
    memory = against_size({"daemon RSS": "rss_bytes", "its anonymous part": "anonymous_bytes"}, MIB)
    drawn = {
        "rate.svg": line_plot("Rate against picture size (JPEG)", "megapixels", "images a second", rates),
        "arrivals.svg": line_plot("Rate against folder size", files, "images a second", arrivals),
        "looks.svg": line_plot("A look at unchanged files", files, "seconds", times),
        "memory.svg": line_plot("Memory against folder size", files, "MiB", memory),
    }
    return {name: text for name, text in drawn.items() if text}


def write(file: Path, results: Results) -> None:
    """The report, and its plots beside it."""
    for name, text in plots(results).items():
        (file.parent / name).write_text(text, encoding="utf-8")
    file.write_text(markdown(results), encoding="utf-8")


def write_docs(page: Path, results: Results) -> None:
    """Put the report between the page's marks, and the plots beside it in a folder of the page's name."""
    folder = page.with_suffix("")
    folder.mkdir(exist_ok=True)
    drawn = plots(results)
    for name, text in drawn.items():
        (folder / name).write_text(text, encoding="utf-8")
    pictures = "".join(f"\n![{name.removesuffix('.svg')}]({folder.name}/{name})\n" for name in drawn)
    page.write_text(replaced(page.read_text(encoding="utf-8"), f"{markdown(results)}{pictures}"), encoding="utf-8")


def replaced(page: str, measured: str) -> str:
    """*page* with what is between its marks replaced. Raises `ValueError` where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("The page has no marks for the measured part.")
    return f"{before}{BEGIN}\n\n{measured}\n{END}{after}"
