"""The wheel works away from the checkout: everything it needs is in it."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import zipfile
from pathlib import Path

import pytest

from support.container import build_wheel, install_wheel

pytestmark = pytest.mark.slow

SHARED = (
    "man/man1/clipwatch.1",
    "bash-completion/completions/clipwatch",
    "zsh/site-functions/_clipwatch",
    "fish/vendor_completions.d/clipwatch.fish",
)
"""Where `man` and the shells look, below `share`."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_everything_that_is_not_code_is_in_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "model/demonstration/clip_vision.onnx",
        "model/demonstration/bundle.json",
        "model/demonstration/ATTRIBUTION.md",
        "model/known/cat.jpg",
        "service/static/index.html",
        "service/units/clipwatch.service",
        "service/units/clipwatch@.service",
        "service/units/clipwatch.sysusers",
        "py.typed",
    ):
        assert f"clipwatch/{name}" in names, name
    for name in SHARED:
        assert any(found.endswith(f".data/data/share/{name}") for found in names), name
    assert not [name for name in names if name.startswith(("tests/", "bench/", "support/"))]


def test_the_licences_of_what_it_was_made_from_travel_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        attribution = archive.read("clipwatch/model/demonstration/ATTRIBUTION.md").decode()
        assert any(name.endswith("/LICENSE") for name in archive.namelist())
    for notice in (
        "Copyright (c) Microsoft Corporation.",
        "Copyright (c) 2017-2019 Miles Johnson",
        "Copyright © 2004-2025 Unicode, Inc.",
        "The above copyright notice and this permission notice shall be included in all",
        "UNICODE LICENSE V3",
    ):
        assert notice in attribution, notice


def test_installed_elsewhere_its_commands_work(wheel: Path, tmp_path: Path) -> None:
    prefix, home = tmp_path / "prefix", tmp_path / "home"
    install_wheel(wheel, prefix, Path(sysconfig.get_paths()["purelib"]))
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("CLIPWATCH_", "PYTHON"))}

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    clipwatch = str(prefix / "bin/clipwatch")
    where = run(str(prefix / "bin/python"), "-c", "import clipwatch; print(clipwatch.__file__)")
    assert where.startswith(str(prefix))
    assert run(clipwatch, "--version").startswith("clipwatch ")
    run(clipwatch, "config", "init")
    assert run(clipwatch, "completion", "bash") == (prefix / "share" / SHARED[1]).read_text()
    assert all((prefix / "share" / name).is_file() for name in SHARED)
    assert json.loads(run(clipwatch, "model", "info", "--json"))["demonstration"] is True
    assert f"ExecStart={clipwatch} " in run(clipwatch, "service", "install", "--dry-run")
