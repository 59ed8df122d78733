"""argv to exit status. Imports stay cheap: `--help` and `status` are asked often."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status of the contract."""
    _open_missing_streams()
    if argv is None:
        _restart_in_utf8_mode()
    _never_fail_on_stderr()
    os.environ.pop("PYTHONIOENCODING", None)  # it was meant for our streams; those of our children are read as UTF-8
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


def _restart_in_utf8_mode() -> None:
    """In a locale whose character set is not UTF-8: the same command line in Python's UTF-8 mode, in this process.

    Settings are UTF-8, and so are the names of files they mean; Python would turn them into the locale's
    characters, and it fixes that when it starts. What is printed stays in the locale's character set.
    """
    if sys.flags.utf8_mode or sys.getfilesystemencoding() == "utf-8" or not sys.executable:
        return
    import locale

    os.environ["PYTHONUTF8"] = "1"  # for the children; -X also where Python was told to ignore the environment
    os.environ.setdefault("PYTHONIOENCODING", f"{locale.getencoding()}:backslashreplace")
    # Without /proc or a second start the command goes on, and finds only names in the locale's characters.
    with contextlib.suppress(OSError):
        with open("/proc/self/cmdline", "rb") as file:  # noqa: PTH123 - pathlib costs every start some milliseconds
            words = file.read().split(b"\0")[1:-1]  # as they were given: sys.orig_argv has been decoded
        os.execv(sys.executable, [os.fsencode(sys.executable), b"-X", b"utf8", *words])  # noqa: S606 - needs no shell


if __name__ == "__main__":
    raise SystemExit(main())
