"""The service on a real systemd: one boot, and what was seen in it."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from support.commands import SAMPLES
from support.container import Container, why_not
from support.optional import needs
from support.pages import DOCS, console_blocks

# One boot takes 75 s on two slow cores, thrice that where they do something else too; the limit is for a machine
# that is busier still.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(480), pytest.mark.xdist_group("container")]

HERE = Path(__file__).parent
WATCHDOG_SECONDS = 6

SUDO = """\
#!/bin/sh
# What the page writes, where sudo is not installed and everything is root anyway.
if [ "$1" = -u ]; then user=$2; shift 2; exec runuser -u "$user" -- "$@"; fi
exec "$@"
"""

KEY = "the-key-of-the-test"

EDITOR = f"""\
#!/bin/sh
# What an operator types into what `config init` wrote.
is() {{ sed -i "s|^$1 = .*|$1 = $2|" "$file"; }}
file=$1
is settle_seconds 0.1
is engine '"onnxruntime"'
is size 1
case "$file" in
*/config.toml)
    sed -i 's|/var/lib/clipwatch/images|/srv/images|' "$file"
    is embedded_listen '"127.0.0.1:6399"'
    is api_key '"{KEY}"' ;;
*/work.toml)
    sed -i 's|/var/lib/clipwatch/work/images|/srv/work|' "$file"
    sed -i 's|/var/lib/clipwatch/work/data/state|/srv/state|' "$file"
    is name '"work"'
    is url '"http://127.0.0.1:6399"'
    is collection '"work"'
    is listen '"127.0.0.1:8767"' ;;
esac
"""
"""The second service uses the first one's engine as its server."""

FREEZE = """\
import sys

if "run" in sys.orig_argv:
    import threading
    from pathlib import Path

    from clipwatch.model.encoder import VisionEncoder

    encode = VisionEncoder.encode

    def frozen(self, pixels):
        if Path("/run/freeze").exists():
            threading.Event().wait()
        return encode(self, pixels)

    VisionEncoder.encode = frozen
"""
"""An inference that never ends, as a driver or a library can make it."""

DROP_IN = f"""\
[Service]
Environment=PYTHONPATH=/opt/test/freeze
WatchdogSec={WATCHDOG_SECONDS}
RestartSec=1
"""


def landlock_abi() -> int:
    """What this kernel has, asked outside of the container (landlock_create_ruleset(2))."""
    return int(ctypes.CDLL(None, use_errno=True).syscall(444, None, ctypes.c_size_t(0), 1))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of one boot."""
    if why_not():
        if os.environ.get("CI") == "true":
            pytest.fail(why_not())
        pytest.skip(why_not())
    container = Container(tmp_path_factory.mktemp("container"))
    for name, script in {"sudo": SUDO, "editor": EDITOR}.items():
        container.write(f"opt/test/bin/{name}", script)
        (container.root / "opt/test/bin" / name).chmod(0o755)
    container.write("opt/test/page.json", json.dumps(console_blocks(DOCS / "operations.md")))
    container.write("opt/test/key", KEY + "\n")
    container.write("opt/test/freeze/sitecustomize.py", FREEZE)
    container.write("etc/systemd/system/clipwatch.service.d/test.conf", DROP_IN)
    container.write("etc/systemd/system/clipwatch@.service.d/test.conf", "[Service]\nRestartSec=1\n")
    container.write("home/someone/secret", "secret")
    container.write("root/secret", "secret")
    container.add_user("someone", 4711)
    (container.root / "root/desk").mkdir(mode=0o700)
    for name in ("images", "work"):
        (container.root / "srv" / name).mkdir()
    (container.root / "opt/test/samples").mkdir()
    for name in ("cat.jpg", "moon.png", "rocket.jpg"):
        shutil.copy(SAMPLES / name, container.root / "opt/test/samples")
    shutil.copy(HERE / "probe_sandbox.py", container.root / "opt/test/probe.py")
    shutil.copy(HERE / "try_openvino.py", container.root / "opt/test")
    report = container.boot(HERE / "drive_container.py")
    shutil.rmtree(container.root)
    return report


def test_installing_writes_the_files_and_names_the_next_command(seen: dict[str, Any]) -> None:
    said = seen["install"]["said"]
    assert "Wrote /etc/systemd/system/clipwatch.service" in said
    assert "Next: systemctl enable --now clipwatch" in said.splitlines()


def test_the_page_is_true_to_the_letter(seen: dict[str, Any]) -> None:
    """Each command of the service's blocks, then those for trouble, from a directory that the account may not enter."""
    done = [*seen["install"]["done"], *seen["start"]["done"], *seen["asked"]["done"], *seen["instance"]["done"]]
    failed = [(command, rc, said) for command, rc, said in done if rc != 0]
    assert failed == []
    asked = [command for command, _, _ in seen["asked"]["done"]]
    assert {"clipwatch status", "clipwatch confirm", "clipwatch verify --deep", "clipwatch sync"} <= {*asked}
    assert seen["asked"]["rejected"] == ["image.rejected"]
    assert seen["asked"]["left"] == [], "nothing is left where the operator stands"


def test_a_second_instance_works_with_a_key_from_systemds_credentials(seen: dict[str, Any]) -> None:
    assert seen["instance"]["embedded"], seen["instance"]
    assert seen["instance"]["state"] == "watching"
    assert seen["instance"]["points"] == [4, 1], "the first one's are not touched"
    assert seen["instance"]["state_elsewhere"], "what its configuration names can be written to"


def test_on_a_desktop_it_runs_for_its_user(seen: dict[str, Any]) -> None:
    desktop = seen["desktop"]
    assert desktop["active"] == "active", desktop
    assert desktop["embedded"]
    assert desktop["owner"] == 4711
    assert desktop["left"] == []


def test_starting_returns_when_it_is_ready(seen: dict[str, Any]) -> None:
    start = seen["start"]
    assert (start["after"]["ActiveState"], start["after"]["SubState"]) == ("active", "running")
    assert start["ready"]
    assert start["embedded"]


def test_a_dropped_file_is_embedded_and_the_status_line_says_so(seen: dict[str, Any]) -> None:
    assert seen["dropped_file"]["embedded"], seen["dropped_file"]
    assert "points" in seen["dropped_file"]["status_text"]


def test_root_checks_with_the_eyes_of_the_service(seen: dict[str, Any]) -> None:
    checked = seen["checked"]
    assert (checked["rc"], checked["ok"]) == (0, True), checked
    details = {check["name"]: check["detail"] for check in checked["checks"]}
    assert details["user"] == "clipwatch"
    assert details["daemon"].startswith("running")
    assert details["watching images"] == "by watchdog"
    assert details["store"].endswith("through the daemon")


def test_a_good_configuration_is_taken_without_a_restart(seen: dict[str, Any]) -> None:
    reload = seen["good_reload"]
    assert reload["rc"] == 0, reload
    assert reload["told"]["changed"] == ["watch[images].settle_seconds", "watch[more]"]
    assert reload["embedded"]
    assert reload["same_process"]
    assert reload["active"] == "active"


def test_a_bad_configuration_is_refused_with_its_key(seen: dict[str, Any]) -> None:
    bad = seen["bad_reloads"]
    assert "limits.decode_seconds" in bad["refused"][0]["reason"], bad
    assert bad["refused"][1]["keys"] == ["store.collection"]
    assert bad["same_process"]
    assert bad["state"] == "watching"


def test_killed_it_comes_back_whole(seen: dict[str, Any]) -> None:
    assert seen["killed"]["back"], seen["killed"]
    assert seen["killed"]["whole"]
    assert seen["killed"]["restarts"] == 1


def test_a_frozen_encoder_is_restarted_by_the_watchdog(seen: dict[str, Any]) -> None:
    frozen = seen["frozen"]
    assert frozen["restarted"], frozen
    assert frozen["stuck"][-1]["workers"] == ["encode"]
    # Twice the watchdog's time, and a little for the file to reach the encoder.
    assert WATCHDOG_SECONDS < frozen["seconds"] < 2 * WATCHDOG_SECONDS + 4
    assert frozen["embedded"]


def test_stopping_takes_less_than_ten_seconds_and_loses_nothing(seen: dict[str, Any]) -> None:
    stopped = seen["stopped"]
    assert stopped["rc"] == 0, stopped
    assert stopped["seconds"] < 10
    assert stopped["after"]["Result"] == "success"
    assert stopped["whole"]
    assert stopped["exact"] is True


def test_a_wrong_configuration_fails_once_with_the_sentence_in_the_journal(seen: dict[str, Any]) -> None:
    wrong = seen["wrong_config"]
    assert wrong["rc"] != 0
    assert (wrong["after"]["ActiveState"], wrong["after"]["ExecMainStatus"]) == ("failed", "2"), wrong
    assert wrong["after"]["NRestarts"] == "0"
    sentences = [line for line, _ in wrong["lines"] if line.startswith("clipwatch: ")]
    assert len(sentences) == 1
    assert "batch.sise" in sentences[0]
    assert "Did you mean `size`?" in sentences[0]
    assert [priority for line, priority in wrong["lines"] if line == sentences[0]] == ["3"]


def test_the_service_can_neither_write_nor_peek_nor_gain_anything(seen: dict[str, Any]) -> None:
    process, probe = seen["hardening"]["process"], dict(seen["hardening"]["probe"])
    assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2")
    assert {int(process[name], 16) for name in ("CapEff", "CapBnd", "CapPrm")} == {0}
    assert not process["Uid"].startswith("0\t")
    assert probe.pop("reads images") is True
    assert probe.pop("homes") == []
    walls = probe.pop("walls")
    assert walls["seccomp_filters"] >= 1
    assert walls["no_new_privileges"] is True
    assert walls["landlock_abi"] == max(0, landlock_abi())
    worked = [attempt for attempt, error in probe.items() if not error]
    assert worked == []
    # Every permission is given: it is the service's own view that cannot be written to.
    allowed = ("write an image", "change an image", "delete an image", "write the configuration", "write the program")
    assert {probe[attempt] for attempt in allowed} == {"EROFS"}


def test_the_journal_has_each_event_as_json_with_its_priority(seen: dict[str, Any]) -> None:
    told = seen["journal_fields"]["events"]
    assert {name for name, _, _ in told} >= {"daemon.started", "daemon.ready", "batch.stored", "image.rejected"}
    expected = {"debug": "7", "info": "6", "warning": "4", "error": "3"}
    assert [(level, priority) for _, level, priority in told if expected[level] != priority] == []


def test_the_openvino_drop_in_is_needed_and_enough(seen: dict[str, Any]) -> None:
    needs("openvino")
    assert seen["openvino"]["denied"]["rc"] != 0
    assert seen["openvino"]["allowed"]["rc"] == 0, seen["openvino"]


def test_uninstalling_leaves_images_collection_and_configuration(seen: dict[str, Any]) -> None:
    gone = seen["uninstall"]
    assert gone["rc"] == 0, gone
    assert gone["left"] == []
    assert gone["active"] == "inactive"
    assert gone["images"] >= 3
    assert gone["store"]
    assert gone["config"]


def test_the_report_is_complete(seen: dict[str, Any]) -> None:
    failed = {step: told["failed"] for step, told in seen.items() if isinstance(told, dict) and "failed" in told}
    assert failed == {}, json.dumps(failed)
    assert sys.platform == "linux"
