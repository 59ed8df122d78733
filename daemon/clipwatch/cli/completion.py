"""`clipwatch completion`: the completion script of a shell, as it lies in the package."""

from __future__ import annotations

import argparse
import sys
from importlib import resources
from typing import Any, Final

FILES: Final = {"bash": "bash/clipwatch", "zsh": "zsh/_clipwatch", "fish": "fish/clipwatch.fish"}
"""By shell, below `clipwatch/shell`; `tools/shell_files.py` writes them."""


def WITHOUT_CONFIG(_arguments: argparse.Namespace) -> bool:  # noqa: N802 - a hook of the parser
    """It is asked while a shell starts, wherever that is."""
    return True


def main(arguments: argparse.Namespace, _context: Any) -> int:
    """Print it."""
    file = resources.files("clipwatch").joinpath("shell", *FILES[arguments.shell].split("/"))
    sys.stdout.write(file.read_text(encoding="utf-8"))
    return 0
