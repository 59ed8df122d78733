"""The REST paths: each request is read on the event loop and answered by the one thread that owns the shards."""

from __future__ import annotations

import asyncio
import hmac
import os
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from clipwatch import __version__
from clipwatch.engine import collections, points
from clipwatch.engine.catalog import Catalog, Collection
from clipwatch.engine.replies import Refused, error_body, result_body

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
"""`service.max_request_size_mb` of a Qdrant server."""
API_VERSION: Final = "1.20.0"
"""The version of the REST API that is answered; clients compare it with their own."""
_DISCARD_BYTES: Final = 256 * 1024 * 1024
_OPEN_PATHS: Final = frozenset({"/", "/healthz", "/livez", "/readyz"})
_PANICKED_STATUS: Final = 70
_LOST_STATUS: Final = 75


@dataclass(frozen=True, slots=True)
class Call:
    """One request: the names in its path, and its body."""

    catalog: Catalog
    path: Mapping[str, str]
    body: bytes

    def collection(self) -> Collection:
        return self.catalog.get(self.path["name"])


Answer = Callable[[Call], Any]


@dataclass(slots=True)
class Activity:
    """When the last request was answered, on the monotonic clock."""

    last_seconds: float = 0.0


def _on_points(answer: Callable[[Collection, bytes], Any]) -> Answer:
    return lambda call: answer(call.collection(), call.body)


_C: Final = "/collections/{name}"
_PATHS: Final[tuple[tuple[str, str, Answer], ...]] = (
    ("GET", "/collections", lambda call: collections.listing(call.catalog)),
    ("POST", "/collections/aliases", lambda call: collections.change_aliases(call.catalog, call.body)),
    ("GET", "/aliases", lambda call: collections.aliases(call.catalog, None)),
    ("GET", _C, lambda call: collections.info(call.collection())),
    ("PUT", _C, lambda call: collections.create(call.catalog, call.path["name"], call.body)),
    ("PATCH", _C, lambda call: collections.update(call.catalog, call.path["name"], call.body)),
    ("DELETE", _C, lambda call: call.catalog.drop(call.path["name"])),
    ("GET", _C + "/exists", lambda call: {"exists": call.catalog.has(call.path["name"])}),
    ("GET", _C + "/aliases", lambda call: collections.aliases(call.catalog, call.path["name"])),
    ("PUT", _C + "/index", _on_points(collections.create_index)),
    ("DELETE", _C + "/index/{field}", lambda call: collections.delete_index(call.collection(), call.path["field"])),
    ("POST", _C + "/facet", _on_points(points.facet)),
    ("PUT", _C + "/points", _on_points(points.upsert)),
    ("POST", _C + "/points", _on_points(points.retrieve)),
    ("POST", _C + "/points/scroll", _on_points(points.scroll)),
    ("POST", _C + "/points/count", _on_points(points.count)),
    ("POST", _C + "/points/query", _on_points(points.query)),
    ("POST", _C + "/points/query/batch", _on_points(points.query_batch)),
    ("POST", _C + "/points/delete", _on_points(points.delete)),
    ("POST", _C + "/points/batch", _on_points(points.update_batch)),
    ("POST", _C + "/points/payload", _on_points(points.set_payload)),
    ("PUT", _C + "/points/payload", _on_points(points.overwrite_payload)),
    ("POST", _C + "/points/payload/delete", _on_points(points.delete_payload)),
    ("POST", _C + "/points/payload/clear", _on_points(points.clear_payload)),
    ("GET", _C + "/points/{id}", lambda call: points.retrieve_one(call.collection(), call.path["id"])),
)


def _json(status: int, content: bytes) -> Response:
    return Response(content, status_code=status, media_type="application/json")


def _answered(answer: Answer, call: Call, started: float) -> Response:
    """One request, on the thread that owns the shards."""
    _end_if_lost(call.catalog)
    try:
        return _json(200, result_body(answer(call), time.perf_counter() - started))
    except Refused as refused:
        return _json(refused.status, error_body(refused.words, time.perf_counter() - started))
    except OSError as error:
        words = f"Service internal error: {error.strerror or error} ({error.filename})"
        return _json(500, error_body(words, time.perf_counter() - started))
    except BaseException as error:
        if isinstance(error, Exception):
            raise
        # A panic leaves the engine's own locks poisoned: end, and be started again from what is on disk.
        traceback.print_exc()
        os._exit(_PANICKED_STATUS)


def _end_if_lost(catalog: Catalog) -> None:
    """Deleted files would answer for ever, and everything acknowledged would go with the process."""
    lost = catalog.lost()
    if lost is not None:
        catalog.log(f"{lost} was deleted, moved or replaced: the store is opened anew, as it is now.")
        os._exit(_LOST_STATUS)


async def _read_body(request: Request) -> bytes:
    """The body; one over the limit is read to its end, so that the client hears the answer, but not kept."""
    size = 0
    parts = []
    async for part in request.stream():
        size += len(part)
        if size <= MAX_BODY_BYTES:
            parts.append(part)
        elif size > _DISCARD_BYTES:
            break
    if size > MAX_BODY_BYTES:
        raise Refused(
            400,
            f"Payload error: JSON payload ({size} bytes) is larger than allowed (limit: {MAX_BODY_BYTES} bytes).",
        )
    return b"".join(parts)


def _endpoint(answer: Answer, catalog: Catalog, owner: ThreadPoolExecutor, activity: Activity) -> Any:
    async def endpoint(request: Request) -> Response:
        started = time.perf_counter()
        try:
            body = await _read_body(request)
        except Refused as refused:
            return _json(refused.status, error_body(refused.words, 0.0))
        except ClientDisconnect:
            return _json(400, error_body("the request was cut short", 0.0))
        call = Call(catalog, request.path_params, body)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(owner, _answered, answer, call, started)
        finally:
            activity.last_seconds = time.monotonic()

    return endpoint


def build(catalog: Catalog, owner: ThreadPoolExecutor, activity: Activity) -> ASGIApp:
    """The application without any check of who asks; *owner* has exactly one thread."""

    async def title(_request: Request) -> Response:
        return _json(
            200,
            b'{"title":"clipwatch\'s embedded engine (not a Qdrant server)","version":"%s","commit":"%s"}'
            % (API_VERSION.encode(), f"clipwatch-{__version__}".encode()),
        )

    async def alive(_request: Request) -> Response:
        return PlainTextResponse("healthz check passed")

    async def ready(_request: Request) -> Response:
        await asyncio.get_running_loop().run_in_executor(owner, catalog.names)
        return PlainTextResponse("all shards are ready")

    async def refused(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status in (404, 405):
            return _json(404, error_body(f"{request.method} {request.url.path} is not answered by this engine", 0.0))
        return _json(status, error_body(f"Service internal error: {error!r}", 0.0))

    routes = [Route("/", title), Route("/healthz", alive), Route("/livez", alive), Route("/readyz", ready)]
    routes += [
        Route(path, _endpoint(answer, catalog, owner, activity), methods=[method]) for method, path, answer in _PATHS
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: refused, Exception: refused})
    app.router.redirect_slashes = False
    return app


def with_key(app: ASGIApp, api_key: str) -> ASGIApp:
    """*app* for callers who know the key; the same paths as on a server are open to all."""
    expected = api_key.encode()

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _OPEN_PATHS:
            headers = dict(scope["headers"])
            given = headers.get(b"api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
            if not hmac.compare_digest(given, expected):
                words = (
                    "Invalid API key or JWT" if given else "Must provide an API key or an Authorization bearer token"
                )
                await _json(401, error_body(words, 0.0))(scope, receive, send)
                return
        await app(scope, receive, send)

    return guarded
