"""The page that `clipwatch status` prints."""

from __future__ import annotations

from typing import Any

from clipwatch.cli.status import page


def _status(**more: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("images", "points", "pending", "rejected", "ignored", "held"), 0)
    return {"state": "watching", **counts, "model": {}, "store": {}, "watch": [], **more}


def test_a_backlog_tells_its_rate_its_end_and_what_takes_the_time() -> None:
    lines = list(page(_status(pending=500, images_per_second=5.0, eta_seconds=100, stages={"bottleneck": "encode"})))
    assert "  5 images/s, done in about 1 min 40 s; encode is what takes time" in lines


def test_troubles_come_with_their_cure() -> None:
    trouble = {"at": "2026-01-01T00:00:00.000000Z", "event": "store.rejected", "reason": "no key", "hint": "Set one."}
    assert list(page(_status(troubles=[trouble])))[-1] == "    2026-01-01T00:00:00Z store.rejected: no key · Set one."


def test_what_is_ignored_is_told_by_type() -> None:
    types = {"webp": 800, "heic": 474}
    told = "  1,274 ignored: 800 webp, 474 heic (not in a format that can be decoded here)"
    assert told in page(_status(ignored=1274, ignored_by_type=types, undecodable=types))
    assert not any("ignored:" in line for line in page(_status(ignored=0, ignored_by_type={}, undecodable={})))


def test_what_is_stuck_is_told_with_the_cure() -> None:
    assert "  stuck   encode, store: restart the daemon, and see its log" in page(_status(stuck=["encode", "store"]))


def test_no_name_can_move_the_cursor() -> None:
    folder = {"name": "images", "path": "a\x1b[2J\nb", "state": "watching", "unreadable": {"\x1b]0;x\x07": "no\n"}}
    assert not any("\x1b" in line or "\n" in line for line in page(_status(watch=[folder])))


def test_hours_and_minutes_are_spelled() -> None:
    lines = list(page(_status(pending=9, images_per_second=0.001, eta_seconds=9000, stages={"bottleneck": ""})))
    assert "  0.001 images/s, done in about 2 h 30 min" in lines


def test_without_a_daemon_no_number_is_made_up() -> None:
    unknown = dict.fromkeys(("images", "pending", "rejected", "ignored", "held"))
    lines = list(page(_status(state="stopped", points=7, **unknown)))
    assert lines[1].startswith("  7 points; ")
    assert "None" not in lines[1]
