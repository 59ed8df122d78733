"""What the doctor says of the walls."""

from __future__ import annotations

from typing import Any

from clipwatch.cli.checks import sandbox_check

WALLS: dict[str, Any] = {"landlock_abi": 7, "seccomp_filters": 1, "memory_bytes": 2**30, "missing": ""}


def test_walls_in_force_are_told_in_words() -> None:
    check = sandbox_check(WALLS, 20)
    assert (check.ok, check.hint) == (True, "")
    assert check.detail == "files: Landlock 7; sockets, fork, exec: seccomp; 1024 MB; 20 s"


def test_a_kernel_without_walls_is_a_warning_and_no_failure() -> None:
    check = sandbox_check({**WALLS, "landlock_abi": 0, "missing": "the kernel has no Landlock"}, 20)
    assert check.ok
    assert check.detail.startswith("files: open to a decoder that is taken over; sockets, fork, exec: seccomp")
    assert "the kernel has no Landlock" in check.hint
