"""What every peer's program shares: where its pictures are, when its work began, and how it tells.

Run as `python -m bench.peers.NAME MODEL FOLDER OUTPUT PEERS CORES`. *OUTPUT* gets `result.json` and `vectors.npz`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench.reference import save
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Task:
    """A vision tower, pictures, and a folder of one's own.

    *peers*: the tower in other forms, see `weights`. *cores*: as many as may be used.
    """

    model: Path
    folder: Path
    output: Path
    peers: Path
    cores: int

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())


@dataclass(frozen=True, slots=True)
class Work:
    """*vectors* by file name. *seconds*: without imports and loading the model. *note*: anything to know of the run."""

    vectors: Mapping[str, NDArray[np.float32]]
    seconds: float
    note: str = ""


def run_peer(program: Callable[[Task], Work]) -> None:
    """From the command line to the files that tell."""
    model, folder, output, peers = (Path(argument) for argument in sys.argv[1:5])
    work = program(Task(model, folder, output, peers, int(sys.argv[5])))
    if not work.vectors:
        sys.exit("It made no vectors.")
    save(output / "vectors.npz", work.vectors)
    result = {"images": len(work.vectors), "seconds": work.seconds, "note": work.note}
    (output / "result.json").write_text(json.dumps(result), encoding="utf-8")


def now() -> float:
    """Monotonic seconds."""
    return time.perf_counter()


def float_rows(rows: Any) -> NDArray[np.float32]:
    """Anything array-like as float32."""
    return np.asarray(rows, np.float32)
