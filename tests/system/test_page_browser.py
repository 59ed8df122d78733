"""The page as a person meets it: the installed daemon, and a real browser."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import onnx_models
from support.folders import wait_until, write_image
from support.pictures import photo_path

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=alert(1)>.png"
TURNED = "a\u202egnp.exe.png"
CHROMIUM = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)


class Browser:
    """Headless Chromium with one page, spoken to over a pair of pipes (Chrome DevTools Protocol)."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        their_in, self._out = os.pipe()
        self._in, their_out = os.pipe()

        def wire() -> None:
            # Chromium reads from 3 and writes to 4; parked high first, since these may be 3 or 4 themselves.
            high_in, high_out = os.dup2(their_in, 103), os.dup2(their_out, 104)
            os.dup2(high_in, 3)
            os.dup2(high_out, 4)

        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        self._process = subprocess.Popen(
            [CHROMIUM, *flags, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=wire,
            start_new_session=True,
        )
        os.close(their_in)
        os.close(their_out)
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._in, 65536)
            assert chunk, "the browser went away"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def run(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def choose(self, selector: str, file: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def seen(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") == method]

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        for descriptor in (self._in, self._out):
            os.close(descriptor)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def running_daemon(home: Path, images: int, more: str = "") -> Iterator[str]:
    """The installed daemon on `images` below *home*; its address, once *images* of them have points."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (home / "config.toml").write_text(f'[http]\nlisten = "127.0.0.1:{port}"\n{more}')
    command = Path(sys.executable).with_name("clipwatch")
    with (home / "log").open("wb") as log:
        daemon = subprocess.Popen([command, "run"], cwd=home, stderr=log)
    url = f"http://127.0.0.1:{port}"

    def mirrored() -> bool:
        assert daemon.poll() is None, (home / "log").read_text()
        try:
            return bool(httpx.get(f"{url}/api/status").json().get("points") == images)
        except httpx.TransportError:
            return False

    try:
        wait_until(mirrored, 60, every=0.1)
        yield url
    finally:
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(15) == 0


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon that has embedded a few photographs, and two pictures with names made to do harm."""
    home = tmp_path_factory.mktemp("page")
    images = home / "images"
    images.mkdir()
    for name in ("china.jpg", "flower.jpg", "coffee.png"):
        shutil.copy(photo_path(name), images)
    write_image(images / HOSTILE, 1)
    write_image(images / TURNED, 2)
    with running_daemon(home, images=5) as url:
        yield url


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is not installed")
        pytest.skip("Chromium is not installed")
    browser = Browser(tmp_path / "profile")
    yield browser
    browser.close()


def wait_for(browser: Browser, condition: str) -> None:
    wait_until(lambda: browser.run(condition), 30, every=0.05)


def names(browser: Browser) -> list[str]:
    found: list[str] = browser.run("[...document.querySelectorAll('#results .path')].map(e => e.textContent)")
    return found


ALL_SHOWN = """document.querySelectorAll('#results .hit').length === 5
    && [...document.querySelectorAll('#results img')].every(i => i.complete && i.naturalWidth > 0)"""


def test_a_picture_finds_its_like_and_names_are_only_names(address: str, browser: Browser) -> None:
    """Searching by a picture, then by a hit; whatever a file's name holds, nothing of it runs or is hidden."""
    browser.call("Page.navigate", url=address)
    wait_for(browser, "document.readyState === 'complete' && document.querySelector('#state').className === 'good'")
    assert "5 points" in browser.run("document.querySelector('#state').textContent")
    assert "demonstration model: it knows emoji-like drawings, not photographs" in browser.run(
        "document.querySelector('#model').innerText"
    )
    assert not browser.run("document.querySelector('#words').disabled"), "the demonstration model knows words"

    browser.choose("#file", photo_path("flower.jpg"))
    wait_for(browser, ALL_SHOWN)
    assert names(browser)[0] == "images/flower.jpg"
    assert f"images/{HOSTILE}" in names(browser)
    assert "images/a\\u202egnp.exe.png" in names(browser)
    assert browser.run("document.querySelectorAll('#results img').length") == 5
    if "CLIPWATCH_SCREENSHOT" in os.environ:
        browser.screenshot(Path(os.environ["CLIPWATCH_SCREENSHOT"]))

    browser.run("[...document.querySelectorAll('.hit')].find(e => e.textContent.includes('coffee')).click()")
    wait_for(browser, "document.querySelector('#results .path')?.textContent === 'images/coffee.png'")
    wait_for(browser, ALL_SHOWN)
    assert browser.run("document.querySelector('#query').naturalWidth") > 0

    assert browser.seen("Page.javascriptDialogOpening") == []
    assert browser.seen("Runtime.exceptionThrown") == []
    complaints = [entry["entry"]["text"] for entry in browser.seen("Log.entryAdded")]
    assert complaints == []


def test_words_find_pictures_where_the_model_knows_words(tmp_path: Path, browser: Browser) -> None:
    model = tmp_path / "model"
    model.mkdir()
    onnx_models.save(onnx_models.vision_tower(), model / "vision_model.onnx")
    onnx_models.save(onnx_models.text_tower(), model / "text_model.onnx")
    onnx_models.tokenizer(model / "tokenizer.json")
    (tmp_path / "images").mkdir()
    write_image(tmp_path / "images" / "a.png", 1)
    with running_daemon(tmp_path, images=1, more='[model]\npath = "model"\n') as url:
        browser.call("Page.navigate", url=url)
        wait_for(browser, "document.querySelector('#state')?.className === 'good'")
        assert browser.run("document.querySelector('#words').disabled") is False
        assert browser.run("document.querySelector('#model').hidden")
        browser.call("Input.insertText", text="red")
        browser.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", windowsVirtualKeyCode=13, text="\r")
        wait_for(browser, "document.querySelectorAll('#results .hit').length === 1")
        assert names(browser) == ["images/a.png"]


def test_a_search_before_anything_is_embedded_says_that_indexing_is_under_way(tmp_path: Path, browser: Browser) -> None:
    (tmp_path / "images").mkdir()
    write_image(tmp_path / "images" / "a.png", 1)
    with running_daemon(tmp_path, images=0, more='[[watch]]\npath = "images"\nsettle_seconds = 3600\n') as url:
        browser.call("Page.navigate", url=url)
        wait_for(browser, "document.querySelector('#state')?.textContent.includes('1 pending')")
        browser.choose("#file", photo_path("flower.jpg"))
        wait_for(browser, "document.querySelector('#message').textContent.startsWith('Nothing found')")
        said = browser.run("document.querySelector('#message').textContent")
        assert said == "Nothing found yet: indexing is under way, 1 files to go."


def test_the_policy_lets_no_foreign_script_run(address: str, browser: Browser) -> None:
    browser.call("Page.navigate", url=address)
    wait_for(browser, "document.readyState === 'complete'")
    browser.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.harmed = 1\">');"
        "const s = document.createElement('script'); s.textContent = 'window.harmed = 2'; document.body.append(s)"
    )
    wait_until(lambda: [browser.run("0"), len(browser.seen("Log.entryAdded")) >= 2][1], 10)
    assert browser.run("window.harmed === undefined")


def test_a_page_of_another_site_cannot_ask(address: str, browser: Browser, tmp_path: Path) -> None:
    """Neither by `fetch` nor as an image, nor under a name that leads here."""
    browser.call("Page.navigate", url="data:text/html,<p>elsewhere")
    wait_for(browser, "document.readyState === 'complete'")
    script = "fetch('%s/api/status', {mode: '%s'}).then(r => r.text().then(t => r.status + t), e => 'refused')"
    assert browser.run(script % (address, "cors")) == "refused"
    assert browser.run(script % (address, "no-cors")) in ("0", "refused")
    rebound = address.replace("127.0.0.1", "photos.example")
    answer = httpx.get(f"{address}/api/status", headers={"host": rebound.removeprefix("http://")})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "unknown_host")
