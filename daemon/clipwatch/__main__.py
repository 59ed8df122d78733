"""argv to exit status. Imports stay cheap: `--help` and `status` are asked often."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status of the contract."""
    from clipwatch.cli.parser import run

    return run(sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    raise SystemExit(main())
