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
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from bench.measure import Cost, kill_group, run_measured, wait_for

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
            # On, as by default; any port, since another daemon may have the usual one.
            'listen = "127.0.0.1:0"',
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
                [COMMAND, "--log-level", level, "run"],
                cwd=self.path,
                env=self.environment(),
                stderr=stderr,
                start_new_session=True,
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
                    kill_group(process.pid)
                    process.wait()


@dataclass(slots=True)
class Daemon:
    """A running daemon and its log. *launched*: wall clock at which its process was asked for."""

    process: subprocess.Popen[bytes]
    log: Path
    launched: float
    _events: list[Event] = field(default_factory=list)
    _read_bytes: int = 0

    def events(self, name: str) -> list[Event]:
        """The lines of one event so far."""
        # Only what is new is read: a bench that burns a core to look on would be part of what it measures.
        with self.log.open("rb") as file:
            file.seek(self._read_bytes)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read_bytes += len(whole + newline)
        self._events += parsed(whole)
        return [event for event in self._events if event["event"] == name]

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
    return parsed(log.read_bytes().rpartition(b"\n")[0])


def parsed(lines: bytes) -> list[Event]:
    """Whole lines; what is no JSON object is somebody else's."""
    return [json.loads(line) for line in lines.splitlines() if line.startswith(b"{")]


def moment(event: Event) -> float:
    """Seconds since the epoch at which it was logged."""
    return datetime.fromisoformat(event["timestamp"]).timestamp()
