"""What `verify`, `sync --dry-run` and `migrate` say, and their status, by what is answered or asked for."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from clipwatch.cli import sync, verify
from clipwatch.cli.assemble import NOTEBOOK
from clipwatch.cli.parser import run
from clipwatch.clock import Moment
from clipwatch.mirror.losses import Hold, HoldState
from clipwatch.mirror.notebook import Notebook
from support.folders import LogBook

DIFFERENT = {
    "exact": False,
    "missing": [],
    "stale": [],
    "extra": [{"path": "gone.jpg", "folder": "images"}],
    "rejected": [],
    "undone": [],
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "state").mkdir(parents=True)


def answering(monkeypatch: pytest.MonkeyPatch, command: ModuleType, result: dict[str, Any]) -> None:
    """As if a daemon answered *command* so."""

    def answer(*_: Any) -> Generator[dict[str, Any], None, dict[str, Any]]:
        yield from ()
        return {**result}

    monkeypatch.setattr(command, "ask_daemon", answer)


def test_verify_says_of_what_is_held_that_it_waits_for_confirm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, verify, DIFFERENT)
    assert run(["verify"]) == 1
    told = capsys.readouterr()
    assert ("`clipwatch sync` makes it exact" in told.out, told.err) == (True, "")
    notebook = Notebook(tmp_path / "data" / "state" / NOTEBOOK, limits="", logger=LogBook())
    hold = Hold(0.0, "everything_gone", 1, 1, 0.0, Moment("boot", 0.0), 0.0)
    notebook.set_hold_state("images", "deletes", HoldState(hold))
    notebook.close()
    assert run(["verify"]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == "Different: 0 missing, 0 stale, 1 extra."
    assert "Deletes in folder images are held (everything_gone)" in told.err
    assert "`clipwatch confirm`" in told.err


@pytest.mark.parametrize(("undone", "status"), [([], 0), (["Directory locked could not be read."], 1)])
def test_a_plan_that_could_not_look_everywhere_is_left_undone_in_part(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], undone: list[str], status: int
) -> None:
    answering(monkeypatch, sync, {"undone": undone})
    assert run(["sync", "--dry-run"]) == status
    told = capsys.readouterr()
    assert told.out == "0 actions\n"
    assert told.err == "".join(f"clipwatch: {sentence}\n" for sentence in undone)


@pytest.mark.parametrize("below", ["images/st", "link/st", "images"])
def test_no_collection_is_copied_into_a_watched_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], below: str
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "link").symlink_to("images")
    assert run(["migrate", "--to", f"embedded:{below}"]) == 2
    assert capsys.readouterr().err.startswith("clipwatch: --to lies within watch[0].path.")
    assert not list((tmp_path / "images").iterdir())
