"""Results as people read them: Markdown, plots, and the measured part of `docs/performance.md`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.corpus import KINDS
from bench.plot import line_plot

BEGIN: Final = "<!-- measured: begin (written by `bench/run.py --write-docs`; what stands here is replaced) -->"
END: Final = "<!-- measured: end -->"
Results = Mapping[str, Any]

MIB: Final = 2**20
_STARTS: Final = (
    ("run_to_ready_seconds", "`run` to `daemon.ready`, ViT-B/32 fp32 (aim: ≤ 1.5)"),
    ("run_to_ready_demonstration_seconds", "`run` to `daemon.ready`, demonstration model"),
    ("stop_seconds", "SIGTERM to the end of the process, idle"),
    ("status_with_daemon_seconds", "`status --json` with a daemon (aim: ≤ 0.2)"),
    ("status_without_daemon_seconds", "`status --json` without one (opens the store)"),
    ("search_image_with_daemon_seconds", "`search --image` with a daemon"),
    ("help_seconds", "`--help` (aim: ≤ 0.2)"),
    ("python_alone_seconds", "the interpreter alone, for comparison"),
)
_EVENTS: Final = (
    ("p50_seconds", "p50"),
    ("p99_seconds", "p99"),
    ("beyond_settle_p50_seconds", "p50 beyond the settle time"),
    ("beyond_settle_p99_seconds", "p99 beyond the settle time"),
    ("inference_p50_seconds", "of which inference, p50"),
    ("beyond_settle_and_inference_p99_seconds", "p99 beyond settle time and one inference (aim: ≤ 0.05)"),
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown(results: Results) -> str:
    """The whole report; parts that were not run are left out."""
    parts = [
        "Machine: " + "; ".join(f"{key} {value}" for key, value in results["machine"].items()) + ".",
        f"Command: `{results['command']}`.",
    ]
    for key, write in (
        ("raw", _raw),
        ("throughput", _throughput),
        ("variants", _variants),
        ("second_sync", _second_sync),
        ("looks", _looks),
        ("rename", _rename),
        ("events", _events),
        ("starts", _starts),
    ):
        if results.get(key):
            parts += write(results)
    if results.get("troubles"):
        parts += ["### Not measured", "\n".join(f"- {line}" for line in results["troubles"])]
    return "\n\n".join(parts) + "\n"


def _raw(results: Results) -> Iterator[str]:
    raw = results["raw"]
    session = raw["session"]
    yield "### The parts alone"
    rows = [
        [
            "raw session, batches of 25, pixels in memory",
            f"{session['images_per_second']:.1f}",
            f"{session['best_images_per_second']:.1f}",
            f"{1000 * session['cpu_seconds_per_image']:.1f}",
        ]
    ]
    for corpus, costs in raw["decode"].items():
        for name, cost in costs.items():
            rows.append(
                [
                    f"decode {corpus}, {name}, one thread",
                    f"{cost['images_per_second']:.1f}",
                    f"{cost['best_images_per_second']:.1f}",
                    f"{1000 * cost['cpu_seconds_per_image']:.1f}",
                ]
            )
    yield table(["", "img/s", "best img/s", "CPU ms an image"], rows)


def _throughput(results: Results) -> Iterator[str]:
    bounds = results.get("bounds", {})
    for kind in KINDS:
        rows = [row for row in results["throughput"] if row["corpus"] == kind.name]
        if not rows:
            continue
        yield f"### {kind.title}: {max(row['images'] for row in rows)} pictures"
        best = next((row["images_per_second"] for row in rows if row["program"].startswith("rclip")), 0.0)
        yield table(
            ["program", "img/s", "× rclip", "img/s with start", "CPU s an image", "peak RSS MiB", "cosine min", "mean"],
            [_row(row, best) for row in rows if not row["trouble"]],
        )
        if kind.name in bounds:
            bound = bounds[kind.name]
            ours = next((row["images_per_second"] for row in rows if "fp32" in row["program"]), 0.0)
            used = f"; clipwatch in fp32 reaches {100 * ours / bound:.0f} %" if ours else ""
            yield f"Where nothing waits, two stages of this cost allow {bound:.1f} img/s{used} (aim: ≥ 93 %)."
        notes = [
            f"- {row['program']}: {row['trouble'] or row['note']}" for row in rows if row["trouble"] or row["note"]
        ]
        if notes:
            yield "\n".join(notes)


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
    told = results["variants"]
    rows = told["rows"]
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


def _second_sync(results: Results) -> Iterator[str]:
    told = results["second_sync"]
    yield "### Nothing to do"
    yield (
        f"A second `clipwatch sync` over {told['images']:,} unchanged files, the whole command: "
        f"{told['seconds']:.2f} s, {told['cpu_seconds']:.2f} s of CPU."
    )


def _looks(results: Results) -> Iterator[str]:
    looks = results["looks"]
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
            ]
            for look in looks
        ],
    )
    grown = bytes_an_image(looks)
    if grown is not None:
        yield f"Memory of the daemon beyond its base: {grown:.0f} bytes an image (aim: ≤ 150)."


def bytes_an_image(looks: Sequence[Mapping[str, Any]]) -> float | None:
    """How much the daemon's own memory grows with the folder, between the smallest and the largest one."""
    ordered = sorted(looks, key=lambda look: int(look["images"]))
    if len(ordered) < 2:
        return None
    more = float(ordered[-1]["anonymous_bytes"] - ordered[0]["anonymous_bytes"])
    return more / (int(ordered[-1]["images"]) - int(ordered[0]["images"]))


def _rename(results: Results) -> Iterator[str]:
    told = results["rename"]
    yield "### A folder renamed"
    yield (
        f"{told['images']:,} files by one `mv`: {told['seconds']:.1f} s until all points have moved (aim: < 10), "
        f"{told['inferences']:.0f} inferences (aim: 0)."
    )


def _events(results: Results) -> Iterator[str]:
    told = results["events"]
    yield "### From the event to searchable"
    yield f"{told['drops']:.0f} JPEGs of 2 megapixels dropped one by one on an idle daemon, ViT-B/32 in fp32:"
    yield table(["", "ms"], [[words, f"{1000 * told[key]:.0f}"] for key, words in _EVENTS])


def _starts(results: Results) -> Iterator[str]:
    told = results["starts"]
    yield "### Starts and commands"
    yield table(["median of 5", "s"], [[words, f"{told[key]:.3f}"] for key, words in _STARTS if key in told])


def plots(results: Results) -> dict[str, str]:
    """SVG documents by file name."""
    size = {kind.name: kind.megapixels for kind in KINDS if kind.quality}
    rates: dict[str, list[tuple[float, float]]] = {}
    for row in results.get("throughput", []):
        if row["corpus"] in size and not row["trouble"]:
            rates.setdefault(row["program"], []).append((size[row["corpus"]], row["images_per_second"]))
    looks = results.get("looks", [])
    times = {
        name: [(look["images"], look[key]) for look in looks]
        for name, key in (("look", "look_seconds"), ("ledger read", "ledger_seconds"), ("whole sync", "sync_seconds"))
    }
    memory = {
        name: [(look["images"], look[key] / MIB) for look in looks]
        for name, key in (("daemon RSS", "rss_bytes"), ("its anonymous part", "anonymous_bytes"))
    }
    drawn = {
        "rate.svg": line_plot("Rate against picture size (JPEG)", "megapixels", "images a second", rates),
        "looks.svg": line_plot("A look at unchanged files", "files", "seconds", times),
        "memory.svg": line_plot("Memory against folder size", "files", "MiB", memory),
    }
    return {name: text for name, text in drawn.items() if text}


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
