"""The installed command, as a user has it: in a directory of its own, with a configuration file."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from bench.measure import Cost, run_measured, wait_for

COMMAND: Final = str(Path(sys.executable).with_name("clipwatch"))
SETTLE_SECONDS: Final = 0.5
"""The default, and what all figures are taken with."""

PATIENCE_SECONDS: Final = 300.0
Event = dict[str, Any]


class BenchFailed(Exception):
    """A program did not do what was to be measured; the words say what happened."""


@dataclass(frozen=True, slots=True)
class Home:
    """A directory with `config.toml`, a store and a state of its own."""

    path: Path

    @classmethod
    def make(cls, path: Path, *, images: Path, model: Path | None, engine: str, keep: bool = False) -> Home:
        """A fresh one, or with *keep* the one that is there; *model* None: the demonstration model."""
        if not keep:
            shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True, exist_ok=True)
        lines = [
            "[[watch]]",
            f"path = {json.dumps(str(images))}",
            'name = "images"',
            f"settle_seconds = {SETTLE_SECONDS}",
            "[model]",
            f"engine = {json.dumps(engine)}",
            *([f"path = {json.dumps(str(model))}"] if model is not None else []),
            "[http]",
            'listen = ""',
        ]
        (path / "config.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return cls(path)

    def environment(self) -> dict[str, str]:
        """Ours without settings of the person who runs the bench."""
        return {key: value for key, value in os.environ.items() if not key.startswith("CLIPWATCH_")}

    def measured(self, *arguments: str, timeout_seconds: float = PATIENCE_SECONDS) -> tuple[Cost, str, list[Event]]:
        """One command to its end: what it took, its answer, what it logged."""
        output, errors = self.path / "stdout", self.path / "stderr"
        cost = run_measured(
            [COMMAND, *arguments],
            cwd=self.path,
            output=output,
            errors=errors,
            timeout_seconds=timeout_seconds,
            environment=self.environment(),
        )
        if cost.status != 0:
            told = " ".join(errors.read_text(encoding="utf-8", errors="replace").splitlines()[-1:])
            raise BenchFailed(f"clipwatch {' '.join(arguments)}: exit {cost.status}: {told[:300]}")
        return cost, output.read_text(encoding="utf-8"), events_in(errors)

    def answer(self, *arguments: str) -> Any:
        """The JSON answer of one command."""
        return json.loads(self.measured(*arguments, "--json")[1])

    @contextlib.contextmanager
    def daemon(self, *, level: str = "info") -> Iterator[Daemon]:
        """A daemon, ready; ended at the end."""
        log = self.path / "daemon.log"
        launched = time.time()
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [COMMAND, "--log-level", level, "run"], cwd=self.path, env=self.environment(), stderr=stderr
            )
        daemon = Daemon(process, log, launched)
        try:
            daemon.wait_for("daemon.ready", 1)
            yield daemon
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@dataclass(slots=True)
class Daemon:
    """A running daemon and its log. *launched*: wall clock at which its process was asked for."""

    process: subprocess.Popen[bytes]
    log: Path
    launched: float

    def events(self, name: str | None = None) -> list[Event]:
        """What it has logged, or the lines of one event."""
        return [event for event in events_in(self.log) if name is None or event["event"] == name]

    def wait_for(self, name: str, count: int, *, seconds: float = PATIENCE_SECONDS) -> list[Event]:
        """Until there are *count* lines of the event *name*."""

        def there() -> bool:
            if self.process.poll() is not None:
                tail = self.log.read_text(encoding="utf-8", errors="replace")[-300:]
                raise BenchFailed(f"the daemon ended with {self.process.returncode}: {tail}")
            return len(self.events(name)) >= count

        if not wait_for(there, seconds, every=0.05):
            raise BenchFailed(f"no {name} within {seconds:.0f} s")
        return self.events(name)


def events_in(log: Path) -> list[Event]:
    """The whole JSON lines of a log."""
    with log.open("rb") as file:
        lines = file.read().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"\n")]


def moment(event: Event) -> float:
    """Seconds since the epoch at which it was logged."""
    return datetime.fromisoformat(event["timestamp"]).timestamp()
