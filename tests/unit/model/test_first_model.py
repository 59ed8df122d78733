"""What `make run` does about a model before it starts the daemon."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from types import ModuleType

import pytest

from support.onnx_models import script


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLIPWATCH_CONFIG", raising=False)
    return script("models/first_model.py")


def test_where_there_is_no_model_one_is_wanted_until_it_is_there(first: ModuleType, tmp_path: Path) -> None:
    assert first.wanted()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "clip_vision.onnx").write_bytes(b"")
    assert not first.wanted()


@pytest.mark.parametrize("config", ['[model]\npath = "mine.onnx"\n', "[model]\npth = 3\n", "["])
def test_a_model_that_is_configured_and_a_wrong_configuration_are_left_to_the_daemon(
    first: ModuleType, tmp_path: Path, config: str
) -> None:
    (tmp_path / "config.toml").write_text(config)
    assert not first.wanted()


def test_a_silent_network_ends_in_time_with_the_demonstration_model(
    first: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(first, "GIVE_UP_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        first.main()
    assert time.monotonic() - started < 20
    assert "it starts on the small demonstration model" in capsys.readouterr().out
    assert not (tmp_path / "models" / "clip_vision.onnx").exists()
