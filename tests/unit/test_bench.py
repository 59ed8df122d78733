"""The pure parts of the bench: figures are only as good as the arithmetic under them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from bench import aims, home, kept, measure, plot, reference, report, throughput


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(200, 0, -1)]
    assert measure.percentile(values, 0.99) == 198
    assert measure.median(values) == 100
    assert measure.percentile([7.0], 0.99) == 7


def test_a_cost_counts_children_and_nothing_of_who_measures(tmp_path: Path) -> None:
    ours = bytearray(256 << 20)
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    parent = f"import subprocess, sys\nx = bytearray(64 << 20)\nsubprocess.run([sys.executable, '-c', {burn!r}])"
    cost = measure.run_measured(
        [sys.executable, "-c", parent], cwd=tmp_path, output=tmp_path / "o", errors=tmp_path / "e", timeout_seconds=60
    )
    assert len(ours)
    assert cost.status == 0
    assert cost.cpu_seconds >= 0.3
    assert 64 << 20 <= cost.peak_rss_bytes < 256 << 20


def test_a_program_that_takes_too_long_is_ended_with_all_it_started_and_says_so(tmp_path: Path) -> None:
    cost = measure.run_measured(
        ["/bin/sh", "-c", "sleep 600 & echo $!; wait"],
        cwd=tmp_path,
        output=tmp_path / "o",
        errors=tmp_path / "e",
        timeout_seconds=1.0,
    )
    assert cost.timed_out
    assert cost.status != 0
    child = int((tmp_path / "o").read_text())
    assert measure.wait_for(lambda: measure.rss_bytes(child) == 0, 5)


def test_a_daemons_log_is_read_line_by_line_and_half_a_line_later(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b'{"event": "a"}\nnoise\n{"event"')
    daemon = home.Daemon(process=None, log=log, launched=0.0)  # type: ignore[arg-type]
    assert daemon.events("a") == [{"event": "a"}]
    with log.open("ab") as file:
        file.write(b': "a", "n": 2}\n')
    assert daemon.events("a") == [{"event": "a"}, {"event": "a", "n": 2}]
    assert daemon.events("b") == []


def test_a_process_tree_starts_with_its_root() -> None:
    assert measure.tree(os.getpid())[0] == os.getpid()
    assert measure.cpu_seconds([os.getpid()]) > 0


def test_ticks_enclose_what_they_measure() -> None:
    for low, high in ((1.2, 12.0), (0.004, 900.0), (1000, 1_000_000), (5, 5)):
        axis = plot.ticks(low, high)
        assert axis[0] <= low <= high <= axis[-1]
        assert axis == sorted(set(axis))
        assert len(axis) >= 2


def test_a_plot_is_well_formed_and_draws_every_series() -> None:
    text = plot.line_plot("a < b", "x", "y", {"one": [(1, 2), (10, 20)], "two & three": [(5, 1)], "none": [(1, 0)]})
    root = ET.fromstring(text)  # noqa: S314 - our own text
    assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == 2


def test_a_measured_part_is_replaced_and_nothing_else() -> None:
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.replaced(page, "new\n")
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert report.replaced(once, "new\n") == once
    with pytest.raises(ValueError, match="no marks"):
        report.replaced("nothing", "new")


def test_memory_an_image_is_the_slope_between_the_smallest_and_the_largest_folder() -> None:
    looks = [{"images": 1000, "anonymous_bytes": 50_000_000}, {"images": 101_000, "anonymous_bytes": 60_000_000}]
    assert aims.bytes_an_image(looks) == 100
    assert aims.bytes_an_image(looks[:1]) is None


def row(program: str, corpus: str, rate: float, *, rss: int = 100 << 20, cosine: float = 1.0) -> dict[str, Any]:
    images = 100
    made = throughput.Row(program, corpus, images, images / rate, images / rate, 1.0, rss, (cosine, cosine))
    return throughput.as_json(made)


def results(**parts: dict[str, Any]) -> dict[str, Any]:
    """As a whole run on two cores leaves them, with only *parts* measured."""
    run = {"command": "python bench/run.py", "date": "2026-01-01", "load": "0.0"}
    return {
        "machine": {"cores": "2"},
        "code": "c0de",
        "commit": "abc",
        "settings": {"quick": False, "count": None, "kinds": None},
        "parts": {name: {"run": run, "troubles": [], **part} for name, part in parts.items()},
    }


def verdicts(told: dict[str, Any]) -> dict[str, str]:
    return {aim.words: aim.verdict for aim in aims.aims(told)}


RAW = {
    "session": {"cpu_seconds_per_image": 0.06},
    "decode": {"12mp": {"scaled": {"cpu_seconds_per_image": 0.04}}},
}


def test_waiting_is_wall_time_of_all_cores_over_what_the_stages_take_alone() -> None:
    told = results(raw=RAW, sync={"rows": [row(throughput.FP32, "12mp", 18.6)]})
    assert aims.waiting(told, aims.throughput(told)[0]) == pytest.approx(2 / 18.6 / 0.1)
    words = "12mp, fp32: wall × cores ÷ CPU time of the two stages alone"
    assert verdicts(told)[words] == "met"
    assert verdicts(results(raw=RAW, sync={"rows": [row(throughput.FP32, "12mp", 18.4)]}))[words] == "**missed**"
    assert verdicts(results(sync={"rows": [row(throughput.FP32, "12mp", 18.6)]}))[words] == "not measured"


def test_the_fastest_engine_counts_only_where_its_vectors_pass() -> None:
    rows = [row(throughput.FP32, "12mp", 19), row(throughput.INT8, "12mp", 40), row(throughput.RCLIP[0], "12mp", 20)]
    words = "12mp, the fastest engine that passes: × rclip's rate"
    assert verdicts(results(sync={"rows": rows}))[words] == "met"
    rows[1] = row(throughput.INT8, "12mp", 40, cosine=0.998)
    told = verdicts(results(sync={"rows": rows}))
    assert told[words] == "**missed**"
    assert told["12mp, fp32: × rclip's rate"] == "**missed**"
    assert told["cosine to the reference, the lowest of all pictures"] == "met"


def test_memory_and_rate_are_judged_against_the_best_of_the_others() -> None:
    ours = row(throughput.FP32, "12mp", 30, rss=500 << 20)
    others = [row("plain script", "12mp", 5, rss=600 << 20), row("fastembed", "12mp", 11, rss=900 << 20)]
    told = verdicts(results(sync={"rows": [ours]}, peers={"rows": others}))
    assert told["12mp, fp32: peak RSS in MiB, below each peer's"] == "met"
    assert told["12mp, fp32: × the rate of the best other peer"] == "**missed**"


def test_every_aim_that_nothing_was_measured_for_says_so() -> None:
    assert set(verdicts(results()).values()) == {"not measured"}
    assert "not measured" in report.markdown(results())


def test_figures_of_large_folders_meet_the_aims_of_large_folders() -> None:
    look = {"images": 100_000, "look_seconds": 0.7, "idle_cpu_percent": 0.3, "anonymous_bytes": 1}
    rename = {"seconds": 8.0, "inferences": 0}
    told = verdicts(results(scale={"looks": [look], "rename": rename}))
    assert told["a look at 100,000 unchanged files, s"] == "met"
    assert told["a look at 1,000,000 unchanged files, s"] == "not measured"
    assert told["idle with 100,000 files, % of a core"] == "**missed**"
    assert told["10,000 files renamed by one `mv`, s"] == "met"
    assert told["inferences for them"] == "met"


def test_parts_of_two_runs_stand_together_only_where_machine_code_and_pictures_are_the_same() -> None:
    old, new = results(raw=RAW, events={}), results(events={"drops": 1})
    assert set(kept.continued(old, new)["parts"]) == {"raw", "events"}
    assert kept.continued(old, new)["parts"]["events"]["drops"] == 1
    for key, other in (("machine", {"cores": "4"}), ("code", "other"), ("settings", {"quick": True})):
        assert set(kept.continued({**old, key: other}, new)["parts"]) == {"events"}
    assert kept.continued(None, new) == new


def test_only_whole_results_become_the_documentation() -> None:
    whole = results(raw=RAW, events={})
    assert kept.why_not_published(whole, ["raw", "events"]) == ""
    assert "scale" in kept.why_not_published(whole, ["raw", "events", "scale"])
    assert "--quick" in kept.why_not_published({**whole, "settings": {"quick": True}}, ["raw"])
    assert kept.why_not_published({**whole, "settings": {**whole["settings"], "kinds": ["png"]}}, ["raw"])


def test_a_result_file_of_another_time_is_no_result(tmp_path: Path) -> None:
    assert kept.read(tmp_path / "none.json") is None
    (tmp_path / "old.json").write_text('{"machine": {}, "throughput": []}', encoding="utf-8")
    assert kept.read(tmp_path / "old.json") is None


def test_code_is_known_by_what_it_says_wherever_it_lies(tmp_path: Path) -> None:
    for folder, text in (("a", "x = 1\n"), ("b", "x = 1\n"), ("c", "x = 2\n")):
        file = tmp_path / folder / "daemon" / "clipwatch" / "one.py"
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
    codes = [kept.code_of(tmp_path / folder) for folder in "abc"]
    assert codes[0] == codes[1] != codes[2]


def test_the_middle_of_several_runs_is_told_with_the_largest_memory() -> None:
    rows = [throughput.Row("p", "12mp", 100, 100 / rate, 9, 1, rss) for rate, rss in ((10, 5), (30, 1), (20, 2))]
    middle = throughput.median_of([*rows, throughput.Row("p", "12mp", trouble="it fell")])
    assert middle.rate == pytest.approx(20)
    assert middle.peak_rss_bytes == 5
    assert "10.0, 20.0, 30.0" in middle.note
    assert throughput.median_of([throughput.Row("p", "12mp", trouble="it fell")]).trouble == "it fell"


def test_a_program_that_did_not_run_is_told_with_its_reason() -> None:
    missing = throughput.Row("peer", "12mp", trouble="not run: no such module")
    text = report.markdown(results(peers={"rows": [throughput.as_json(missing)]}))
    assert "- peer: not run: no such module" in text


def test_variants_are_told_with_rate_cosine_and_size_or_with_the_reason_they_have_none() -> None:
    measured = {"images_per_second": 20.0, "cosine_mean": 0.9991, "cosine_min": 0.99, "size_bytes": 88_000_000}
    rows = [
        {"variant": "original", **measured, "images_per_second": 10.0, "cosine_mean": 1.0, "note": ""},
        {"variant": "int8", **measured, "note": ""},
        {"variant": "openvino", **dict.fromkeys(measured), "note": "gains nothing here"},
    ]
    text = report.markdown(results(variants={"pictures": 100, "rows": rows}))
    assert "on 100 pictures" in text
    assert "| int8 | 20.0 | 2.00 | 0.999100 | 0.990000 | 88.0 |" in text
    assert "| openvino" not in text
    assert "- openvino: gains nothing here" in text
    assert "`python bench/run.py --only variants`" in text


def test_rates_are_drawn_against_picture_size_and_folder_size() -> None:
    looks = [
        {
            "images": images,
            "arrivals_per_second": 90.0,
            "look_seconds": 0.1,
            "ledger_seconds": 0.1,
            "sync_seconds": 0.1,
            "rss_bytes": 1,
            "anonymous_bytes": 1,
        }
        for images in (1000, 10_000)
    ]
    told = results(
        sync={"rows": [row(throughput.FP32, "2mp", 25)]},
        sizes={"rows": [row(throughput.FP32, "24mp", 8)]},
        scale={"looks": looks},
    )
    drawn = report.plots(told)
    assert set(drawn) == {"rate.svg", "arrivals.svg", "looks.svg", "memory.svg"}
    assert drawn["rate.svg"].count("<circle") == 2


def test_the_documentation_gets_the_report_and_its_plots(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\n", encoding="utf-8")
    report.write_docs(page, results(sizes={"rows": [row(throughput.FP32, "24mp", 8)]}))
    assert "### Aims" in page.read_text(encoding="utf-8")
    assert "![rate](performance/rate.svg)" in page.read_text(encoding="utf-8")
    assert "<circle" in (tmp_path / "performance" / "rate.svg").read_text(encoding="utf-8")


def test_work_begins_when_files_may_be_read_and_ends_with_the_last_verification() -> None:
    events = [
        {"event": "scan.finished", "timestamp": "2026-01-01T00:00:00.000000Z"},
        {"event": "batch.verified", "timestamp": "2026-01-01T00:00:03.000000Z"},
        {"event": "batch.verified", "timestamp": "2026-01-01T00:00:05.500000Z"},
    ]
    assert throughput.working_seconds(events) == pytest.approx(5.0)


def test_reference_vectors_come_back_as_they_were_kept(tmp_path: Path) -> None:
    rows = np.eye(3, 8, dtype=np.float32)
    kept = dict(zip("abc", rows, strict=True))
    reference.save(tmp_path / "kept.npz", kept)
    loaded = reference.load(tmp_path / "kept.npz")
    assert reference.cosines(loaded, kept).tolist() == [1, 1, 1]
