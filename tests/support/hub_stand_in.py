"""A Hugging Face hub of one repository on localhost, which can also fail in every way that matters.

Speaks what `huggingface_hub` needs: `/{repository}/resolve/{revision}/{path}` with `X-Repo-Commit`, `ETag`,
`X-Linked-Etag` and `X-Linked-Size`; large files are redirected to another host name, as the real one does with its
CDN; byte ranges.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came. *cdn*: to the host of the large files."""

    method: str
    path: str
    range: str | None
    authorization: str | None
    cdn: bool


@dataclass(slots=True)
class HubStandIn:
    """Change the fields at any time; the next request heeds them. Keys are paths in the repository."""

    repository: str
    files: dict[str, bytes]
    requests: list[Seen] = field(default_factory=list)
    status: dict[str, int] = field(default_factory=dict)
    """Answer this status instead."""
    breaks_at: dict[str, int] = field(default_factory=dict)
    """The connection breaks off when the file has come this far."""
    serves: dict[str, bytes] = field(default_factory=dict)
    """Serve these bytes, under the checksum of the true ones."""
    announces: dict[str, int] = field(default_factory=dict)
    """Claim this size in the metadata."""
    hangs: set[str] = field(default_factory=set)
    """Say nothing more, after the half of a file."""
    hangs_asked: set[str] = field(default_factory=set)
    """Say nothing at all to whoever asks about a file."""
    hung: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    is_hub: bool = True
    """False: answers 200 to everything, as a login page in a hotel does."""
    ranges: bool = True
    checksums: bool = True
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def gets(self, path: str) -> list[Seen]:
        """The requests for the bytes of *path*."""
        return [seen for seen in self.requests if seen.method == "GET" and seen.path == path]


@contextmanager
def running_hub(repository: str, files: dict[str, bytes]) -> Iterator[HubStandIn]:
    """A stand-in that serves *files* (path → bytes) of *repository* until the block ends."""
    hub = HubStandIn(repository, files)
    server = _Server(hub)
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def etag(path: str, content: bytes) -> str:
    """SHA-256 of what lies in large file storage, else the git blob's SHA-1, as the hub does."""
    if _large(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def _large(path: str) -> bool:
    return path.endswith(".onnx")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: HubStandIn) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""

    def _answer(self, *, body: bool) -> None:
        hub = cast(_Server, self.server).hub
        if not hub.is_hub:
            self._plain(200, "<html>Please log in</html>", body=body)
            return
        cdn = self.path.startswith("/cdn/")
        prefix, _, path = unquote(self.path).partition("/resolve/")[2].partition("/") if not cdn else ("", "", "")
        path = unquote(self.path).removeprefix("/cdn/") if cdn else path
        hub.requests.append(Seen(self.command, path, self.headers.get("Range"), self.headers.get("Authorization"), cdn))
        if path in hub.hangs_asked:
            hub.released.wait()
            self.close_connection = True
            return
        status = hub.status.get(path)
        known = cdn or (self.path.startswith(f"/{hub.repository}/resolve/") and prefix in (COMMIT, "main"))
        if status is not None or not known or path not in hub.files:
            self._plain(status or 404, "no", body=body)
            return
        if _large(path) and not cdn:
            self._redirect(hub, path)
            return
        self._file(hub, path, body=body)

    def _plain(self, status: int, text: str, *, body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if body:
            self.wfile.write(text.encode())

    def _redirect(self, hub: HubStandIn, path: str) -> None:
        self.send_response(302)
        self.send_header("Location", f"http://localhost:{hub.port}/cdn/{path}")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Size", str(hub.announces.get(path, len(hub.files[path]))))
        if hub.checksums:
            self.send_header("X-Linked-Etag", f'"{etag(path, hub.files[path])}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, hub: HubStandIn, path: str, *, body: bool) -> None:
        content = hub.serves.get(path, hub.files[path])
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and hub.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("X-Repo-Commit", COMMIT)
        if hub.checksums:
            self.send_header("ETag", f'"{etag(path, hub.files[path])}"')
        self.end_headers()
        if not body:
            return
        if path in hub.hangs:
            self.wfile.write(content[start : len(content) // 2])
            self.wfile.flush()
            hub.hung.set()
            hub.released.wait()
            self.close_connection = True
        elif path in hub.breaks_at:
            self.wfile.write(content[start : hub.breaks_at[path]])
            self.close_connection = True
        else:
            self.wfile.write(content[start:])
