"""The server over real sockets: routes, refusals, and clients that are slow, greedy or hostile."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from clipwatch.clock import SystemClock
from clipwatch.config import HttpConfig
from clipwatch.errors import ConfigError, FileNotReady, ModelError, StoreRejected, StoreUnavailable
from clipwatch.service.http import HttpServer, LoopView
from clipwatch.service.http_files import OpenImage, sniff
from clipwatch.service.http_wire import PatientProtocol
from support.folders import LogBook, wait_until
from support.pictures import small_jpeg

ID = "1574b2c0-4dbd-5eec-9dab-cb3d29c9cb71"
BODY_BYTES = 50_000
TOKEN = "correct horse"  # noqa: S105


class Site:
    """A running server whose answers a test can change."""

    def __init__(self) -> None:
        self.logs = LogBook()
        self.asked: list[Mapping[str, Any]] = []
        self.healthy = True
        self.unready: list[str] = []
        self.status: Callable[[], dict[str, Any]] = lambda: {"state": "watching"}
        self.search: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda _: {"hits": []}
        self.file: Path | None = None
        self.server: HttpServer

    def start(self, **settings: Any) -> None:
        def search(request: Mapping[str, Any]) -> dict[str, Any]:
            self.asked.append(request)
            return self.search(request)

        self.server = HttpServer(
            HttpConfig(**{"listen": "127.0.0.1:0", **settings}),
            status=lambda: self.status(),
            unready=lambda: self.unready,
            healthy=lambda: self.healthy,
            search=search,
            image=self.open_image,
            metrics=lambda: (b"clipwatch_up 1\n", "text/plain; version=0.0.4; charset=utf-8"),
            body_bytes=BODY_BYTES,
            clock=SystemClock(),
            logger=self.logs,
        )

    def open_image(self, point: str) -> OpenImage | None:
        if self.file is None or point != ID:
            return None
        descriptor = os.open(self.file, os.O_RDONLY)
        kind = sniff(os.pread(descriptor, 8, 0))
        return OpenImage(descriptor, os.fstat(descriptor).st_size, kind, '"tag"')

    @property
    def address(self) -> tuple[str, int]:
        wait_until(lambda: self.server.address)
        host, _, port = self.server.address.removeprefix("http://").rpartition(":")
        return host, int(port)

    def client(self, **options: Any) -> httpx.Client:
        self.address  # noqa: B018 - wait for it
        return httpx.Client(base_url=self.server.address, **options)


@contextmanager
def running(**settings: Any) -> Iterator[Site]:
    site = Site()
    site.start(**settings)
    try:
        yield site
    finally:
        site.server.close()


@pytest.fixture
def site() -> Iterator[Site]:
    with running() as site:
        yield site


@pytest.fixture
def web(site: Site) -> Iterator[httpx.Client]:
    with site.client() as client:
        yield client


def error_of(answer: httpx.Response) -> tuple[int, str]:
    document = answer.json()
    assert set(document) == {"error"}
    assert set(document["error"]) == {"code", "message"}
    return answer.status_code, document["error"]["code"]


def test_each_route_answers(site: Site, web: httpx.Client) -> None:
    page = web.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'sha256-" in page.headers["content-security-policy"]
    assert web.get("/healthz").json() == {"healthy": True}
    assert web.get("/readyz").json() == {"ready": True, "reasons": []}
    assert web.get("/metrics").text == "clipwatch_up 1\n"
    assert web.get("/api/status").json() == {"state": "watching"}
    assert web.get("/api/search", params={"text": "a red car", "limit": 3}).json() == {"hits": []}
    assert web.post("/api/search", content=b"\xff\xd8\xff").json() == {"hits": []}
    assert site.asked == [
        {"plus": [{"text": "a red car"}], "limit": 3},
        {"plus": [{"image": b"\xff\xd8\xff"}], "limit": 10},
    ]


def test_what_is_wrong_makes_it_unready_or_unhealthy_with_each_reason(site: Site, web: httpx.Client) -> None:
    site.unready, site.healthy = ["The store does not answer.", "The folder is missing."], False
    answer = web.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reasons": ["The store does not answer.", "The folder is missing."]}
    assert web.get("/healthz").status_code == 503


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/status", "/nowhere", f"/api/images/{ID}"])
def test_every_answer_tells_browsers_to_be_careful(web: httpx.Client, path: str) -> None:
    headers = web.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers


def test_what_is_not_there_is_a_json_error(web: httpx.Client) -> None:
    assert error_of(web.get("/nowhere")) == (404, "not_found")
    assert error_of(web.delete("/api/search")) == (405, "method_not_allowed")
    assert error_of(web.get("/api/images/../../etc/passwd")) == (404, "not_found")
    assert error_of(web.get("/api/images/%2e%2e%2f%2e%2e%2fetc%2fpasswd")) == (404, "not_found")


@pytest.mark.parametrize("query", ["", "text=%20", "text=a&limit=ten", "text=a&limit=-1", "text=a&limit=%C2%B2"])
def test_a_question_that_makes_no_sense_is_a_bad_request(web: httpx.Client, query: str) -> None:
    assert error_of(web.get(f"/api/search?{query}")) == (400, "bad_request")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ConfigError("no"), 400, "bad_request"),
        (ModelError("no words"), 422, "model"),
        (FileNotReady("later"), 503, "busy"),
        (StoreUnavailable("away"), 503, "store_unavailable"),
        (StoreRejected("refused"), 502, "store_rejected"),
    ],
)
def test_trouble_says_who_must_act(site: Site, web: httpx.Client, error: Exception, status: int, code: str) -> None:
    def fail(_request: Mapping[str, Any]) -> dict[str, Any]:
        raise error

    site.search = fail
    assert error_of(web.get("/api/search?text=a")) == (status, code)


def test_a_bug_is_logged_and_not_shown(site: Site, web: httpx.Client) -> None:
    def fail(_request: Mapping[str, Any]) -> dict[str, Any]:
        raise KeyError("a secret")

    site.search = fail
    answer = web.get("/api/search?text=a")
    assert error_of(answer) == (500, "failed")
    assert "secret" not in answer.text
    assert "http.request_failed" in [event for _, event, _ in site.logs.lines]
    assert web.get("/healthz").status_code == 200


# -- images ------------------------------------------------------------------------------------------------


def test_an_image_comes_whole_or_in_part(site: Site, web: httpx.Client, tmp_path: Path) -> None:
    picture = small_jpeg() + bytes(range(256)) * 4000
    site.file = tmp_path / "a.jpg"
    site.file.write_bytes(picture)
    whole = web.get(f"/api/images/{ID}")
    assert (whole.status_code, whole.content) == (200, picture)
    assert whole.headers["content-type"] == "image/jpeg"
    assert "sandbox" in whole.headers["content-security-policy"]
    part = web.get(f"/api/images/{ID}", headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, picture[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(picture)}"
    beyond = web.get(f"/api/images/{ID}", headers={"range": f"bytes={len(picture)}-"})
    assert (beyond.status_code, beyond.content) == (416, b"")
    again = web.get(f"/api/images/{ID}", headers={"if-none-match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = web.head(f"/api/images/{ID}")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(picture)))


def test_no_descriptor_is_left_open(site: Site, web: httpx.Client, tmp_path: Path) -> None:
    site.file = tmp_path / "a.jpg"
    site.file.write_bytes(small_jpeg())

    for _ in range(20):
        web.get(f"/api/images/{ID}")
        web.get(f"/api/images/{ID}", headers={"range": "bytes=0-1"})
    wait_until(lambda: not open_here(tmp_path / "a.jpg"))


# -- who may come ------------------------------------------------------------------------------------------


def test_another_name_and_another_page_are_refused_and_logged(site: Site, web: httpx.Client) -> None:
    assert error_of(web.get("/api/status", headers={"host": "attacker.example"})) == (403, "unknown_host")
    assert error_of(web.get("/", headers={"host": "attacker.example"})) == (403, "unknown_host")
    foreign = {"origin": "http://attacker.example"}
    assert error_of(web.post("/api/search", content=b"x", headers=foreign)) == (403, "foreign_origin")
    assert error_of(web.get("/api/status", headers={"sec-fetch-site": "cross-site"})) == (403, "foreign_origin")
    assert web.post("/api/search", content=b"x", headers={"origin": str(web.base_url)}).status_code == 200
    assert set(site.logs.reasons("http.refused")) == {"host", "origin"}
    assert len(site.asked) == 1


def test_a_token_guards_everything_but_being_alive() -> None:
    with running(token=TOKEN) as site, site.client() as web:
        for path in ("/", "/readyz", "/metrics", "/api/status", "/api/search?text=a", f"/api/images/{ID}", "/nowhere"):
            assert web.get(path).status_code == 401, path
            assert web.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401, path
        assert error_of(web.post("/api/search?token=correct+horse", content=b"x")) == (401, "unauthorized")
        assert web.get("/healthz").status_code == 200
        assert web.get("/metrics", headers={"authorization": "Bearer correct horse"}).status_code == 200
        assert site.asked == []


def test_the_page_turns_a_token_into_a_cookie_and_out_of_the_address() -> None:
    with running(token=TOKEN) as site, site.client() as web:
        opened = web.get("/", params={"token": "correct horse"})
        assert (opened.status_code, opened.headers["location"]) == (303, "/")
        cookie = opened.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "correct" not in cookie
        assert web.get("/").status_code == 200
        assert web.get("/api/status").json() == {"state": "watching"}


# -- greedy and slow clients -------------------------------------------------------------------------------


def test_a_body_over_the_limit_is_refused_declared_or_not(site: Site, web: httpx.Client) -> None:
    large = b"x" * (BODY_BYTES + 1)
    assert error_of(web.post("/api/search", content=large)) == (413, "too_large")

    def chunks() -> Iterator[bytes]:
        for _ in range(6):
            yield b"x" * 10_000

    assert error_of(web.post("/api/search", content=chunks())) == (413, "too_large")
    assert error_of(web.post("/api/search", content=b"")) == (400, "bad_request")
    assert site.asked == []
    assert web.post("/api/search", content=large[1:]).status_code == 200


def test_a_head_without_end_is_refused(site: Site) -> None:
    with socket.create_connection(site.address, 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 100_000)
        assert client.recv(1000).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("patience", "sent"),
    [
        ("head_seconds", b""),
        ("head_seconds", b"GET / HTTP/1.1\r\nhost: loc"),
        ("body_seconds", b"POST /api/search HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nx"),
    ],
)
def test_a_client_that_never_finishes_is_cut_off(
    site: Site, monkeypatch: pytest.MonkeyPatch, patience: str, sent: bytes
) -> None:
    monkeypatch.setattr(PatientProtocol, patience, 0.3)
    with socket.create_connection(site.address, 10) as client:
        client.sendall(sent)
        assert ended(client)
    assert site.asked == []


def test_a_client_that_drips_is_cut_off_all_the_same(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PatientProtocol, "head_seconds", 0.5)
    pause = threading.Event()
    with socket.create_connection(site.address, 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ")

        def drip() -> bool:
            try:
                client.sendall(b"y")
            except OSError:
                return True
            return pause.wait(0.05)

        wait_until(drip, 10)


def test_a_client_that_does_not_read_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(PatientProtocol, "unread_seconds", 0.3)
    site.file = tmp_path / "a.jpg"
    site.file.write_bytes(small_jpeg())
    os.truncate(site.file, 20_000_000)
    with socket.create_connection(site.address, 10) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(f"GET /api/images/{ID} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        wait_until(lambda: open_here(tmp_path / "a.jpg"), 10)
        wait_until(lambda: not open_here(tmp_path / "a.jpg"), 10)


def open_here(file: Path) -> bool:
    """Whether this process has *file* open."""
    return str(file) in [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]


def ended(client: socket.socket) -> bool:
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def test_questions_that_hang_hide_neither_health_nor_status_nor_the_end() -> None:
    with running() as site, site.client(timeout=20) as web:
        hold = threading.Event()

        def hang(_request: Mapping[str, Any]) -> dict[str, Any]:
            hold.wait(60)
            return {}

        site.search = hang
        askers = [threading.Thread(target=_ask_in_vain, args=(site,), daemon=True) for _ in range(6)]
        for asker in askers:
            asker.start()
        wait_until(lambda: len(site.asked) >= 4)
        assert web.get("/api/status").status_code == 200
        assert web.get("/healthz").status_code == 200
        site.server.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "http" and thread.is_alive()]
        hold.set()
        for asker in askers:
            asker.join(10)


def _ask_in_vain(site: Site) -> None:
    with site.client(timeout=20) as web:
        try:
            web.get("/api/search?text=a")
        except httpx.TransportError:
            return


# -- the server's own life ---------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_one_line_in_the_log_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipwatch.service.http.RETRY_SECONDS", (0.05,))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        site = Site()
        site.start(listen=f"127.0.0.1:{port}")
        wait_until(lambda: site.server.trouble)
        wait_until(lambda: site.server.describe()["address"] == "")
        assert "Choose a free port" in site.server.trouble
    try:
        wait_until(lambda: site.server.address)
        with site.client() as web:
            assert web.get("/healthz").status_code == 200
        assert len(site.logs.reasons("http.failed")) == 1
        assert site.server.trouble == ""
    finally:
        site.server.close()


def test_a_server_that_dies_is_told_and_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipwatch.service.http.RETRY_SECONDS", (0.05,))
    with running() as site:
        with site.client() as web:
            assert web.get("/healthz").status_code == 200
        server = site.server._server
        assert server is not None
        server.end()
        wait_until(lambda: len(site.logs.reasons("http.listening")) == 2)  # at what may be the same port
        with site.client() as web:
            assert web.get("/healthz").status_code == 200
        assert site.logs.reasons("http.failed") == ["The server ended by itself."]


def test_no_address_means_no_server() -> None:
    with running(listen="") as site:
        assert site.server.describe() == {"listen": "", "address": "", "trouble": ""}


class StillClock(SystemClock):
    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def test_a_loop_in_a_long_step_is_told_by_its_last_word_and_in_the_end_by_its_ill_health() -> None:
    clock, busy = StillClock(), False

    def ask(question: Callable[[], dict[str, Any]], _seconds: float) -> dict[str, Any]:
        if busy:
            raise StoreUnavailable("The daemon is too busy to answer.")
        return question()

    view = LoopView(ask, lambda: {"points": 3}, turned=lambda: 0.0, stuck=list, clock=clock)
    assert view.status() == {"points": 3, "loop_age_seconds": 0.0}
    busy, clock.seconds = True, 30.0
    assert view.status() == {"points": 3, "loop_age_seconds": 30.0}
    assert view.healthy()
    clock.seconds = 121.0
    assert not view.healthy()
    nothing_yet = LoopView(ask, dict, turned=lambda: 0.0, stuck=list, clock=clock)
    with pytest.raises(StoreUnavailable):
        nothing_yet.status()
