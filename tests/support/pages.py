"""The commands that pages for people show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[2] / "docs"
README = DOCS.parent / "README.md"


class Block(NamedTuple):
    """What stands between two fences."""

    kind: str
    """`run`: without a daemon; `running`: beside one; `service`: on a real systemd; "": not here."""
    section: str
    commands: list[str]


def console_blocks(page: Path) -> list[Block]:
    """Every block of commands, in order, with the heading that it stands below."""
    found, section = [], ""
    for match in re.finditer(
        r"^#+ ([^\n]*)$|^```console ?(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL
    ):
        heading, kind, text = match.groups()
        if heading is None:
            commands = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
            found.append(Block(kind, section, commands))
        else:
            section = heading
    return found
