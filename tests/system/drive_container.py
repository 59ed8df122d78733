"""Runs inside the container, as root: has the service do what a service goes through, and writes down what it saw.

Imports nothing of the tests. Every step is told even when it fails; the judgement is `test_systemd_container.py`'s.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLIPWATCH = "/opt/clipwatch/bin/clipwatch"
CONFIG = Path("/etc/clipwatch/config.toml")
IMAGES, MORE = Path("/srv/images"), Path("/srv/more")
SAMPLES = Path("/opt/test/samples")
PATIENCE_SECONDS = 40.0

report: dict[str, Any] = {}


def tell(*words: object) -> None:
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


def run(*command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    tell("$", *command, "→", done.returncode, done.stdout[-600:], done.stderr[-600:])
    return done


def wait_until(condition: Callable[[], Any]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return True
        threading.Event().wait(0.1)
    return False


def show(unit: str = "clipwatch") -> dict[str, str]:
    names = "ActiveState,SubState,MainPID,NRestarts,Result,ExecMainStatus,StatusText,ExecMainCode"
    done = subprocess.run(["systemctl", "show", unit, "-p", names], capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def status() -> dict[str, Any]:
    done = subprocess.run(
        [CLIPWATCH, "--config", str(CONFIG), "status", "--json"],
        cwd="/var/lib/clipwatch",
        capture_output=True,
        text=True,
        check=False,
    )
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {}


def journal(unit: str = "clipwatch") -> list[dict[str, Any]]:
    done = subprocess.run(["journalctl", "-u", unit, "-o", "json"], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def events(name: str) -> list[dict[str, Any]]:
    found = []
    for entry in journal():
        message = entry.get("MESSAGE")
        if isinstance(message, str) and message.startswith("{"):
            event = json.loads(message)
            if event["event"] == name:
                found.append(event)
    return found


def settled(points: int) -> bool:
    return wait_until(lambda: (now := status()) and now["points"] == points and not now["pending"])


def drop(name: str, folder: Path = IMAGES, sample: str = "cat.jpg", extra: bytes = b"") -> None:
    """Bytes after the end of a picture make it another content, and so another inference."""
    (folder / name).write_bytes((SAMPLES / sample).read_bytes() + extra)


def install() -> Any:
    done = run(CLIPWATCH, "service", "install")
    for drop_in in Path("/etc/systemd/system").glob("clipwatch*.service.d/openvino.conf"):
        drop_in.unlink()
    run("systemctl", "daemon-reload")
    return {"rc": done.returncode, "said": done.stdout}


def start() -> Any:
    drop("first.jpg")
    began = time.monotonic()
    done = run("systemctl", "enable", "--now", "clipwatch")
    return {
        "rc": done.returncode,
        "seconds": time.monotonic() - began,
        "after": show(),
        "ready": bool(events("daemon.ready")),
        "embedded": settled(1),
    }


def dropped_file() -> Any:
    drop("second.png", sample="moon.png")
    return {"embedded": settled(2), "status_text": show()["StatusText"]}


def checked() -> Any:
    """By root, from a directory that is not the service's."""
    done = run(CLIPWATCH, "--config", str(CONFIG), "check", "--json")
    return {"rc": done.returncode, **json.loads(done.stdout)}


def hardening() -> Any:
    main = show()["MainPID"]
    lines = Path(f"/proc/{main}/status").read_text().splitlines()
    process = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    text = Path("/etc/systemd/system/clipwatch.service").read_text().splitlines()
    dropped = ("ExecStart=", "ExecReload=", "Type=", "WatchdogSec=", "Restart", "StateDirectory=", "WorkingDirectory=")
    kept = [line for line in text if not line.startswith(dropped)]
    at = kept.index("[Service]") + 1
    kept[at:at] = [
        "Type=oneshot",
        "ExecStart=/opt/clipwatch/bin/python /opt/test/probe.py",
        "StateDirectory=probe",
        "WorkingDirectory=/var/lib/probe",
    ]
    Path("/etc/systemd/system/probe.service").write_text("\n".join(kept))
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "probe")
    probe = json.loads(Path("/var/lib/probe/report.json").read_text())
    names = ("NoNewPrivs", "Seccomp", "CapEff", "CapBnd", "CapPrm", "Uid")
    return {"process": {name: process[name].strip() for name in names}, "probe": probe}


def good_reload() -> Any:
    before = show()
    MORE.mkdir()
    text = CONFIG.read_text().replace("settle_seconds = 0.1", "settle_seconds = 0.2")
    CONFIG.write_text(text + f'\n[[watch]]\npath = "{MORE}"\nname = "more"\nsettle_seconds = 0.1\n')
    done = run("systemctl", "reload", "clipwatch")
    told = wait_until(lambda: events("config.reloaded"))
    drop("third.jpg", MORE, "rocket.jpg")
    return {
        "rc": done.returncode,
        "told": told and events("config.reloaded")[-1],
        "embedded": settled(3),
        "same_process": before["MainPID"] == show()["MainPID"],
        "active": show()["ActiveState"],
    }


def bad_reloads() -> Any:
    before, good = show()["MainPID"], CONFIG.read_text()
    refused: list[dict[str, Any]] = []
    for text in (good + "\n[limits]\ndecode_seconds = 0\n", good.replace("image_embeddings", "elsewhere")):
        CONFIG.write_text(text)
        run("systemctl", "reload", "clipwatch")
        wait_until(lambda: len(events("config.refused")) > len(refused))
        refused.append(events("config.refused")[-1])
    CONFIG.write_text(good)
    return {"refused": refused, "same_process": before == show()["MainPID"], "state": status().get("state")}


def killed() -> Any:
    before = show()
    run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "clipwatch")
    back = wait_until(
        lambda: (now := show())["ActiveState"] == "active" and now["MainPID"] not in ("0", before["MainPID"])
    )
    return {"back": back, "whole": settled(3), "restarts": int(show()["NRestarts"]) - int(before["NRestarts"])}


def frozen() -> Any:
    before = show()
    Path("/run/freeze").touch()
    drop("frozen.jpg", extra=b"frozen")
    began = time.time()
    restarted = wait_until(lambda: int(show()["NRestarts"]) > int(before["NRestarts"]))
    Path("/run/freeze").unlink()
    barks = [entry for entry in journal() if "Watchdog timeout" in str(entry.get("MESSAGE"))]
    return {
        "restarted": restarted,
        "seconds": int(barks[-1]["__REALTIME_TIMESTAMP"]) / 1e6 - began if barks else None,
        "stuck": events("daemon.stuck"),
        "embedded": settled(4),
    }


def stopped() -> Any:
    for number in range(12):
        drop(f"late-{number}.jpg", extra=str(number).encode())
    began = time.monotonic()
    done = run("systemctl", "stop", "clipwatch")
    seconds = time.monotonic() - began
    after = show()
    run("systemctl", "start", "clipwatch")
    whole = settled(16)
    verified = run("sh", "-c", f"cd /var/lib/clipwatch; {CLIPWATCH} --config {CONFIG} verify --json")
    return {
        "rc": done.returncode,
        "seconds": seconds,
        "after": after,
        "whole": whole,
        "exact": json.loads(verified.stdout or "{}").get("exact"),
    }


def wrong_config() -> Any:
    Path("/etc/clipwatch/wrong.toml").write_text("[batch]\nsise = 10\n")
    done = run("systemctl", "start", "clipwatch@wrong")
    before = show("clipwatch@wrong")
    # Longer than RestartSec: a restart would have come by now.
    threading.Event().wait(3)
    after = show("clipwatch@wrong")
    lines = [str(entry.get("MESSAGE")) for entry in journal("clipwatch@wrong")]
    return {"rc": done.returncode, "before": before, "after": after, "lines": lines}


def journal_fields() -> Any:
    Path(IMAGES / "broken.jpg").write_bytes(b"no picture at all")
    wait_until(lambda: events("image.rejected"))
    ours = [entry for entry in journal() if str(entry.get("MESSAGE", "")).startswith("{")]
    told = []
    for entry in ours:
        event = json.loads(entry["MESSAGE"])
        told.append([event["event"], event["level"], entry["PRIORITY"]])
    return {"events": told}


def openvino() -> Any:
    code = ("/opt/clipwatch/bin/python", "/opt/test/try_openvino.py")
    tried = {}
    for name, value in (("denied", "yes"), ("allowed", "no")):
        common = ("systemd-run", "--wait", "--quiet", "--pipe", "-p", f"MemoryDenyWriteExecute={value}")
        done = run(*common, *code)
        tried[name] = {"rc": done.returncode, "said": (done.stdout + done.stderr)[-300:]}
    return tried


def uninstall() -> Any:
    done = run(CLIPWATCH, "service", "uninstall")
    left = [str(path) for path in Path("/etc/systemd/system").rglob("clipwatch*")]
    return {
        "rc": done.returncode,
        "left": [path for path in left if "test.conf" not in path and not path.endswith(".d")],
        "active": show()["ActiveState"],
        "images": len(list(IMAGES.iterdir())),
        "store": Path("/var/lib/clipwatch/data/store").is_dir(),
        "config": CONFIG.exists(),
    }


def main() -> int:
    for step in (
        install,
        start,
        dropped_file,
        checked,
        hardening,
        good_reload,
        bad_reloads,
        killed,
        frozen,
        stopped,
        wrong_config,
        journal_fields,
        openvino,
        uninstall,
    ):
        began = time.monotonic()
        try:
            report[step.__name__] = step()
        except Exception:  # noqa: BLE001 - a step that fails is told, and the next ones are tried
            report[step.__name__] = {"failed": traceback.format_exc()}
        report[step.__name__]["took"] = round(time.monotonic() - began, 2)
        tell(step.__name__, json.dumps(report[step.__name__])[:3000])
    report["log"] = [entry.get("MESSAGE") for entry in journal()]
    Path("/var/report.json").write_text(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
