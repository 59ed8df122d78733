"""Runs inside the container, as root: has the service do what a service goes through, and writes down what it saw.

Imports nothing of the tests. Every step is told even when it fails; the judgement is `test_systemd_container.py`'s.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE: list[tuple[str, str, list[str]]] = json.loads(Path("/opt/test/page.json").read_text())
CLIPWATCH = "/opt/clipwatch/bin/clipwatch"
CONFIG = Path("/etc/clipwatch/config.toml")
DESK = Path("/root/desk")
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


def typed(*commands: str) -> list[tuple[str, int, str]]:
    """What came of lines that root types where nobody else may look, with the page's alias."""
    (alias,) = (line for _, section, lines in PAGE if section == "Asking the service" for line in lines[:1])
    done = []
    for command in commands:
        script = f"shopt -s expand_aliases\n{alias}\n{command}\n"
        said = subprocess.run(
            ["bash", "-c", script],
            cwd=DESK,
            env={**os.environ, "PATH": f"/opt/test/bin:{os.environ['PATH']}", "HOME": "/root"},
            capture_output=True,
            text=True,
            check=False,
        )
        tell("#", command, "→", said.returncode, said.stdout[-600:], said.stderr[-600:])
        done.append((command, said.returncode, said.stdout + said.stderr))
    return done


def block(section: str) -> list[str]:
    """The commands of the service under one heading of the page."""
    return [line for kind, under, lines in PAGE if (kind, under) == ("service", section) for line in lines]


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


def status(config: Path = CONFIG) -> dict[str, Any]:
    done = subprocess.run(
        ["runuser", "-u", "clipwatch", "--", CLIPWATCH, "--config", str(config), "status", "--json"],
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


def settled(points: int, config: Path = CONFIG) -> bool:
    return wait_until(lambda: (now := status(config)) and now["points"] == points and not now["pending"])


def quick(seconds: int | None) -> None:
    """systemd does not hear of an emptied cgroup v1 in a container, and waits `TimeoutStopSec` twice after a kill."""
    file = Path("/etc/systemd/system/clipwatch.service.d/quick.conf")
    if seconds is None:
        file.unlink()
    else:
        file.write_text(f"[Service]\nTimeoutStopSec={seconds}\n")
    run("systemctl", "daemon-reload")


def drop(name: str, folder: Path = IMAGES, sample: str = "cat.jpg", extra: bytes = b"") -> None:
    """Bytes after the end of a picture make it another content, and so another inference."""
    (folder / name).write_bytes((SAMPLES / sample).read_bytes() + extra)


def install() -> Any:
    done = typed(*block("As a service")[:-1])
    for drop_in in Path("/etc/systemd/system").glob("clipwatch*.service.d/openvino.conf"):
        drop_in.unlink()
    run("systemctl", "daemon-reload")
    for path in (IMAGES, CONFIG.parent, Path("/opt/clipwatch")):
        path.chmod(0o777)
    CONFIG.chmod(0o666)
    return {"done": done, "said": done[-1][2]}


def start() -> Any:
    drop("first.jpg")
    (IMAGES / "first.jpg").chmod(0o666)
    began = time.monotonic()
    done = typed(*block("As a service")[-1:])
    return {
        "done": done,
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
    for text in (
        good.replace("\ndecode_seconds = 20", "\ndecode_seconds = 0"),
        good.replace("image_embeddings", "elsewhere"),
    ):
        CONFIG.write_text(text)
        run("systemctl", "reload", "clipwatch")
        wait_until(lambda: len(events("config.refused")) > len(refused))
        refused.append(events("config.refused")[-1])
    CONFIG.write_text(good)
    return {"refused": refused, "same_process": before == show()["MainPID"], "state": status().get("state")}


def killed() -> Any:
    before = show()
    quick(2)
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
    quick(None)
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
    ((_, _, verified),) = typed("clipwatch verify --json")
    return {
        "rc": done.returncode,
        "seconds": seconds,
        "after": after,
        "whole": whole,
        "exact": json.loads(verified or "{}").get("exact"),
    }


def asked() -> Any:
    """What the page says about trouble, and the log."""
    before = {*DESK.iterdir()}
    (IMAGES / "broken.jpg").write_bytes(b"no picture at all")
    wait_until(lambda: events("image.rejected"))
    trouble = "What to do when …"
    lines = [line for kind, section, lines in PAGE if section == trouble and kind for line in lines]
    done = typed(*block("Asking the service")[1:], *lines, "clipwatch verify --json", *block("Reading the log"))
    found = re.findall(r'"event":\s*"([^"]+)"', done[-1][2])
    return {"done": done, "rejected": found, "left": [str(path) for path in {*DESK.iterdir()} - before]}


def instance() -> Any:
    *prepare, begin = block("Several folders, several instances")
    done = typed(*prepare)
    drop_in = Path("/etc/systemd/system/clipwatch@work.service.d/key.conf")
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nLoadCredential=api_key:/opt/test/key\n")
    Path("/opt/test/key").chmod(0o600)
    run("systemctl", "daemon-reload")
    drop("work.jpg", Path("/srv/work"), extra=b"work")
    state = Path("/srv/state")
    state.mkdir(mode=0o700)
    shutil.chown(state, "clipwatch", "clipwatch")
    done += typed(begin)
    config = Path("/etc/clipwatch/work.toml")
    embedded = wait_until(lambda: (now := status(config)) and not now["pending"] and now["points"])
    told, points = status(config), status()["points"]
    run("systemctl", "disable", "--now", "clipwatch@work")
    drop_in.unlink()
    drop_in.parent.rmdir()
    return {
        "done": done,
        "embedded": embedded,
        "state": told.get("state"),
        "points": [points, told.get("points")],
        "state_elsewhere": (state / "lock").exists(),
    }


def desktop() -> Any:
    """The same program for a person, in their own session."""
    person = pwd.getpwnam("someone")
    place = Path("/home/someone/pictures")
    (place / "images").mkdir(parents=True)
    (place / "images/mine.jpg").write_bytes((SAMPLES / "cat.jpg").read_bytes())
    (place / "config.toml").write_text(
        '[model]\nengine = "onnxruntime"\n[http]\nlisten = ""\n[[watch]]\nsettle_seconds = 0.1\n'
    )
    for path in (place, *place.rglob("*")):
        os.chown(path, person.pw_uid, person.pw_gid)
    run("systemctl", "start", f"user@{person.pw_uid}.service")

    def theirs(command: str) -> subprocess.CompletedProcess[str]:
        runtime = f"XDG_RUNTIME_DIR=/run/user/{person.pw_uid}"
        script = f"cd {place} && PATH=/opt/clipwatch/bin:$PATH && {command}"
        return run("runuser", "-u", "someone", "--", "env", runtime, "HOME=/home/someone", "sh", "-c", script)

    theirs("clipwatch service install --user")
    theirs("systemctl --user enable --now clipwatch")
    active = theirs("systemctl --user is-active clipwatch").stdout.strip()
    embedded = wait_until(lambda: json.loads(theirs("clipwatch status --json").stdout or "{}").get("points") == 1)
    owner = (place / "data/store").stat().st_uid
    theirs("clipwatch service uninstall --user")
    units = Path("/home/someone/.config/systemd/user")
    left = [str(path) for path in units.rglob("*") if not path.is_dir()]
    # Their session is left running: its end would be waited for as long as that of what is killed (see `quick`).
    return {"active": active, "embedded": embedded, "owner": owner, "left": left}


def wrong_config() -> Any:
    Path("/etc/clipwatch/wrong.toml").write_text("[batch]\nsise = 10\n")
    done = run("systemctl", "start", "clipwatch@wrong")
    before = show("clipwatch@wrong")
    # Longer than RestartSec: a restart would have come by now.
    threading.Event().wait(3)
    after = show("clipwatch@wrong")
    lines = [(str(entry.get("MESSAGE")), str(entry.get("PRIORITY"))) for entry in journal("clipwatch@wrong")]
    return {"rc": done.returncode, "before": before, "after": after, "lines": lines}


def journal_fields() -> Any:
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
        instance,
        stopped,
        asked,
        desktop,
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
