"""The installed command, as a user has it: in a directory of its own, with real files."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.folders import wait_until

COMMAND = str(Path(sys.executable).with_name("clipwatch"))
SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
FAST = {
    "CLIPWATCH_WATCH__SETTLE_SECONDS": "0.05",
    "CLIPWATCH_HTTP__LISTEN": "",
    "CLIPWATCH_MODEL__ENGINE": "onnxruntime",
}
PATIENCE_SECONDS = 60.0


@dataclass
class Home:
    """A directory with `images/`, where commands are run."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def images(self) -> Path:
        return self.path / "images"

    def add_samples(self, *names: str) -> None:
        """Copy pictures from the samples, all or by name."""
        self.images.mkdir(exist_ok=True)
        for file in SAMPLES.iterdir():
            if file.suffix in (".jpg", ".png") and (not names or file.name in names):
                shutil.copy(file, self.images / file.name)

    def full_environment(self) -> dict[str, str]:
        """What a command is given."""
        ours = {key: value for key, value in os.environ.items() if not key.startswith("CLIPWATCH_")}
        return {**ours, **FAST, **self.environment}

    def run(self, *arguments: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=self.path,
            env=self.full_environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert expect is None or done.returncode == expect, (
            f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def json(self, *arguments: str, expect: int | None = 0) -> Any:
        """One command's JSON document; stdout holds nothing else."""
        return json.loads(self.run(*arguments, "--json", expect=expect).stdout)

    @contextlib.contextmanager
    def daemon(
        self, *arguments: str, options: Sequence[str] = (), before: Sequence[str] = (), until: str = "daemon.ready"
    ) -> Iterator[Running]:
        """A running daemon that has logged *until*, with *options* of `run`; killed at the end if it still runs.

        *before*: what starts it, where it is not to be started as it is.
        """
        log = self.path / "daemon.log"
        with log.open("ab") as stderr:
            process = subprocess.Popen(
                [*before, COMMAND, *arguments, "run", *options],
                cwd=self.path,
                env=self.full_environment(),
                stderr=stderr,
            )
        running = Running(process, log, log.stat().st_size)
        try:
            running.wait_for(until)
            yield running
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE_SECONDS)

    def wait_exact(self) -> dict[str, Any]:
        """Until the daemon says that nothing is pending; its status then."""
        status: dict[str, Any] = {}

        def quiet() -> bool:
            status.update(self.json("status"))
            return bool(status["state"] in ("watching", "held") and status["pending"] == 0)

        wait_until(quiet, PATIENCE_SECONDS)
        return status


@dataclass
class Running:
    """A daemon and its log."""

    process: subprocess.Popen[bytes]
    log: Path
    start: int

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The lines it has logged, or those of one event."""
        with self.log.open("rb") as file:
            file.seek(self.start)
            lines = [json.loads(line) for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]
        return [line for line in lines if name is None or line["event"] == name]

    def wait_for(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Until that many lines of *event* are there."""

        def there() -> bool:
            assert self.process.poll() is None, f"the daemon ended:\n{self.log.read_text()}"
            return len(self.events(event)) >= count

        wait_until(there, PATIENCE_SECONDS)
        return self.events(event)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)
