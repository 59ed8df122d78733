"""argv to exit status. Imports stay cheap: `--help` and `status` are asked often."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status of the contract."""
    _open_missing_streams()
    _never_fail_on_stderr()
    from clipwatch.cli.parser import run

    return run(sys.argv[1:] if argv is None else argv)


def _open_missing_streams() -> None:
    """What was closed leads nowhere: the next file that is opened would be taken for it, by us and our children."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest number that is free, and so the one that is missing.
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", errors="backslashreplace"))


class _Forgiving(io.FileIO):
    """A descriptor whose end costs what is written there, and nothing else."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


def _never_fail_on_stderr() -> None:
    """What is said there is for people: where nobody reads it, the command does its work all the same.

    The log has its own way to the same descriptor, which counts what is lost (`service/log_stream.py`).
    """
    try:
        raw = _Forgiving(sys.stderr.fileno(), "wb", closefd=False)
    except (OSError, ValueError):
        return
    buffer = io.BufferedWriter(raw)
    sys.stderr = io.TextIOWrapper(buffer, sys.stderr.encoding, errors="backslashreplace", line_buffering=True)


if __name__ == "__main__":
    raise SystemExit(main())
