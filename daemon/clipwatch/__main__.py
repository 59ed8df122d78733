"""argv to exit status. Imports stay cheap: `--help` and `status` are asked often."""

from __future__ import annotations

import os
import sys


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status of the contract."""
    _open_missing_streams()
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


if __name__ == "__main__":
    raise SystemExit(main())
