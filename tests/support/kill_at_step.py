"""The command, killed when it is about to take its Nth step: `python kill_at_step.py N COMMAND …`.

A step is whatever moves a pass on: what the notebook is told, what comes back from a worker, from the model or from the
store, and what is believed after. The names are those of the code; one that is there no more ends this at once.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from itertools import count
from typing import Any

STEPS = {
    "clipwatch.mirror.notebook:Notebook": ("begin", "end", "reject", "note_deletion"),
    "clipwatch.mirror.pipeline:Pipeline": (
        "submit",
        "_take_decoded",
        "_encode",
        "_infer",
        "_take_embedded",
        "_find_vectors",
        "_take_vectors",
        "_refresh",
        "_store_and_verify",
        "_put",
        "_take_stored",
        "_take_written",
    ),
    "clipwatch.mirror.ledger:Ledger": ("load", "begin_look", "put", "remove"),
    "clipwatch.mirror.folder_mirror:FolderMirror": (
        "candidate",
        "take_ledger",
        "take_paths",
        "proven",
        "forget_points",
    ),
}


def main() -> None:
    number, calls = int(sys.argv[1]), count(1)

    def deadly(step: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(step)
        def killed(*arguments: Any, **named: Any) -> Any:
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*arguments, **named)

        return killed

    for place, names in STEPS.items():
        module, _, owner = place.partition(":")
        kind = getattr(importlib.import_module(module), owner)
        for name in names:
            setattr(kind, name, deadly(getattr(kind, name)))
    from clipwatch.cli.parser import run

    sys.exit(run(sys.argv[2:]))


if __name__ == "__main__":
    main()
