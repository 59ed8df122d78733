"""How a run ended, as the next one finds out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from clipwatch.deaths import Cause, CrashReport, RunRecord, death_of, grown, oom_kills
from support.memory_group import memory_group

RUN = RunRecord("boot", {"inner": 1, "outer": 3})


def cause(boot: str = "boot", kills: dict[str, int] | None = None, crash_report: str = "") -> Cause:
    return death_of(RUN, boot=boot, kills=kills or dict(RUN.kills), crash_report=crash_report).cause


def test_a_run_is_explained_by_what_is_known_best() -> None:
    assert cause() is Cause.KILLED
    assert cause(kills={"inner": 1, "outer": 4}) is Cause.OUT_OF_MEMORY
    assert cause(kills={"inner": 1, "outer": 4}, crash_report="Fatal Python error: Aborted\n\nmore") is Cause.CRASH
    assert cause(boot="another", kills={"inner": 9}, crash_report="Fatal Python error: Aborted") is Cause.REBOOT


def test_a_control_group_that_was_made_anew_says_nothing_about_the_last_run() -> None:
    assert cause(kills={"inner again": 5, "outer": 3}) is Cause.KILLED
    assert cause(kills={"inner again": 5, "outer": 4}) is Cause.OUT_OF_MEMORY
    assert grown({}, {"inner": 1}) == ""


def test_the_kernel_counts_what_it_ends_in_our_own_control_group() -> None:
    program = "from clipwatch.deaths import oom_kills; print(next(iter(oom_kills().items())))"
    with memory_group() as group:
        command = [*group.command, sys.executable, "-c", program]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert str(group.path) in told
        assert told.strip().endswith(", 0)")
        group.limit(16 << 20)
        hungry = [*group.command, sys.executable, "-c", "x = bytearray(64 << 20)"]
        assert subprocess.run(hungry, check=False).returncode == -9
        group.limit(None)
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert told.strip().endswith(", 1)")
    assert all(kills >= 0 for kills in oom_kills().values())


def test_a_crash_leaves_a_report_for_the_next_run_and_only_for_that(tmp_path: Path) -> None:
    file = tmp_path / "crash.txt"
    program = (
        "import os, signal, sys; from pathlib import Path; from clipwatch.deaths import CrashReport;"
        "report = CrashReport(Path(sys.argv[1])); os.kill(os.getpid(), int(sys.argv[2]))"
    )
    subprocess.run([sys.executable, "-c", program, str(file), "6"], check=False)
    assert file.read_text().startswith("Fatal Python error: Aborted")
    subprocess.run([sys.executable, "-c", program, str(file), "9"], check=False)
    assert file.read_text() == "", "a kill from outside leaves nothing, and what was there has been read"


def test_where_nothing_can_be_written_there_is_no_report(tmp_path: Path) -> None:
    report = CrashReport(tmp_path / "no such directory" / "crash.txt")
    assert report.last == ""
    report.close()
