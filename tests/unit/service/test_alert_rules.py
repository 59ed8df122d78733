"""The alerting rules as Prometheus itself reads them: each fires when its time has come, not a minute before."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.optional import lacking

FILE = Path(__file__).parents[3] / "docs" / "alerts.yml"
RULES = {rule["alert"]: rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]}


@dataclass(frozen=True)
class Trouble:
    """One metric over time, as promtool spells it, a value a minute from minute 0 on."""

    metric: str
    ill: str
    well: str
    fires_at_minute: int
    labels: dict[str, str] = field(default_factory=dict)

    def series(self, values: str) -> list[dict[str, str]]:
        labels = ",".join(f'{name}="{value}"' for name, value in self.labels.items())
        return [{"series": f"{self.metric}{{{labels}}}", "values": values}] if values else []


FOLDER = {"folder": "images"}
TROUBLES = {
    "ClipwatchAbsent": Trouble("clipwatch_build_info", ill="", well="1x60", fires_at_minute=5),
    "ClipwatchStalled": Trouble("clipwatch_loop_age_seconds", ill="121x60", well="119x60", fires_at_minute=1),
    "ClipwatchWorkerStuck": Trouble("clipwatch_worker_stuck", "1x60", "0x60", 1, {"worker": "encode"}),
    "ClipwatchStoreAway": Trouble("clipwatch_store_up", ill="0x60", well="1x60", fires_at_minute=5),
    "ClipwatchFolderMissing": Trouble("clipwatch_folder_up", "0x60", "1x60", 10, FOLDER),
    "ClipwatchDeletesHeld": Trouble("clipwatch_deletes_held", "3x60", "0x60", 1, FOLDER),
    "ClipwatchUnconfirmed": Trouble("clipwatch_unconfirmed", "2x60", "0x60", 10, FOLDER),
    "ClipwatchRejectedGrowing": Trouble("clipwatch_rejected", "0x60 11x60", "0x60 10x60", 61, {"reason": "truncated"}),
    "ClipwatchNoScan": Trouble("clipwatch_last_scan_timestamp_seconds", "0x200", "0x100 6000x100", 181, FOLDER),
    "ClipwatchWatchUnhealthy": Trouble("clipwatch_watch_healthy", "0x60", "1x60", 10, FOLDER),
    "ClipwatchLag": Trouble("clipwatch_lag_seconds", ill="3601x60", well="3600x60", fires_at_minute=5),
    "ClipwatchDemonstrationModel": Trouble(
        "clipwatch_model_info", ill="1x90", well="", fires_at_minute=60, labels={"demonstration": "true"}
    ),
}


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        lacking("promtool, of the package prometheus, is not installed")
    return str(found)


def test_each_rule_fires_in_its_time_and_on_its_trouble_alone(promtool: str, tmp_path: Path) -> None:
    assert TROUBLES.keys() == RULES.keys()
    tests = [test for name, trouble in TROUBLES.items() for test in _tests_of(name, trouble)]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(FILE)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_finds_nothing_wrong_with_the_rules(promtool: str) -> None:
    command = [promtool, "check", "rules", "--lint=all", "--lint-fatal", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rules found" in done.stdout


def _tests_of(name: str, trouble: Trouble) -> list[dict[str, Any]]:
    rule, minute = RULES[name], trouble.fires_at_minute
    words = {
        key: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda label: trouble.labels[label[1]], text)
        for key, text in rule["annotations"].items()
    }
    alert = {"exp_labels": {**trouble.labels, **rule["labels"]}, "exp_annotations": words}

    def at(minutes: int, alerts: list[Any]) -> dict[str, Any]:
        return {"eval_time": f"{minutes}m", "alertname": name, "exp_alerts": alerts}

    return [
        {
            "interval": "1m",
            "input_series": trouble.series(trouble.ill),
            "alert_rule_test": [at(minute - 1, []), at(minute, [alert])],
        },
        {"interval": "1m", "input_series": trouble.series(trouble.well), "alert_rule_test": [at(minute, [])]},
    ]
