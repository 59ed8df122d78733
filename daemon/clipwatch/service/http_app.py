"""What is answered over HTTP: routes, refusals, and headers that keep browsers careful."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from clipwatch.errors import (
    ClipwatchError,
    ConfigError,
    FileNotReady,
    ModelError,
    StoreRejected,
    StoreUnavailable,
)
from clipwatch.service.http_access import COOKIE, Access, same_origin
from clipwatch.service.http_files import OpenImage, wanted_range
from clipwatch.service.http_wire import Busy, Helpers
from clipwatch.service.page import ASK_FOR_TOKEN, Page

FREE: Final = frozenset({"/healthz"})
"""Answered to everyone, token or not: it says nothing but that the process lives."""

UPLOADS: Final = 3
"""Pictures to search with that are held in memory at once."""

CHUNK_BYTES: Final = 256 * 1024
COOKIE_SECONDS: Final = 30 * 24 * 3600

CAREFUL: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cache-control": "no-store",
}
"""On every answer that does not say otherwise."""

Endpoint = Callable[[Request], Awaitable[Response]]

_STATUS: Final[tuple[tuple[type[ClipwatchError], int, str], ...]] = (
    (Busy, 503, "busy"),
    (FileNotReady, 503, "busy"),
    (ModelError, 422, "model"),
    (ConfigError, 400, "bad_request"),
    (StoreUnavailable, 503, "store_unavailable"),
    (StoreRejected, 502, "store_rejected"),
)
_CODES: Final = {401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


@dataclass(frozen=True, slots=True)
class Views:
    """What the server shows; every call may be made from any thread and may block."""

    status: Callable[[], dict[str, Any]]
    unready: Callable[[], list[str]]
    """Why it is not ready; nothing where it is."""
    healthy: Callable[[], bool]
    search: Callable[[Mapping[str, Any]], dict[str, Any]]
    image: Callable[[str], OpenImage | None]
    metrics: Callable[[], tuple[bytes, str]]
    """The text and its content type."""
    body_bytes: int
    """A larger picture to search with is refused."""


def answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON document; `<` is escaped so that no sniffer can ever see markup in it."""
    text = json.dumps(document, ensure_ascii=True, default=str).replace("<", "\\u003c")
    return Response(text, status, headers, "application/json")


def refusal(status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """`{"error":{"code","message"}}`."""
    return answer({"error": {"code": code or _CODES.get(status, "error"), "message": message}}, status, headers)


def application(views: Views, access: Access, page: Page, logger: Any) -> ASGIApp:
    """The ASGI application, to be made on the event loop that runs it."""
    return Guard(_Routes(views, page, logger).app, access, logger)


class Guard:
    """Lets in who may come, before anything is read; and makes every answer a careful one."""

    def __init__(self, inner: ASGIApp, access: Access, logger: Any) -> None:
        self._inner, self._access, self._logger = inner, access, logger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return

        async def careful_send(message: Any) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((k.encode(), v.encode()) for k, v in CAREFUL.items() if k.encode() not in present),
                ]
            await send(message)

        refused = self._refused(Request(scope))
        await (refused or self._inner)(scope, receive, careful_send)

    def _refused(self, request: Request) -> Response | None:
        headers, path = request.headers, request.scope["path"]
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._access.knows_host(host):
            self._logger.warning("http.refused", reason="host", host=host[:200])
            message = "This server does not go by that name: use its address, or set http.token to use any name."
            return refusal(403, message, "unknown_host")
        if path in FREE:
            return None
        token = request.query_params.get("token", "") if path == "/" else ""
        if not self._access.admits(
            authorization=headers.get("authorization", ""), cookie=request.cookies.get(COOKIE, ""), query=token
        ):
            if headers.get("authorization") or token:
                self._logger.warning("http.refused", reason="token")
            return _ask_for_token() if path == "/" else _unauthorized()
        if path != "/" and not same_origin(origin=headers.get("origin"), host=host, site=headers.get("sec-fetch-site")):
            self._logger.warning("http.refused", reason="origin", origin=headers.get("origin", "")[:200])
            return refusal(403, "Another site's page may not ask this server.", "foreign_origin")
        return self._remember() if token and self._access.token else None

    def _remember(self) -> Response:
        """Take the token out of the address and into a cookie."""
        response = RedirectResponse("/", 303)
        response.set_cookie(COOKIE, self._access.cookie, max_age=COOKIE_SECONDS, httponly=True, samesite="lax")
        return response


def _unauthorized() -> Response:
    return refusal(401, "The token is missing or wrong.", headers={"www-authenticate": 'Bearer realm="clipwatch"'})


def _ask_for_token() -> Response:
    headers = {"content-security-policy": ASK_FOR_TOKEN.policy, "www-authenticate": 'Bearer realm="clipwatch"'}
    return Response(ASK_FOR_TOKEN.body, 401, headers, "text/html")


class _Routes:
    def __init__(self, views: Views, page: Page, logger: Any) -> None:
        self._views, self._page, self._logger = views, page, logger
        # Apart from each other, so that searches that wait for a slow store do not hide how it is.
        self._looks = Helpers("http-look", most=16, wait_seconds=5, answer_seconds=15)
        self._files = Helpers("http-file", most=16, wait_seconds=15, answer_seconds=30)
        self._searches = Helpers("http-search", most=4, wait_seconds=15, answer_seconds=60)
        self._uploads = asyncio.Semaphore(UPLOADS)
        routes: tuple[tuple[str, str, Endpoint], ...] = (
            ("GET", "/", self._show_page),
            ("GET", "/healthz", self._healthz),
            ("GET", "/readyz", self._readyz),
            ("GET", "/metrics", self._metrics),
            ("GET", "/api/status", self._status),
            ("GET", "/api/search", self._search_words),
            ("POST", "/api/search", self._search_picture),
            ("GET", "/api/images/{id}", self._image),
        )
        self.app = Starlette(
            routes=[Route(path, self._with_errors(endpoint), methods=[method]) for method, path, endpoint in routes],
            exception_handlers={HTTPException: self._http_error},
        )
        self.app.router.redirect_slashes = False

    async def _show_page(self, _request: Request) -> Response:
        return Response(self._page.body, 200, {"content-security-policy": self._page.policy}, "text/html")

    async def _healthz(self, _request: Request) -> Response:
        healthy = self._views.healthy()
        return answer({"healthy": healthy}, 200 if healthy else 503)

    async def _readyz(self, _request: Request) -> Response:
        reasons = await self._looks.run(self._views.unready)
        return answer({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def _metrics(self, _request: Request) -> Response:
        text, media_type = await self._looks.run(self._views.metrics)
        return Response(text, headers={"content-type": media_type})

    async def _status(self, _request: Request) -> Response:
        return answer(await self._looks.run(self._views.status))

    async def _search_words(self, request: Request) -> Response:
        words = request.query_params.get("text", "")
        if not words.strip():
            raise ConfigError("There are no words to search for.", hint="Ask for /api/search?text=…")
        return await self._search(request, {"text": words})

    async def _search_picture(self, request: Request) -> Response:
        too_large = refusal(
            413, f"The picture is larger than {self._views.body_bytes} bytes: see limits.file_megabytes."
        )
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._views.body_bytes:
            return too_large
        try:
            async with asyncio.timeout(15):
                await self._uploads.acquire()
        except TimeoutError as error:
            raise Busy("Too many pictures at once.", hint="Try again in a moment.") from error
        try:
            picture = bytearray()
            async for chunk in request.stream():
                picture += chunk
                if len(picture) > self._views.body_bytes:
                    return too_large
            if not picture:
                raise ConfigError("The body is empty.", hint="Send the bytes of a JPEG or PNG file.")
            return await self._search(request, {"image": bytes(picture)})
        finally:
            self._uploads.release()

    async def _search(self, request: Request, what: Mapping[str, Any]) -> Response:
        limit = request.query_params.get("limit", "10")
        if not limit.isascii() or not limit.isdecimal() or len(limit) > 9:
            raise ConfigError("The limit must be a whole number.")
        return answer(await self._searches.run(partial(self._views.search, {"plus": [what], "limit": int(limit)})))

    async def _image(self, request: Request) -> Response:
        opener = partial(self._views.image, request.path_params["id"])
        image = await self._files.run(opener, unwanted=lambda late: late.close() if late else None)
        if image is None:
            return refusal(404, "The collection names no image with this id that can be shown.")
        return _ImageResponse(image, self._files)

    # -- when it goes wrong ------------------------------------------------------------------------------

    def _with_errors(self, endpoint: Endpoint) -> Endpoint:
        async def answered(request: Request) -> Response:
            try:
                return await endpoint(request)
            except ClipwatchError as error:
                return _refusal_of(error)
            except ClientDisconnect:
                return refusal(400, "The request ended early.", "bad_request")
            except Exception as error:
                path = request.scope["path"]
                self._logger.error("http.request_failed", path=path, error=repr(error), exc_info=error)
                return refusal(500, "This request failed; the log says why.", "failed")

        return answered

    async def _http_error(self, _request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for these
        return refusal(error.status_code, f"{error.detail}.", headers=error.headers)


def _refusal_of(error: ClipwatchError) -> Response:
    status, code = next(((s, c) for kind, s, c in _STATUS if isinstance(error, kind)), (500, "failed"))
    return refusal(status, error.sentence(), code, {"retry-after": "5"} if status == 503 else None)


class _ImageResponse(Response):
    """A picture's bytes from its descriptor, or the part of them that is asked for; closes it in the end."""

    def __init__(self, image: OpenImage, helpers: Helpers) -> None:
        super().__init__(media_type=image.media_type)
        self._image, self._helpers = image, helpers

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it. The descriptor is closed whatever happens."""
        try:
            await self._send(Request(scope), send)
        finally:
            self._image.close()

    async def _send(self, request: Request, send: Send) -> None:
        image, size = self._image, self._image.size
        status, first, last = 200, 0, size - 1
        headers = {
            "content-type": image.media_type,
            "etag": image.tag,
            "cache-control": "private, max-age=60",
            "accept-ranges": "bytes",
            "content-disposition": "inline",
        }
        if request.headers.get("if-none-match") == image.tag:
            status, last = 304, -1
        elif request.headers.get("if-range", image.tag) == image.tag:
            try:
                part = wanted_range(request.headers.get("range"), size)
            except ValueError:
                status, last = 416, -1
                headers["content-range"] = f"bytes */{size}"
            else:
                if part is not None:
                    status, (first, last) = 206, part
                    headers["content-range"] = f"bytes {first}-{last}/{size}"
        if status != 304:
            headers["content-length"] = str(last + 1 - first)
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        if request.method != "HEAD":
            while first <= last:
                chunk = await self._helpers.run(partial(_read, image.descriptor, first, last))
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                first += len(chunk)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _read(descriptor: int, first: int, last: int) -> bytes:
    chunk = os.pread(descriptor, min(CHUNK_BYTES, last + 1 - first), first)
    if not chunk:
        raise ConnectionError("The file became shorter while it was sent.")
    return chunk
