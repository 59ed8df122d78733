"""Writes what shells and `man` are told of the command line, from the parser itself.

    python tools/shell_files.py

The files lie in `daemon/clipwatch/shell`: a completion for bash, zsh and fish (by shtab), and the manual page.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import shtab

from clipwatch import __version__
from clipwatch.cli.arguments import Parser
from clipwatch.cli.completion import FILES
from clipwatch.cli.parser import build_parser
from clipwatch.model.cards import CARDS

FOLDER: Final = Path(__file__).parents[1] / "daemon/clipwatch/shell"
MANUAL: Final = "man/clipwatch.1"
_COMPLETED: Final = {
    **dict.fromkeys(("FILE", "TEXT", "[WEIGHT:]WHAT"), shtab.FILE),
    **dict.fromkeys(("DIR", "NAME_OR_DIR"), shtab.DIRECTORY),
}

_BEGINNING: Final = """
.SH NAME
clipwatch \\- mirror a folder of pictures into a Qdrant collection, searchable by meaning
.SH SYNOPSIS
.B clipwatch
.RI [ options ]
.I command
.RI [ "options of the command" ]
.SH DESCRIPTION
.B clipwatch run
watches folders, embeds each picture, and keeps exactly one point for each in a Qdrant collection, or in an embedded
store that needs no server. The other commands ask it, search, or do one step by themselves.
"""

_END: Final = """
.SH EXIT STATUS
.TP
.B 0
Done; for \\fBverify\\fR: exact.
.TP
.B 1
Something was left undone, or \\fBverify\\fR found a difference.
.TP
.B 2
Wrong usage, configuration or model.
.TP
.B 3
The store, a daemon that runs, or the model hub did not answer.
.TP
.B 4
Another process has the store, the folder or the state directory.
.SH ENVIRONMENT
.TP
.B CLIPWATCH_CONFIG
The configuration file, where \\fB\\-\\-config\\fR does not name one.
.TP
.BI CLIPWATCH_ SECTION __ KEY
Any setting, as \\fBCLIPWATCH_BATCH__SIZE=50\\fR: it wins over the file.
.TP
.BR HF_ENDPOINT ", " HF_TOKEN ", " HF_HUB_OFFLINE
For \\fBmodel fetch\\fR: another hub, a login, no network at all.
.SH FILES
.TP
.I config.toml
In the current directory: the configuration. \\fBclipwatch config init\\fR writes one with every key.
.TP
.IR images ", " data/store ", " data/state ", " models/clip_vision.onnx
Unless configured otherwise: the folder that is watched, the embedded store, locks and notes, the model.
.SH EXAMPLES
.nf
clipwatch search "red apple" \\-n 3
clipwatch search cat.jpg \\-\\-minus dog \\-\\-filter format=png
clipwatch search beach \\-0 | xargs \\-0 cp \\-t /tmp/beach
.fi
"""


def main() -> None:
    """Write all of them."""
    for name, text in texts().items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(text, encoding="utf-8")


def texts() -> dict[str, str]:
    """Each file's content, by its name below `FOLDER`."""
    parser = build_parser()
    for below in (parser, *parser.below()):
        for action in below._actions:
            if str(action.metavar) in _COMPLETED:
                action.complete = _COMPLETED[str(action.metavar)]  # type: ignore[attr-defined] # where shtab looks
    (name,) = (action for action in parser.commands()["model"].commands()["fetch"]._actions if action.dest == "name")
    name.choices = [card.name for card in CARDS]
    completions = {file: shtab.complete(parser, shell) for shell, file in FILES.items()}
    return {**completions, MANUAL: manual()}


def manual() -> str:
    """The manual page, in roff's man(7) macros."""
    parser = build_parser()
    lines = [f'.TH CLIPWATCH 1 "" "clipwatch {__version__}" "User Commands"', *_BEGINNING.strip().splitlines()]
    lines += [".SH OPTIONS", *_options(parser)]
    lines.append(".SH COMMANDS")
    for below, text in _commands(parser):
        words = [_positional(action) for action in below._actions if not action.option_strings]
        lines.append(f'.SS "{_escaped(" ".join([below.prog, "[options]", *words]))}"')
        lines += [*_wrapped(f"{text[:1].upper()}{text[1:]}."), *_options(below)]
    return "\n".join([*lines, *_END.strip().splitlines()]) + "\n"


def _commands(parser: Parser) -> Iterator[tuple[Parser, str]]:
    """What can be done, down to the actions of a command, with its help."""
    for group in (action for action in parser._actions if isinstance(action, argparse._SubParsersAction)):
        for choice in group._choices_actions:
            below = group.choices[choice.dest]
            if below.commands():
                yield from _commands(below)
            else:
                yield below, str(choice.help)


def _options(parser: Parser) -> Iterator[str]:
    for action in parser._actions:
        if (
            not action.help
            or action.help == argparse.SUPPRESS
            or action.dest == "help"
            or action.nargs == argparse.PARSER
        ):
            continue
        value = "" if action.nargs == 0 else f" \\fI{_escaped(_value(action))}\\fR"
        names = ", ".join(f"\\fB{_escaped(name)}\\fR{value}" for name in action.option_strings)
        yield from (".TP", names or value.lstrip(), *_wrapped(action.help))


def _wrapped(text: str) -> Iterator[str]:
    yield from (_escaped(line) for line in textwrap.wrap(text, 110))


def _value(action: argparse.Action) -> str:
    return str(action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper())


def _positional(action: argparse.Action) -> str:
    return {"*": "[{} ...]", "?": "[{}]"}.get(str(action.nargs), "{}").format(_value(action))


def _escaped(text: str) -> str:
    """*text* for roff: backslashes, hyphens that people copy, and a line that would begin as a request."""
    return re.sub(r"^([.'])", r"\\&\1", text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq"))


if __name__ == "__main__":
    main()
