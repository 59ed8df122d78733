"""Two that were given the same configuration, on one store."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.commands import Home, Running

pytestmark = pytest.mark.slow


@pytest.fixture(name="port")
def _port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture(name="first")
def _first(tmp_path: Path, port: int) -> Home:
    """Its embedded store is the server of the other."""
    home = Home(tmp_path / "first")
    home.path.mkdir()
    home.add_samples("cat.jpg", "coffee.jpg")
    home.environment = {"CLIPWATCH_STORE__EMBEDDED_LISTEN": f"127.0.0.1:{port}", "CLIPWATCH_STORE__API_KEY": "k"}
    return home


@pytest.fixture(name="second")
def _second(tmp_path: Path, port: int) -> Home:
    home = Home(tmp_path / "second")
    home.images.mkdir(parents=True)
    home.add_samples("rocket.jpg")
    home.environment = {
        "CLIPWATCH_WATCH__NAME": "images",
        "CLIPWATCH_STORE__URL": f"http://127.0.0.1:{port}",
        "CLIPWATCH_STORE__API_KEY": "k",
        "CLIPWATCH_STORE__TIMEOUT_SECONDS": "20",
        "CLIPWATCH_LIMITS__DELETE_HOLD_MINUTES": "0",
    }
    return home


@pytest.fixture(name="daemon")
def _daemon(first: Home) -> Iterator[Running]:
    with first.daemon() as running:
        first.wait_exact()
        yield running


@pytest.mark.usefixtures("daemon")
def test_a_copied_configuration_deletes_nothing_and_says_whose_the_points_are(first: Home, second: Home) -> None:
    for command in (("sync",), ("sync", "--dry-run"), ("verify",), ("confirm",)):
        said = second.run(*command, expect=2).stderr
        assert str(first.images) in said
        assert str(second.images) in said
        assert "clipwatch adopt images" in said
    with second.daemon(until="folder.owned_elsewhere"):
        status = second.json("status")
        assert status["state"] == status["watch"][0]["state"] == "owned-elsewhere"
        assert str(first.images) in status["watch"][0]["trouble"]
        for name in ("sync", "verify", "confirm"):
            assert str(first.images) in second.run(name, expect=2).stderr
    assert first.json("verify")["exact"]
    assert second.run("forget", "images", expect=2)
    assert second.json("search", "--image", str(first.images / "cat.jpg"))["hits"][0]["path"] == "cat.jpg"


def test_it_is_taken_over_by_a_person_and_back_again(first: Home, second: Home, daemon: Running) -> None:
    assert str(first.images) in second.json("adopt", "images")["before"]
    assert second.json("sync")["images"] == 1
    assert second.json("verify")["exact"]
    assert str(second.images) in first.run("sync", expect=2).stderr
    assert daemon.wait_for("folder.owned_elsewhere")
    assert first.json("status")["state"] == "owned-elsewhere"
    assert second.json("verify")["exact"]

    assert str(second.images) in first.json("adopt", "images")["before"]
    assert first.json("adopt", "images")["before"] is None
    first.wait_exact()
    first.run("confirm")  # the other's picture is gone, and it was all that there was
    assert first.json("verify")["exact"]
    assert "No [[watch]] table" in second.run("adopt", "imgs", expect=2).stderr


@pytest.mark.usefixtures("daemon")
def test_one_owner_in_both_settings_lets_both_mirror_one_share(first: Home, second: Home) -> None:
    second.environment |= {"CLIPWATCH_WATCH__OWNER": "nas", "CLIPWATCH_WATCH__PATH": str(second.path / "mounted")}
    second.images.rename(second.path / "mounted")
    assert "the same `owner`" in second.run("sync", expect=2).stderr
    second.run("adopt", "images")
    second.environment["CLIPWATCH_WATCH__PATH"] = str(second.path / "elsewhere")
    (second.path / "mounted").rename(second.path / "elsewhere")
    shutil.rmtree(second.path / "data")
    second.run("sync")


def test_a_machine_that_lost_its_state_or_moved_its_folder_goes_on_without_a_word(first: Home) -> None:
    first.run("sync")
    shutil.rmtree(first.path / "data" / "state")
    assert first.json("sync")["unchanged"] == 2
    first.images.rename(first.path / "pictures")
    first.environment["CLIPWATCH_WATCH__PATH"] = "pictures"
    assert first.json("sync")["unchanged"] == 2
