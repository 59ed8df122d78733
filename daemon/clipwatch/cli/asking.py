"""How a command gets its answer: from the running daemon, or by itself."""

from __future__ import annotations

import sys
from typing import Any

from clipwatch.cli.assemble import Context
from clipwatch.service.control import Answer, ask
from clipwatch.visible import visible_json


def ask_daemon(context: Context, request: dict[str, Any]) -> Answer | None:
    """The daemon's answer, or None where none runs on this state directory."""
    return ask(context.state, request)


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
