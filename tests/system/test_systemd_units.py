"""The unit files, and the command that writes them and removes them again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from clipwatch.cli import service
from clipwatch.cli.parser import build_parser
from clipwatch.cli.service import (
    NOTHING,
    Program,
    Reach,
    hidden_ones,
    instance_of,
    quoted,
    shipped,
    system_files,
    unit,
    user_files,
)
from clipwatch.errors import ConfigError
from support.commands import COMMAND, Home

CHECKOUT = Path(__file__).parents[2]
HIGHEST_EXPOSURE = 1.5
UNITS = Path("etc/systemd/system")


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("systemd-analyze is missing: see tests/system/install_packages.sh")
        pytest.skip("systemd-analyze is missing")
    with tempfile.TemporaryDirectory() as runtime:
        environment = {**os.environ, "XDG_RUNTIME_DIR": runtime}
        return subprocess.run(
            ["systemd-analyze", *arguments], env=environment, capture_output=True, text=True, check=False
        )


def _files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() or path.is_symlink()}


@pytest.fixture
def staged(home: Home) -> Path:
    root = home.path / "root"
    home.run("service", "install", "--root", str(root))
    return root


def test_the_shipped_template_is_the_unit_for_an_instance() -> None:
    assert shipped("clipwatch@.service") == instance_of(shipped("clipwatch.service"))
    assert (CHECKOUT / "systemd/clipwatch.service").read_text() == shipped("clipwatch.service")


def test_no_shipped_file_names_a_machine() -> None:
    for file in (CHECKOUT / "systemd").iterdir():
        for path in re.findall(r"(?<![\w.%])/[a-z][\w./@-]+", file.read_text()):
            assert path.startswith(("/opt/clipwatch", "/etc/", "/var/lib/clipwatch", "/bin/kill")), (file.name, path)


def test_systemd_finds_nothing_wrong_with_the_units(staged: Path) -> None:
    (staged / UNITS / "clipwatch@one.service").symlink_to("clipwatch@.service")
    for name in ("clipwatch.service", "clipwatch@one.service"):
        told = _analyze("verify", str(staged / UNITS / name))
        assert (told.returncode, told.stderr) == (0, "")


def test_systemd_finds_nothing_wrong_with_the_user_unit(home: Home) -> None:
    home.environment["XDG_CONFIG_HOME"] = "/config"
    home.run("service", "install", "--user", "--root", str(home.path / "root"))
    told = _analyze("--user", "verify", str(home.path / "root/config/systemd/user/clipwatch.service"))
    assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.parametrize("name", ["clipwatch.service", "clipwatch@one.service"])
def test_the_exposure_is_low(tmp_path: Path, name: str) -> None:
    (tmp_path / UNITS).mkdir(parents=True)
    for file in ("clipwatch.service", "clipwatch@.service"):
        shutil.copy(CHECKOUT / "systemd" / file, tmp_path / UNITS)
    told = _analyze("security", "--offline=true", f"--root={tmp_path}", name)
    rating = re.search(r"Overall exposure level for \S+: ([\d.]+)", told.stdout)
    assert rating, told.stdout + told.stderr
    assert float(rating[1]) <= HIGHEST_EXPOSURE


def test_installing_and_uninstalling_leaves_nothing_and_takes_nothing_else(home: Home) -> None:
    root = home.path / "root"
    (root / UNITS / "multi-user.target.wants").mkdir(parents=True)
    (root / "etc/clipwatch").mkdir()
    (root / "etc/clipwatch/config.toml").write_text("mine")
    (root / UNITS / "other.service").write_text("mine")
    before = _files(root)
    said = home.run("service", "install", "--root", str(root)).stdout
    written = _files(root) - before
    assert {f"Wrote {root / name}" for name in written} <= set(said.splitlines())
    assert {"etc/sysusers.d/clipwatch.conf", "etc/tmpfiles.d/clipwatch.conf"} <= written
    assert said.splitlines()[-1] == "Next: systemctl enable --now clipwatch"
    # What `systemctl enable` makes.
    (root / UNITS / "multi-user.target.wants/clipwatch.service").symlink_to("/etc/systemd/system/clipwatch.service")
    home.run("service", "install", "--root", str(root))
    said = home.run("service", "uninstall", "--root", str(root)).stdout
    assert _files(root) == before
    assert {f"Removed {root / name}" for name in written} <= set(said.splitlines())
    assert "Images, collection, state, configuration and the account are left as they are." in said


def test_a_file_that_is_not_ours_is_neither_written_over_nor_removed(home: Home) -> None:
    root = home.path / "root"
    (root / UNITS).mkdir(parents=True)
    (root / UNITS / "clipwatch.service").write_text("[Service]\nExecStart=/mine\n")
    refused = home.run("service", "install", "--root", str(root), expect=2)
    assert "was not written by clipwatch" in refused.stderr
    assert _files(root) == {str(UNITS / "clipwatch.service")}
    assert "Left" in home.run("service", "uninstall", "--root", str(root)).stdout
    assert (root / UNITS / "clipwatch.service").exists()


def test_a_dry_run_shows_everything_and_changes_nothing(home: Home) -> None:
    root = home.path / "root"
    said = home.run("service", "install", "--dry-run", "--root", str(root)).stdout
    assert f"ExecStart={COMMAND} --config /etc/clipwatch/config.toml run" in said
    assert not root.exists()
    home.run("service", "install", "--root", str(root))
    before = _files(root)
    assert "Would remove" in home.run("service", "uninstall", "--dry-run", "--root", str(root)).stdout
    assert _files(root) == before


def test_for_a_desktop_it_runs_in_this_directory_with_this_configuration(home: Home) -> None:
    home.environment["XDG_CONFIG_HOME"] = "/config"
    (home.path / "config.toml").write_text("")
    root = home.path / "root"
    home.run("service", "install", "--user", "--root", str(root))
    text = (root / "config/systemd/user/clipwatch.service").read_text()
    assert f"WorkingDirectory={home.path}\n" in text
    assert f"ExecStart={COMMAND} --config {home.path / 'config.toml'} run\n" in text
    assert "\nUser=" not in text
    home.run("service", "uninstall", "--user", "--root", str(root))
    assert _files(root) == set()


PROGRAM = Program(("/usr/bin/clipwatch",), (Path("/usr"),), openvino=False)


def test_only_what_would_be_hidden_is_bound_in_and_read_only() -> None:
    reach = Reach((Path("/srv/a"), Path("/home/me/b"), Path("/home/me/b/c")))
    files = system_files(PROGRAM, Path("/etc/clipwatch/config.toml"), reach, reach)
    for name in ("clipwatch.service", "clipwatch@.service"):
        lines = files[Path("/etc/systemd/system") / name].splitlines()
        assert [line for line in lines if line.startswith("Bind")] == ["BindReadOnlyPaths=-/home/me/b"]


def _settings(root: Path, name: str) -> list[str]:
    """The lines about directories of a staged unit, without those about this program."""
    lines = (root / UNITS / name).read_text().splitlines()
    about = ("BindReadOnlyPaths=", "BindPaths=", "ReadWritePaths=", "ReadOnlyPaths=")
    return [line for line in lines if line.startswith(about) and "/probe" in line]


def test_what_the_configurations_name_is_reachable_for_the_service_that_reads_them(home: Home) -> None:
    configs = home.path / "root/etc/clipwatch"
    configs.mkdir(parents=True)
    (configs / "config.toml").write_text("[[watch]]\npath = '/home/probe/photos'\nname = 'photos'\n")
    (configs / "work.toml").write_text(
        "[[watch]]\npath = '/srv/probe/images'\nname = 'work'\n"
        "[store]\nurl = 'embedded:/srv/probe/store'\napi_key_file = '/home/probe/key'\n"
        "[model]\npath = '/root/probe/models/clip.onnx'\n[state]\npath = '/home/probe/state'\n"
    )
    (configs / "other.toml").write_text("[model]\npath = '/home/probe/siglip'\n[state]\npath = 'state'\n")
    (configs / "broken.toml").write_text("[batch]\nsise = 1\n")
    root = home.path / "root"
    said = home.run("service", "install", "--root", str(root)).stderr
    assert len(said.splitlines()) == 1
    assert "broken.toml" in said
    assert "install again afterwards" in said
    assert _settings(root, "clipwatch.service") == ["BindReadOnlyPaths=-/home/probe/photos"]
    assert _settings(root, "clipwatch@.service") == [
        "BindReadOnlyPaths=-/home/probe/key",
        "BindReadOnlyPaths=-/home/probe/siglip",
        "BindReadOnlyPaths=-/root/probe/models",
        "BindPaths=-/home/probe/state",
        "ReadWritePaths=-/srv/probe",
        "ReadOnlyPaths=-/srv/probe/images",
    ]


def test_a_configuration_that_is_broken_keeps_nobody_from_undoing(home: Home) -> None:
    root = home.path / "root"
    home.run("service", "install", "--root", str(root))
    (root / "etc/clipwatch").mkdir()
    (root / "etc/clipwatch/config.toml").write_text("broken")
    assert "Removed" in home.run("service", "uninstall", "--root", str(root)).stdout
    assert _files(root) == {"etc/clipwatch/config.toml"}


def test_who_may_not_look_at_the_configuration_may_still_look_at_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    arguments = build_parser().parse_args(["service", "install", "--dry-run", "--root", str(tmp_path)])
    assert set(service._files(arguments, needs=True)) >= {service.SYSTEM_UNITS / "clipwatch.service"}
    assert "/etc/clipwatch/config.toml cannot be looked at." in capsys.readouterr().err


def test_a_unit_that_was_never_loaded_need_not_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def fails(command: list[str], *, check: bool) -> None:
        called.append(command)
        if check:
            raise subprocess.CalledProcessError(5, command)

    monkeypatch.setattr(subprocess, "run", fails)
    run = service._Runner(dry=False, live=True)
    run("systemctl", "stop", "clipwatch.service", check=False)
    with pytest.raises(ConfigError, match="daemon-reload"):
        run("systemctl", "daemon-reload")
    assert len(called) == 2


def test_an_interpreter_below_a_home_is_bound_in() -> None:
    assert hidden_ones([Path("/root/.pyenv/3.11"), Path("/usr"), Path("/home/me/.venv")]) == [
        Path("/home/me/.venv"),
        Path("/root/.pyenv/3.11"),
    ]


def test_words_that_systemd_would_read_otherwise_are_quoted() -> None:
    assert quoted("/plain/path-1.0") == "/plain/path-1.0"
    assert quoted("/my photos/50%") == '"/my photos/50%%"'
    assert quoted('a"b\\c') == '"a\\"b\\\\c"'
    template = "[Service]\nExecStart=x\nProtectHome=tmpfs\nWorkingDirectory=%h\n"
    text = unit(template, ("/a b/$c",), directory="/my 100%", reach=Reach((Path("/home/a:b c"),)))
    assert 'ExecStart="/a b/$$c"\n' in text
    assert 'BindReadOnlyPaths="-/home/a\\\\:b c"\n' in text
    assert "WorkingDirectory=/my 100%%\n" in text


def test_where_openvino_is_installed_its_drop_in_is_written() -> None:
    program = Program(PROGRAM.command, PROGRAM.needs, openvino=True)
    drop_ins = [
        path
        for path in system_files(program, Path("/c"), NOTHING, NOTHING)
        if path.suffix == ".conf" and ".d" in str(path)
    ]
    assert Path("/etc/systemd/system/clipwatch.service.d/openvino.conf") in drop_ins
    assert not any("openvino" in str(path) for path in system_files(PROGRAM, Path("/c"), NOTHING, NOTHING))
    units = Path("/u")
    assert units / "clipwatch.service.d/openvino.conf" in user_files(program, None, Path("/"), units)
