"""The pure parts of the bench: figures are only as good as the arithmetic under them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from bench import measure, plot, reference, report, throughput


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


def test_a_program_that_takes_too_long_is_ended_and_says_so(tmp_path: Path) -> None:
    cost = measure.run_measured(
        [sys.executable, "-c", "import signal; signal.pause()"],
        cwd=tmp_path,
        output=tmp_path / "o",
        errors=tmp_path / "e",
        timeout_seconds=0.3,
    )
    assert cost.timed_out
    assert cost.status != 0


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
    assert report.bytes_an_image(looks) == 100
    assert report.bytes_an_image(looks[:1]) is None


def test_a_program_that_did_not_run_is_told_with_its_reason() -> None:
    row = throughput.Row("peer", "12mp", trouble="not run: no such module")
    text = report.markdown({"machine": {}, "command": "x", "throughput": [throughput.as_json(row)]})
    assert "- peer: not run: no such module" in text


def test_variants_are_told_with_rate_cosine_and_size_or_with_the_reason_they_have_none() -> None:
    measured = {"images_per_second": 20.0, "cosine_mean": 0.9991, "cosine_min": 0.99, "size_bytes": 88_000_000}
    rows = [
        {"variant": "original", **measured, "images_per_second": 10.0, "cosine_mean": 1.0, "note": ""},
        {"variant": "int8", **measured, "note": ""},
        {"variant": "openvino", **dict.fromkeys(measured), "note": "gains nothing here"},
    ]
    text = report.markdown({"machine": {}, "command": "x", "variants": {"pictures": 100, "rows": rows}})
    assert "on 100 pictures" in text
    assert "| int8 | 20.0 | 2.00 | 0.999100 | 0.990000 | 88.0 |" in text
    assert "| openvino" not in text
    assert "- openvino: gains nothing here" in text


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
