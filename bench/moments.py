"""Short times that a person or a script feels: from a dropped file to its point, from a command to its answer."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bench.home import COMMAND, SETTLE_SECONDS, BenchFailed, Home, moment
from bench.measure import median, percentile

STARTS: Final = 5


def event_to_searchable(cache: Path, pictures: Path, model: Path, drops: int) -> dict[str, float]:
    """Drop *drops* JPEGs one after another on an idle daemon; until each one's point has been read back.

    The moments are the drop's (after the rename that makes the file appear) and that of the log line that says that
    the point was stored and read back, both by this machine's clock.
    """
    images = cache / "drops"
    for old in images.glob("*") if images.exists() else ():
        old.unlink()
    images.mkdir(parents=True, exist_ok=True)
    home = Home.make(cache / "events", images=images, model=model, engine="onnxruntime")
    sources = sorted(pictures.iterdir())
    waits: list[float] = []
    with home.daemon() as daemon:
        daemon.wait_for("scan.finished", 1)
        for number in range(drops):
            # Bytes after the end change the content, not the picture: each drop is a picture never seen before.
            data = sources[number % len(sources)].read_bytes() + b"%d" % number
            part = images / f".{number}.part"
            part.write_bytes(data)
            part.rename(images / f"{number:05d}.jpg")
            dropped = time.time()
            verified = daemon.wait_for("batch.verified", number + 1, seconds=60)
            waits.append(moment(verified[number]) - dropped)
            time.sleep(0.05)
        embedded = [event["seconds"] for event in daemon.events("batch.embedded")]
    rests = [wait - SETTLE_SECONDS - inference for wait, inference in zip(waits, embedded, strict=True)]
    return {
        "drops": drops,
        "p50_seconds": median(waits),
        "p99_seconds": percentile(waits, 0.99),
        "settle_seconds": SETTLE_SECONDS,
        "inference_p50_seconds": median(embedded),
        "inference_p99_seconds": percentile(embedded, 0.99),
        "beyond_settle_p50_seconds": median(waits) - SETTLE_SECONDS,
        "beyond_settle_p99_seconds": percentile(waits, 0.99) - SETTLE_SECONDS,
        "beyond_settle_and_inference_p99_seconds": percentile(rests, 0.99),
    }


def starts(cache: Path, pictures: Path, model: Path) -> dict[str, float]:
    """Medians in seconds: `run` to `daemon.ready` with the bench's model and with the demonstration's; commands."""
    result: dict[str, float] = {}
    for name, chosen, engine in (
        ("run_to_ready", model, "onnxruntime"),
        ("run_to_ready_auto", model, "auto"),
        ("run_to_ready_demonstration", None, "auto"),
    ):
        home = Home.make(cache / f"start-{name}", images=pictures, model=chosen, engine=engine)
        home.measured("sync", "--json")
        readies, stops = [], []
        for _ in range(STARTS):
            with home.daemon() as daemon:
                readies.append(moment(daemon.events("daemon.ready")[0]) - daemon.launched)
                ending = time.monotonic()
            stops.append(time.monotonic() - ending)
        result[f"{name}_seconds"] = median(readies)
        result[f"{name.replace('run_to_ready', 'stop')}_seconds"] = median(stops)
        if chosen is None:
            with home.daemon() as daemon:
                daemon.wait_for("scan.finished", 1)
                result["status_with_daemon_seconds"] = timed(home, "status", "--json")
                result["search_image_with_daemon_seconds"] = timed(
                    home, "search", "--json", "--image", str(next(iter(sorted(pictures.iterdir()))))
                )
            result["status_without_daemon_seconds"] = timed(home, "status", "--json")
    result["help_seconds"] = timed(home, "--help")
    result["python_alone_seconds"] = timed_command([sys.executable, "-c", "pass"], home)
    return result


def timed(home: Home, *arguments: str) -> float:
    """Median wall seconds of a clipwatch command."""
    return timed_command([COMMAND, *arguments], home)


def timed_command(command: list[str], home: Home) -> float:
    walls = []
    for _ in range(STARTS):
        before = time.monotonic()
        done = subprocess.run(
            command, cwd=home.path, env=home.environment(), capture_output=True, timeout=60, check=False
        )
        walls.append(time.monotonic() - before)
        if done.returncode != 0:
            raise BenchFailed(f"{' '.join(command[1:])}: exit {done.returncode}: {done.stderr.decode()[-200:]}")
    return median(walls)
