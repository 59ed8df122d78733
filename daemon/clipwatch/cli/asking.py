"""How a command gets its answer: from the running daemon, or by itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from clipwatch.cli.assemble import Context
from clipwatch.folder.ignored import sentence
from clipwatch.service.ask import ask
from clipwatch.service.control import Answer
from clipwatch.visible import visible, visible_json

ANSWER_SECONDS: Final = {"status": 40.0, "search": 300.0}
"""For a daemon that lives to say nothing. Above what a busy one, or a store that is away, may take."""


def ask_daemon(context: Context, request: dict[str, Any]) -> Answer | None:
    """The daemon's answer, or None where none runs on this state directory."""
    return ask(context.state, request, ANSWER_SECONDS.get(request["command"]))


def result_of(answer: Answer) -> dict[str, Any]:
    """The result alone, without items."""
    while True:
        try:
            next(answer)
        except StopIteration as end:
            result: dict[str, Any] = end.value
            return result


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(visible_json(value, sys.stdout.encoding) + "\n")


def print_ignored(answer: Mapping[str, Any]) -> None:
    """A line about what is passed over, where there is something."""
    if words := sentence(answer):
        print(f"{words}.")


def say_undone(sentences: Sequence[str]) -> None:
    """What was left, and why, on stderr."""
    for undone in sentences:
        print(f"clipwatch: {visible(undone)}", file=sys.stderr)
