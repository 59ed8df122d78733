"""Pure decisions, and the notes that may be lost."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipwatch.clock import Moment, SystemClock
from clipwatch.deaths import Cause, Death, RunRecord
from clipwatch.errors import RejectReason
from clipwatch.mirror.ledger import Known
from clipwatch.mirror.losses import Hold, HoldState, Now
from clipwatch.mirror.notebook import Notebook, NotedLosses, Rejection, Suspicion, read_losses
from clipwatch.mirror.pending import OnTheWay, Pending
from clipwatch.mirror.plan import (
    Unmet,
    Verdict,
    cut_to_first,
    reason_for,
    verdict_for,
)
from clipwatch.records import Reason, Signature
from support.stores import Told

KILLED = Death(Cause.KILLED, "")
ONE, TWO = Signature(1, 2, 3), Signature(1, 2, 4)


def test_why_a_file_needs_work() -> None:
    content = bytes(16)
    assert reason_for(ONE, None) is Reason.NEW
    assert reason_for(ONE, Known(ONE.pack(), content, 1)) is Reason.MODEL
    assert reason_for(ONE, Known(TWO.pack(), content, 1)) is Reason.MODEL
    assert reason_for(ONE, Known(TWO.pack(), content, 0)) is Reason.CHANGED
    assert reason_for(ONE, Known(ONE.pack(), content, 0)) is None


@pytest.mark.parametrize(("admitted", "absent", "unreadable"), list(product((False, True), repeat=3)))
def test_only_no_such_file_in_a_directory_that_was_read_is_gone(admitted: bool, absent: bool, unreadable: bool) -> None:
    verdict = verdict_for(Unmet(b"a.png", admitted=admitted, absent=absent, unreadable_above=unreadable))
    assert (verdict is Verdict.DELETE) == (not admitted or (absent and not unreadable))
    nameless = Unmet(None, admitted=admitted, absent=absent, unreadable_above=unreadable)
    assert verdict_for(nameless) is Verdict.DELETE, "a point that names no path of ours is not of the folder"


def test_the_first_by_the_bytes_of_their_paths() -> None:
    assert cut_to_first([b"b", b"a/z", b"\xff", b"a"], 2) == {b"a", b"a/z"}
    assert cut_to_first([b"b", b"a"], 0) == {b"a", b"b"}


def test_two_processes_of_one_boot_can_compare_their_moments() -> None:
    earlier, later = SystemClock().moment(), SystemClock().moment()
    assert later.boot == earlier.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert 0 <= later.after(earlier) < 60
    assert earlier.after(replace(later, boot="another")) == 0


def test_recent_deletes_are_counted_by_a_clock_that_nobody_sets(tmp_path: Path) -> None:
    notebook = noted(tmp_path)
    notebook.note_deletion("images", 1000.0, Moment("boot", 10.0), 3)
    assert notebook.deleted_lately("images", 99_000.0, Moment("boot", 20.0), 60.0) == 3, "the clock was set forward"
    assert notebook.deleted_lately("images", 0.0, Moment("boot", 20.0), 60.0) == 3, "the clock was set back"
    assert notebook.deleted_lately("images", 1050.0, Moment("next", 5.0), 60.0) == 3
    assert notebook.deleted_lately("images", 900.0, Moment("next", 6.0), 60.0) == 3, "in the future: as if just now"
    assert notebook.deleted_lately("images", 950.0, Moment("next", 67.0), 60.0) == 0, "and forgotten in its time"
    notebook.close()


# -- waiting files -----------------------------------------------------------------------------------------


def test_fresh_files_overtake_a_backlog_and_stay_fresh() -> None:
    pending = Pending(0.0, OnTheWay())
    pending.observe(b"old", ONE, 0.0, fresh=False)
    pending.observe(b"new", ONE, 1.0, fresh=True)
    pending.observe(b"new", TWO, 2.0, fresh=False)
    assert list(pending.ready(5.0, 9, 9)) == [(b"new", True), (b"old", False)]
    assert len(pending) == 2
    pending.observe(b"old", ONE, 6.0, fresh=True)
    assert list(pending.ready(9.0, 9, 9)) == [(b"new", True), (b"old", True)]
    assert list(pending.ready(9.0, 0, 1)) == [(b"new", True)], "a full pipeline keeps room for what is fresh"


@given(
    st.lists(
        st.tuples(st.sampled_from("abc*"), st.integers(0, 3), st.booleans(), st.booleans(), st.booleans()), max_size=40
    )
)
def test_sizes_on_the_way_are_those_of_what_waits(deeds: list[tuple[str, int, bool, bool, bool]]) -> None:
    on_the_way = OnTheWay()
    pending = Pending(0.0, on_the_way)
    model: dict[bytes, int | None] = {}
    for name, size, fresh, awaited, forget in deeds:
        path = name.encode()
        if name == "*":
            pending.clear()
            model.clear()
        elif forget:
            pending.forget(path)
            model.pop(path, None)
        else:
            pending.observe(path, Signature(size, 0, 0), 0.0, fresh=fresh, awaited=awaited)
            model[path] = size if awaited else None
        assert {size for size in range(4) if size in on_the_way} == set(model.values()) - {None}
        assert len(pending) == len(model)


# -- the notebook ----------------------------------------------------------------------------------------------


def rejection(path: bytes = b"a.png", at: float = 5.0) -> Rejection:
    return Rejection("images", path, ONE.pack(), RejectReason.CORRUPT, "It is broken.", at)


def noted(directory: Path, told: Told | None = None, limits: str = "limits") -> Notebook:
    return Notebook(directory / "notebook.sqlite", limits=limits, logger=told or Told())


def test_notes_outlive_a_restart(tmp_path: Path) -> None:
    notebook = noted(tmp_path)
    notebook.reject(rejection())
    notebook.reject(rejection(b"\xff\n.png"))
    notebook.accept("images", b"nobody")
    hold = Hold(7.5, "unusual_share", 60, 61, 4.5, Moment("boot", 9.0), 7.5)
    notebook.set_hold_state("images", "deletes", HoldState(hold, 70, 71))
    notebook.set_known_files("images", {b"id": b"signature"})
    notebook.note_deletion("images", 8.0, Moment("boot", 108.0), 3)
    notebook.begin([("images", b"x", b"size"), ("images", b"y", b"size")], Moment("boot", 9.0), alone=False)
    notebook.end([("images", b"y")])
    notebook.close()
    notebook = noted(tmp_path)
    assert {item.path for item in notebook.rejections("images")} == {b"a.png", b"\xff\n.png"}
    assert notebook.rejections("images")[0].at == 5.0
    assert notebook.rejections("other") == []
    state = notebook.hold_state("images", "deletes")
    assert state == HoldState(hold, 70, 71)
    known = state.hold
    assert known is not None
    assert notebook.hold_state("images", "rebuild") == notebook.hold_state("other", "deletes") == HoldState()
    assert notebook.known_files("images") == {b"id": b"signature"}
    file, now = tmp_path / "notebook.sqlite", Now(Moment("boot", 109.0), 9.0)
    read = read_losses(file, "images", kind="deletes", now=now, seconds=5.0)
    assert read == NotedLosses(state, 3, {b"id": b"signature"}), "the same, by another process"
    assert (known.age(Moment("boot", 19.0)), known.age(Moment("another", 19.0))) == (14.5, 4.5)
    assert notebook.deleted_lately("images", 9.0, Moment("boot", 109.0), 5.0) == 3
    assert notebook.suspects(KILLED) == [Suspicion("images", b"x", b"size", 0, Moment("boot", 9.0))]
    notebook.set_hold_state("images", "deletes", HoldState())
    assert notebook.hold_state("images", "deletes") == HoldState()
    notebook.close()


def test_a_rejection_under_other_limits_is_not_remembered(tmp_path: Path) -> None:
    notebook = noted(tmp_path)
    notebook.reject(rejection())
    notebook.close()
    notebook = noted(tmp_path, limits="more")
    assert notebook.rejections("images") == []
    notebook.close()


def died_alone(tmp_path: Path, death: Death | None, *, signature: bytes = b"size", limits: str = "limits") -> int:
    """One more run that takes up x.png alone; how many deaths the next one counts against it."""
    notebook = noted(tmp_path)
    notebook.begin([("images", b"x.png", signature)], Moment("boot", 1.0), alone=True)
    notebook.close()
    notebook = noted(tmp_path, limits=limits)
    (deaths,) = (item.deaths for item in notebook.suspects(death))
    assert notebook.suspects(death)[0].deaths == deaths, "a file that was not taken up again is not blamed twice"
    notebook.close()
    return deaths


def test_only_a_file_that_was_alone_in_hand_is_counted_a_death_and_none_where_the_machine_went_down(
    tmp_path: Path,
) -> None:
    notebook = noted(tmp_path)
    notebook.begin([("images", b"x.png", b"size")], Moment("boot", 1.0), alone=False)
    notebook.close()
    notebook = noted(tmp_path)
    assert notebook.suspects(KILLED)[0].deaths == 0
    notebook.close()
    assert died_alone(tmp_path, KILLED) == 1
    assert died_alone(tmp_path, Death(Cause.REBOOT, "")) == 1
    assert died_alone(tmp_path, Death(Cause.OUT_OF_MEMORY, "")) == 2
    assert died_alone(tmp_path, KILLED, signature=b"other") == 1, "it changed"
    assert died_alone(tmp_path, KILLED, signature=b"other", limits="more") == 0, "limits changed"


def test_a_crash_of_the_program_itself_counts_for_two(tmp_path: Path) -> None:
    assert died_alone(tmp_path, Death(Cause.CRASH, "")) == 2
    assert died_alone(tmp_path, Death(Cause.CRASH, "")) == 3


def test_an_end_in_good_order_keeps_the_deaths_that_were_counted_and_blames_nobody(tmp_path: Path) -> None:
    died_alone(tmp_path, KILLED)
    notebook = noted(tmp_path)
    notebook.begin([("images", b"x.png", b"size")], Moment("boot", 1.0), alone=True)
    notebook.begin([("images", b"y.png", b"size")], Moment("boot", 1.0), alone=False)
    notebook.end_run()
    notebook.close()
    notebook = noted(tmp_path)
    assert [(item.path, item.deaths) for item in notebook.suspects(KILLED)] == [(b"x.png", 1)]
    notebook.close()


def test_a_run_that_did_not_end_in_good_order_is_remembered(tmp_path: Path) -> None:
    notebook = noted(tmp_path)
    assert notebook.begin_run(RunRecord("boot", {"group": 1})) is None
    notebook.note_run(RunRecord("boot", {"group": 2}))
    notebook.close()
    notebook = noted(tmp_path)
    assert notebook.begin_run(RunRecord("boot", {})) == RunRecord("boot", {"group": 2})
    notebook.end_run()
    assert notebook.begin_run(RunRecord("boot", {})) is None
    notebook.close()


@pytest.mark.parametrize("rubbish", [b"", b"not a database", b"SQLite format 3\0" + bytes(5000)], ids=len)
def test_a_torn_notebook_is_told_and_begun_anew(tmp_path: Path, rubbish: bytes) -> None:
    (tmp_path / "notebook.sqlite").write_bytes(rubbish)
    told = Told()
    notebook = noted(tmp_path, told)
    notebook.reject(rejection())
    assert notebook.rejections("images") == [rejection()]
    assert len(told.events("notebook.lost")) == bool(rubbish)
    notebook.close()
    notebook = noted(tmp_path)
    assert notebook.rejections("images") == [rejection()], "it is kept again"
    notebook.close()


def test_a_notebook_that_cannot_be_opened_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notebook.sqlite").mkdir()
    told = Told()
    notebook = noted(tmp_path, told)
    notebook.reject(rejection())
    assert notebook.rejections("images") == [rejection()], "in memory at least"
    assert (tmp_path / "notebook.sqlite").is_dir()
    assert len(told.events("notebook.lost")) == 1
    notebook.close()


def test_words_of_another_version_are_passed_over(tmp_path: Path) -> None:
    notebook = noted(tmp_path)
    notebook.reject(rejection())
    notebook.close()
    with sqlite3.connect(tmp_path / "notebook.sqlite") as connection:
        connection.execute("INSERT INTO rejected VALUES ('images', x'62', x'', 'limits', 'too_odd', '', 0, '')")
    connection.close()
    notebook = noted(tmp_path)
    assert [item.path for item in notebook.rejections("images")] == [b"a.png"]
    notebook.close()


def test_a_full_disk_is_told_a_few_times_and_costs_notes_only(tmp_path: Path) -> None:
    told = Told()
    notebook = noted(tmp_path, told)
    notebook._connection.execute("PRAGMA max_page_count = 12")
    for number in range(2000):
        notebook.reject(rejection(b"%d.png" % number))
    assert 1 <= len(told.events("notebook.failing")) <= 3
    assert notebook.hold_state("images", "deletes") == HoldState()
    notebook.close()
