"""Sockets, the event loop, and the end: when the parent's pipe closes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from clipwatch.asgi import QuietServer
from clipwatch.engine import app
from clipwatch.engine.catalog import Catalog
from clipwatch.errors import ConfigError

SOCKET_PATH_BYTES: Final = 107
"""`sun_path` of unix(7), less its NUL."""
_KEEP_ALIVE_SECONDS: Final = 75
"""Longer than any client keeps an idle connection: else one in a while is closed under a request."""
_DRAIN_SECONDS: Final = 3


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen: a Unix socket, and TCP (`host:port`, or "") for those who have the key."""

    socket_path: Path
    address: str
    api_key: str
    idle_seconds: float


def bind_unix(path: Path) -> socket.socket:
    """A socket for this user only. The caller holds the lock, so that what lies there is a dead one's."""
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise ConfigError(f"The socket path {path} is too long.", hint="Choose a shorter directory.")
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        bound.bind(str(path))
    finally:
        os.umask(before)
    return bound


def bind_tcp(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        return socket.create_server(
            (host.strip("[]"), int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"store.embedded_listen {address!r} cannot be listened on: {error}.",
            hint="Choose a free port, or stop the program that has it.",
        ) from error


def _serve_on(application: ASGIApp) -> QuietServer:
    return QuietServer(
        uvicorn.Config(
            application,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
    )


def _watch_parent(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """Set *ended* at end-of-file on stdin."""

    def read() -> None:
        with contextlib.suppress(OSError):
            while os.read(sys.stdin.fileno(), 4096):
                pass
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, name="parent", daemon=True).start()


async def _vacuum_when_idle(
    catalog: Catalog, owner: ThreadPoolExecutor, activity: app.Activity, idle_seconds: float
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(idle_seconds)
        if time.monotonic() - activity.last_seconds >= idle_seconds:
            await loop.run_in_executor(owner, catalog.vacuum)


async def serve(catalog: Catalog, listening: Listening) -> None:
    """Answer until the parent's pipe closes; then finish what is in hand, flush and close."""
    ended = asyncio.Event()
    activity = app.Activity()
    owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shards")
    plain = app.build(catalog, owner, activity)
    sockets = [bind_unix(listening.socket_path)]
    servers = [_serve_on(plain)]
    told = {"ready": True, "listen": ""}
    if listening.address:
        sockets.append(bind_tcp(listening.address))
        servers.append(_serve_on(app.with_key(plain, listening.api_key)))
        host, port = sockets[1].getsockname()[:2]
        told["listen"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    for bound in sockets:
        bound.listen(128)
    _watch_parent(asyncio.get_running_loop(), ended)
    running = [asyncio.create_task(s.serve(sockets=[b])) for s, b in zip(servers, sockets, strict=True)]
    vacuum = asyncio.create_task(_vacuum_when_idle(catalog, owner, activity, listening.idle_seconds))
    print(json.dumps(told), flush=True)  # noqa: T201 - the parent waits for this line
    ending = asyncio.create_task(ended.wait())
    await asyncio.wait([ending, vacuum, *running], return_when=asyncio.FIRST_COMPLETED)
    vacuum.cancel()
    for server in servers:
        server.end()
    await asyncio.gather(*running, return_exceptions=True)
    await asyncio.get_running_loop().run_in_executor(owner, catalog.close)
    owner.shutdown()
    with contextlib.suppress(OSError):  # the next one takes the name over, as it does after a kill
        listening.socket_path.unlink(missing_ok=True)
