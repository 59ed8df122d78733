"""A real systemd, booted in a container on this machine's own /usr: no image, about two seconds.

The program runs there as it is installed from its wheel; what it depends on is bound in read-only from the environment
that runs the tests. One unit drives everything, writes a report and turns the container off.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any, Final

CHECKOUT: Final = Path(__file__).parents[2]
BOOT_SECONDS: Final = 420
PROGRAM: Final = Path("opt/clipwatch")
TEST: Final = Path("opt/test")

DRIVER_UNIT: Final = """\
[Unit]
Description=Drives the test
After=dbus.service systemd-journald.service

[Service]
Type=oneshot
ExecStart=/opt/clipwatch/bin/python /opt/test/drive.py
ExecStopPost=/usr/bin/systemctl poweroff --no-block --force
StandardOutput=file:/var/driver.log
StandardError=inherit
TimeoutStartSec=410
"""


def why_not() -> str:
    """What keeps a container from being booted here, or ""."""
    if sys.platform != "linux":
        return "systemd is Linux's"
    if os.geteuid() != 0:
        return "only root can boot a container"
    missing = [name for name in ("systemd-nspawn", "systemctl", "dbus-daemon", "jq") if shutil.which(name) is None]
    return f"{', '.join(missing)} missing: see tests/system/install_packages.sh" if missing else ""


def build_wheel(directory: Path) -> Path:
    """The wheel of this checkout, built in *directory* so that nothing is left in the checkout."""
    source = directory / "source"
    tracked = subprocess.run(
        [
            "git",
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "daemon",
            "systemd",
            "pyproject.toml",
            "*.md",
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in (*tracked, "LICENSE"):
        file = CHECKOUT / name
        if file.is_file() or file.is_symlink():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, source / name, follow_symlinks=False)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(directory),
    ]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(directory.glob("clipwatch-*.whl"))


def install_wheel(wheel: Path, prefix: Path, dependencies: Path) -> None:
    """The wheel by pip into a virtual environment at *prefix*, which finds what it needs at *dependencies*."""
    venv.create(prefix, symlinks=True, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(prefix / "bin/python")]
    done = subprocess.run(
        [*pip, "install", "--quiet", "--no-index", "--no-deps", "--no-compile", str(wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    packages = prefix / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (packages / "dependencies.pth").write_text(f"{dependencies}\n")


class Container:
    """A root directory below *directory*, to be filled and then booted once."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        for name in ("usr", "etc", "var/lib", "run", "tmp", "proc", "sys", "dev", "root", "home", "srv", "opt/test"):
            (self.root / name).mkdir(parents=True)
        (self.root / "tmp").chmod(0o1777)
        for name in ("bin", "sbin", "lib", "lib64"):
            host = Path("/") / name
            if host.is_symlink():
                (self.root / name).symlink_to(host.readlink())
        etc = self.root / "etc"
        subprocess.run(["cp", "-a", "/etc/.", etc], check=True)
        for name in ("machine-id", "os-release", "resolv.conf"):
            (etc / name).unlink(missing_ok=True)
        shutil.copy("/usr/lib/os-release", etc / "os-release")
        for unwanted in (etc / "systemd/system").glob("*.wants/*"):
            unwanted.unlink()
        install_wheel(build_wheel(directory), self.root / PROGRAM, Path("/opt/clipwatch/dependencies"))
        script = self.root / PROGRAM / "bin/clipwatch"
        script.write_text(script.read_text().replace(str(self.root), "", 1))
        # Whoever asks the service needs an interpreter, which may be the one of root's home.
        (self.root / "root").chmod(0o711)
        (self.root / PROGRAM / "dependencies").mkdir()

    def write(self, path: str, text: str) -> None:
        """A file of the container."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def add_user(self, name: str, number: int) -> None:
        """A person with a home of their own."""
        for file, line in {
            "passwd": f"{name}:x:{number}:{number}::/home/{name}:/bin/sh",
            "group": f"{name}:x:{number}:",
            "shadow": f"{name}:*:19000:0:99999:7:::",
        }.items():
            with (self.root / "etc" / file).open("a") as out:
                out.write(line + "\n")
        home = self.root / "home" / name
        home.mkdir(mode=0o700, exist_ok=True)
        for path in (home, *home.rglob("*")):
            os.chown(path, number, number)

    def boot(self, driver: Path) -> dict[str, Any]:
        """Run *driver* in it; the report that it wrote to /var/report.json."""
        shutil.copy(driver, self.root / TEST / "drive.py")
        self.write("etc/systemd/system/drive.service", DRIVER_UNIT)
        wants = self.root / "etc/systemd/system/multi-user.target.wants"
        wants.mkdir(parents=True, exist_ok=True)
        (wants / "drive.service").symlink_to("../drive.service")
        binds = [f"--bind-ro={sysconfig.get_paths()['purelib']}:/opt/clipwatch/dependencies"]
        if not Path(sys.base_prefix).is_relative_to("/usr"):
            binds.append(f"--bind-ro={sys.base_prefix}")
        command = [
            "systemd-nspawn",
            "-q",
            "-D",
            str(self.root),
            "--bind-ro=/usr",
            *binds,
            "--register=no",
            "--keep-unit",
        ]
        # The container's own filter knows no Landlock; it is the unit's that is to be seen.
        command += ["--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self"]
        command += ["--private-network", "-b", "--kill-signal=SIGRTMIN+3", "systemd.unit=multi-user.target"]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                said, _ = process.communicate(timeout=BOOT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                said, _ = process.communicate()
        report = self.root / "var/report.json"
        log = self.root / "var/driver.log"
        told = log.read_text(errors="replace") if log.exists() else said.decode(errors="replace")[-4000:]
        assert report.exists(), f"the container wrote no report:\n{told}"
        result: dict[str, Any] = json.loads(report.read_text())
        result["driver_log"] = told
        return result
