"""`clipwatch search` for scripts: paths alone, absolute, byte for byte."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.commands import COMMAND, SAMPLES, Home
from support.terminal import on_a_terminal

NAMES = (b"cat.jpg", b"two\nlines.jpg", b"\xff\\x.jpg", b"a b/\xe2\x82\xac.jpg")


@pytest.fixture
def mirrored(home: Home) -> Home:
    for name in NAMES:
        path = Path(os.fsdecode(os.path.join(os.fsencode(home.images), name)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((SAMPLES / "cat.jpg").read_bytes())
    home.run("sync")
    return home


def found(home: Home, *options: str) -> bytes:
    return subprocess.run(
        [COMMAND, "search", "cat", *options],
        cwd=home.path,
        env=home.full_environment(),
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    ).stdout


@pytest.mark.slow
def test_paths_are_absolute_and_each_ends_by_a_line_or_a_nul(mirrored: Home) -> None:
    wanted = {os.path.join(os.fsencode(mirrored.images), name) for name in NAMES}
    whole = found(mirrored, "-0")
    assert whole.endswith(b"\0")
    assert set(whole[:-1].split(b"\0")) == wanted
    assert all(Path(os.fsdecode(path)).is_file() for path in wanted)
    assert found(mirrored, "-f0") == whole
    assert found(mirrored, "--paths-only", "--null") == whole
    assert found(mirrored, "-f") == whole.replace(b"\0", b"\n")
    assert found(mirrored, "-f0", "-n", "1").count(b"\0") == 1
    shown = on_a_terminal(mirrored, "search", "cat", "-f").splitlines()
    assert sum(line.startswith(str(mirrored.images)) for line in shown) == len(NAMES), (
        "on a terminal a name is one line"
    )
    assert f"{mirrored.images}/two\\nlines.jpg" in shown


@pytest.mark.slow
def test_pictures_of_a_folder_that_is_not_configured_are_left_out_and_told(mirrored: Home) -> None:
    mirrored.environment["CLIPWATCH_WATCH__NAME"] = "other"
    done = mirrored.run("search", "cat", "-f", expect=1)
    assert done.stdout == ""
    assert done.stderr.endswith("Pictures in folder 'images' are left out: it is not in this configuration.\n")


def test_paths_alone_are_no_json(home: Home) -> None:
    home.add_samples("cat.jpg")
    assert "exclude each other" in home.run("search", "cat", "-0", "--json", expect=2).stderr


@pytest.mark.slow
def test_a_search_while_the_first_pictures_are_embedded_says_so(home: Home) -> None:
    home.add_samples("cat.jpg")
    home.environment["CLIPWATCH_WATCH__SETTLE_SECONDS"] = "3600"
    (home.images / "new.jpg").write_bytes((SAMPLES / "moon.png").read_bytes())
    with home.daemon():
        done = home.run("search", "moon")
        assert done.stdout == ""
        assert "indexing is under way, 2 files to go" in done.stderr
        assert home.json("search", "moon") == {"hits": []}
