"""`model fetch` against a hub on this machine, through the real huggingface_hub."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipwatch.errors import ConfigError, LockHeld, ModelError
from clipwatch.model.bundle import read_bundle
from clipwatch.model.cards import CardFile, ModelCard
from clipwatch.model.fetch import fetch, fetch_or_give_up, setting
from clipwatch.model.photographs import photographs
from support.hub_stand_in import COMMIT, HubStandIn, running_hub
from support.proxy_stand_in import ProxyStandIn

VISION, TEXT, TOKENIZER, PREPROCESSOR = (
    "onnx/vision_model.onnx",
    "onnx/text_model.onnx",
    "tokenizer.json",
    "preprocessor_config.json",
)
LOCAL = {
    VISION: "vision_model.onnx",
    TEXT: "text_model.onnx",
    TOKENIZER: "tokenizer.json",
    PREPROCESSOR: "preprocessor_config.json",
}
_random = random.Random(5)
FILES = {
    VISION: _random.randbytes(300_000),
    TEXT: _random.randbytes(200_000),
    TOKENIZER: b'{"model": {}}' * 100,
    PREPROCESSOR: b'{"size": 224}',
}


def make_card(*, pinned: bool = True, folder: str = "little", revision: str = COMMIT) -> ModelCard:
    def sha256(remote: str) -> str | None:
        return hashlib.sha256(FILES[remote]).hexdigest() if pinned else None

    return ModelCard(
        name="little",
        title="Little CLIP",
        repository="someone/little",
        revision=revision,
        files={remote: CardFile(LOCAL[remote], sha256(remote), len(FILES[remote])) for remote in FILES},
        width=4,
        side=224,
        context=77,
        pad_id=0,
        licence="MIT",
        summary="",
        folder=folder,
    )


CARD = make_card()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    for name in ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with running_hub("someone/little", dict(FILES)) as running:
        yield running


def refusal(hub: HubStandIn, directory: Path, card: ModelCard = CARD) -> ModelError:
    """The one sentence of a fetch that fails; no model may be visible after it."""
    with pytest.raises(ModelError) as caught:
        fetch(card, directory, endpoint=hub.endpoint, timeout_seconds=0.5)
    assert not (directory / "little" / "vision_model.onnx").exists()
    assert "\n" not in caught.value.sentence()
    assert caught.value.hint
    return caught.value


def assert_whole(directory: Path) -> None:
    for remote, name in LOCAL.items():
        assert (directory / name).read_bytes() == FILES[remote]


def test_a_model_is_fetched_whole_with_a_record_of_where_it_came_from(hub: HubStandIn, tmp_path: Path) -> None:
    vision = fetch(CARD, tmp_path, endpoint=hub.endpoint)
    assert vision == tmp_path / "little" / "vision_model.onnx"
    assert_whole(vision.parent)
    bundle = read_bundle(vision.parent / "bundle.json")
    assert bundle
    assert bundle.name == "little"
    assert bundle.vision_sha256 == hashlib.sha256(FILES[VISION]).hexdigest()
    assert bundle.text
    assert bundle.text.sha256 == hashlib.sha256(FILES[TEXT]).hexdigest()
    assert bundle.card["repository"] == "someone/little"
    assert bundle.card["revision"] == COMMIT
    assert bundle.card["licence"] == "MIT"
    assert bundle.known_answers == photographs()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        [*LOCAL.values(), "bundle.json"]
    )


def test_the_default_card_lands_in_the_models_folder_itself(hub: HubStandIn, tmp_path: Path) -> None:
    assert fetch(make_card(folder=""), tmp_path, endpoint=hub.endpoint) == tmp_path / "vision_model.onnx"
    assert_whole(tmp_path)


def test_without_pinned_hashes_those_of_the_hub_are_verified_and_recorded(hub: HubStandIn, tmp_path: Path) -> None:
    vision = fetch(make_card(pinned=False, revision="main"), tmp_path, endpoint=hub.endpoint)
    assert_whole(vision.parent)
    bundle = read_bundle(vision.parent / "bundle.json")
    assert bundle
    assert bundle.card["revision"] == COMMIT
    assert bundle.card["files"]["tokenizer.json"] == hashlib.sha256(FILES[TOKENIZER]).hexdigest()


def test_progress_tells_name_done_and_total_and_ends_whole(hub: HubStandIn, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    fetch(CARD, tmp_path, endpoint=hub.endpoint, progress=lambda *args: told.append(args))
    for remote, name in LOCAL.items():
        steps = [(done, total) for what, done, total in told if what == name]
        assert steps[0] == (0, len(FILES[remote]))
        assert steps[-1] == (len(FILES[remote]), len(FILES[remote]))
        assert steps == sorted(steps)


def test_a_model_that_is_here_and_whole_asks_nothing_of_the_network(hub: HubStandIn, tmp_path: Path) -> None:
    vision = fetch(CARD, tmp_path, endpoint=hub.endpoint)
    hub.requests.clear()
    assert fetch(CARD, tmp_path, endpoint=hub.endpoint, offline=True) == vision
    assert hub.requests == []


def test_another_model_at_the_place_is_never_overwritten(hub: HubStandIn, tmp_path: Path) -> None:
    mine = tmp_path / "vision_model.onnx"
    mine.write_bytes(b"mine")
    with pytest.raises(ModelError, match="not Little CLIP"):
        fetch(make_card(folder=""), tmp_path, endpoint=hub.endpoint)
    assert mine.read_bytes() == b"mine"
    assert hub.requests == []


def test_a_connection_that_breaks_now_and_then_is_taken_up_where_it_broke(hub: HubStandIn, tmp_path: Path) -> None:
    hub.breaks_at[VISION] = 100_000

    def heal(name: str, done: int, _total: int | None) -> None:
        if name == "vision_model.onnx" and done == 100_000:
            hub.breaks_at.clear()

    fetch(CARD, tmp_path, endpoint=hub.endpoint, progress=heal)
    assert_whole(tmp_path / "little")
    assert [seen.range for seen in hub.gets(VISION) if seen.cdn] == [None, "bytes=100000-"]


def test_a_fetch_that_broke_off_is_no_model_and_the_next_one_resumes_it(hub: HubStandIn, tmp_path: Path) -> None:
    hub.breaks_at[VISION] = 120_000
    assert "goes on from there" in refusal(hub, tmp_path).hint
    hub.breaks_at.clear()
    hub.requests.clear()
    fetch(CARD, tmp_path, endpoint=hub.endpoint)
    assert_whole(tmp_path / "little")
    assert [seen.range for seen in hub.gets(VISION) if seen.cdn] == ["bytes=120000-"]


def test_a_hub_that_knows_no_ranges_starts_the_file_anew(hub: HubStandIn, tmp_path: Path) -> None:
    hub.breaks_at[VISION] = 120_000
    refusal(hub, tmp_path)
    hub.breaks_at.clear()
    hub.ranges = False
    fetch(CARD, tmp_path, endpoint=hub.endpoint)
    assert_whole(tmp_path / "little")


@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "by the hub's word"])
@pytest.mark.parametrize("remote", [VISION, TOKENIZER])
def test_content_that_breaks_its_promise_is_removed_and_refused(
    hub: HubStandIn, tmp_path: Path, remote: str, pinned: bool
) -> None:
    hub.serves[remote] = bytes(len(FILES[remote]))
    error = refusal(hub, tmp_path, make_card(pinned=pinned))
    assert "checksum" in error.message
    assert not list(tmp_path.rglob(f"{LOCAL[remote]}*"))
    hub.serves.clear()
    fetch(make_card(pinned=pinned), tmp_path, endpoint=hub.endpoint)
    assert_whole(tmp_path / "little")


def test_a_hub_that_offers_another_file_than_the_pinned_one_is_refused_before_the_download(
    hub: HubStandIn, tmp_path: Path
) -> None:
    hub.files[VISION] = b"another" * 1000
    assert "another vision_model.onnx" in refusal(hub, tmp_path).message
    assert hub.gets(VISION) == []


def test_a_hub_without_checksums_is_refused_where_none_is_pinned(hub: HubStandIn, tmp_path: Path) -> None:
    hub.checksums = False
    assert "no checksum" in refusal(hub, tmp_path, make_card(pinned=False)).message
    fetch(CARD, tmp_path, endpoint=hub.endpoint)
    assert_whole(tmp_path / "little")


@pytest.mark.parametrize(
    ("status", "words", "cure"),
    [
        (401, "login", "HF_TOKEN"),
        (403, "login", "HF_TOKEN"),
        (404, "no commit", "Update clipwatch"),
        (429, "429", "later"),
        (500, "trouble", "later"),
        (503, "trouble", "later"),
    ],
)
def test_a_refusal_of_the_hub_is_one_sentence_with_the_cure(
    hub: HubStandIn, tmp_path: Path, status: int, words: str, cure: str
) -> None:
    hub.status[VISION] = status
    error = refusal(hub, tmp_path)
    assert words in error.message
    assert cure in error.hint
    assert error.exit_status == (3 if cure == "later" else 2)


def test_a_refusal_in_the_middle_keeps_what_came(hub: HubStandIn, tmp_path: Path) -> None:
    hub.status[TEXT] = 500
    with pytest.raises(ModelError):
        fetch(CARD, tmp_path, endpoint=hub.endpoint)
    hub.status.clear()
    fetch(CARD, tmp_path, endpoint=hub.endpoint)
    assert_whole(tmp_path / "little")


def test_a_hub_that_falls_silent_is_given_up_after_the_timeout(hub: HubStandIn, tmp_path: Path) -> None:
    hub.hangs.add(VISION)
    started = time.monotonic()
    assert "Check the network" in refusal(hub, tmp_path).hint
    assert time.monotonic() - started < 10
    hub.hangs.clear()
    fetch(CARD, tmp_path, endpoint=hub.endpoint)
    assert_whole(tmp_path / "little")


def test_a_login_page_in_the_way_is_told_from_a_hub(hub: HubStandIn, tmp_path: Path) -> None:
    hub.is_hub = False
    assert "does not answer as a Hugging Face hub" in refusal(hub, tmp_path).message


def test_no_network_is_one_sentence_with_the_cure(hub: HubStandIn, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        hub.port = closed.getsockname()[1]
        refused = refusal(hub, tmp_path)
        assert "HF_ENDPOINT" in refused.hint
        assert refused.exit_status == 3, "trying again may help"


def test_a_senseless_endpoint_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="could not be fetched") as refused:
        fetch(CARD, tmp_path, endpoint="ftp://nowhere")
    assert refused.value.exit_status == 2


@pytest.mark.parametrize("word", ["1", "true", "YES"])
def test_offline_mode_is_honoured(hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", word)
    assert "HF_HUB_OFFLINE" in refusal(hub, tmp_path).message
    assert hub.requests == []


def test_the_endpoint_of_the_environment_is_used(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint + "/")
    fetch(CARD, tmp_path)
    assert_whole(tmp_path / "little")


def test_the_login_goes_to_the_hub_and_never_to_another_host(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(CARD, tmp_path, endpoint=hub.endpoint)
    assert {seen.authorization for seen in hub.requests if not seen.cdn} == {"Bearer hf_secret"}
    assert {seen.authorization for seen in hub.requests if seen.cdn} == {None}


def test_too_little_space_is_said_before_the_download(hub: HubStandIn, tmp_path: Path) -> None:
    hub.announces[VISION] = 2**60
    assert "MB free" in refusal(hub, tmp_path).message
    assert not any(seen.cdn for seen in hub.requests)


def test_a_second_fetch_of_the_same_model_at_the_same_time_is_refused(hub: HubStandIn, tmp_path: Path) -> None:
    hub.hangs.add(TOKENIZER)
    ended: list[BaseException] = []

    def first() -> None:
        try:
            fetch(CARD, tmp_path, endpoint=hub.endpoint, timeout_seconds=60)
        except ModelError as error:
            ended.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert hub.hung.wait(20)
    with pytest.raises(LockHeld, match="right now"):
        fetch(CARD, tmp_path, endpoint=hub.endpoint)
    hub.hangs.clear()
    hub.released.set()
    thread.join(20)
    assert not thread.is_alive()


def test_an_installation_that_was_cut_short_is_completed_without_fetching_again(
    hub: HubStandIn, tmp_path: Path
) -> None:
    fetch(CARD, tmp_path, endpoint=hub.endpoint)
    staging = tmp_path / ".fetch-little"
    staging.mkdir()
    sha256 = hashlib.sha256(FILES[VISION]).hexdigest()
    (tmp_path / "little" / "vision_model.onnx").replace(staging / f"vision_model.onnx.{sha256[:16]}.part")
    hub.requests.clear()
    fetch(CARD, tmp_path, endpoint=hub.endpoint)
    assert_whole(tmp_path / "little")
    assert not any(seen.method == "GET" for seen in hub.requests)


def test_a_damaged_file_of_a_fetched_model_is_not_taken_for_whole(hub: HubStandIn, tmp_path: Path) -> None:
    vision = fetch(CARD, tmp_path, endpoint=hub.endpoint)
    (vision.parent / "text_model.onnx").write_bytes(b"?")
    with pytest.raises(ModelError, match="or is damaged"):
        fetch(CARD, tmp_path, endpoint=hub.endpoint)


CHILD = """
import os, resource, sys
from pathlib import Path
sys.path.insert(0, os.environ["TESTS"])
sys.path.insert(0, os.path.join(os.environ["TESTS"], "unit", "model"))
from test_fetch import CARD
from clipwatch.errors import ModelError
from clipwatch.model.fetch import fetch
if sys.argv[3] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    fetch(CARD, Path(sys.argv[1]), endpoint=sys.argv[2])
except ModelError as error:
    print(error.sentence())
"""


def child(hub: HubStandIn, directory: Path, file_size_limit: int = 0) -> subprocess.Popen[str]:
    environment = {**os.environ, "TESTS": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", CHILD, str(directory), hub.endpoint, str(file_size_limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_a_disk_that_refuses_to_take_more_is_one_sentence_and_resumes_later(hub: HubStandIn, tmp_path: Path) -> None:
    with child(hub, tmp_path, file_size_limit=150_000) as process:
        said, _ = process.communicate(timeout=60)
    assert "could not be written" in said
    assert "Free some space" in said
    hub.requests.clear()
    fetch(CARD, tmp_path, endpoint=hub.endpoint)
    assert_whole(tmp_path / "little")
    assert [seen.range for seen in hub.gets(VISION) if seen.cdn] == ["bytes=150000-"]


def test_a_killed_fetch_is_resumed_by_the_next(hub: HubStandIn, tmp_path: Path) -> None:
    hub.hangs.add(VISION)
    with child(hub, tmp_path) as process:
        assert hub.hung.wait(30)
        deadline = time.monotonic() + 20
        while not any(path.stat().st_size == 150_000 for path in tmp_path.rglob("vision_model.onnx.*")):
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "little").exists()
    hub.hangs.clear()
    hub.requests.clear()
    fetch(CARD, tmp_path, endpoint=hub.endpoint)
    assert_whole(tmp_path / "little")
    assert [seen.range for seen in hub.gets(VISION) if seen.cdn] == ["bytes=150000-"]


def test_a_folder_that_cannot_be_made_is_one_sentence(hub: HubStandIn, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelError, match="could not be written"):
        fetch(CARD, tmp_path / "file", endpoint=hub.endpoint)


def test_files_that_changed_on_the_hub_since_the_break_are_not_mixed(hub: HubStandIn, tmp_path: Path) -> None:
    loose = make_card(pinned=False, revision="main")
    hub.breaks_at[VISION] = 120_000
    refusal(hub, tmp_path, loose)
    hub.breaks_at.clear()
    hub.files[VISION] = bytes(reversed(FILES[VISION]))
    fetch(dataclasses.replace(loose), tmp_path, endpoint=hub.endpoint)
    assert (tmp_path / "little" / "vision_model.onnx").read_bytes() == hub.files[VISION]


@pytest.mark.parametrize(
    "environment",
    [
        {"http_proxy": "http://127.0.0.1:1", "all_proxy": "socks5://127.0.0.1:1"},
        {"http_proxy": "http://[", "no_proxy": "[::1],fe80::/10"},
        {"SSL_CERT_FILE": "/nowhere.pem"},
    ],
    ids=str,
)
def test_a_hub_on_this_machine_is_reached_whatever_proxy_is_set(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    fetch(CARD, tmp_path, endpoint=hub.endpoint)
    assert_whole(tmp_path / "little")


def test_a_hub_elsewhere_is_reached_through_the_proxy(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    with ProxyStandIn(hub.port) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        fetch(CARD, tmp_path, endpoint="http://hub.invalid")
        assert_whole(tmp_path / "little")
        assert f"GET http://hub.invalid/someone/little/resolve/{COMMIT}/tokenizer.json" in proxy.asked


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("http://me:secret@127.0.0.1:1", r"through the proxy http://127\.0\.0\.1:1 \(from http_proxy\)"),
        ("socks5://127.0.0.1:1", r"The proxy socks5://127\.0\.0\.1:1 \(from http_proxy\) cannot be used.*socksio"),
        ("http://[", r"The proxy http://\[ \(from http_proxy\) cannot be used"),
    ],
)
def test_a_proxy_in_the_way_of_the_hub_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, words: str
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", value)
    with pytest.raises((ModelError, ConfigError), match=words) as refused:
        fetch(CARD, tmp_path, endpoint="http://hub.invalid", timeout_seconds=5)
    assert "secret" not in refused.value.sentence()


def gives_up(directory: Path, endpoint: str) -> None:
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"did not answer within 0\.5 s"):
        fetch_or_give_up(CARD, directory, give_up_seconds=0.5, endpoint=endpoint)
    assert time.monotonic() - started < 5
    assert not (directory / "little").exists()


def test_with_patience_for_half_a_second_a_silent_hub_is_given_up(hub: HubStandIn, tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        gives_up(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize("where", ["at the second file's metadata", "at the first byte"])
def test_so_is_one_that_answers_at_first(hub: HubStandIn, tmp_path: Path, where: str) -> None:
    if where == "at the first byte":
        hub.serves[VISION] = b"1"  # of which the half is nothing
        hub.hangs.add(VISION)
    else:
        hub.hangs_asked.add(TEXT)
    gives_up(tmp_path, hub.endpoint)


def test_a_hub_that_answers_in_time_may_take_as_long_as_it_likes(hub: HubStandIn, tmp_path: Path) -> None:
    fetch_or_give_up(CARD, tmp_path, give_up_seconds=5, endpoint=hub.endpoint)
    assert_whole(tmp_path / "little")
    hub.status[VISION] = 404
    shutil.rmtree(tmp_path / "little")
    with pytest.raises(ModelError, match="no commit"):
        fetch_or_give_up(CARD, tmp_path, give_up_seconds=5, endpoint=hub.endpoint)


def test_the_setting_to_write_is_toml() -> None:
    assert setting(Path("models/siglip2-base/vision_model.onnx")) == (
        '[model]\npath = "models/siglip2-base/vision_model.onnx"'
    )


def test_nothing_of_a_stand_in_is_left_behind(hub: HubStandIn, tmp_path: Path) -> None:
    fetch(CARD, tmp_path, endpoint=hub.endpoint)
    assert not (tmp_path / ".fetch-little").exists()
    shutil.rmtree(tmp_path / "little")
    fetch(CARD, tmp_path, endpoint=hub.endpoint)
    assert_whole(tmp_path / "little")
