"""The HTTP server on a thread of its own: its trouble is told, and is nobody else's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

import uvicorn

from clipwatch.asgi import QuietServer
from clipwatch.clock import Clock
from clipwatch.config import HttpConfig
from clipwatch.errors import ConfigError, StoreUnavailable
from clipwatch.service.http_access import Access
from clipwatch.service.http_app import Views, application
from clipwatch.service.http_files import OpenImage
from clipwatch.service.http_wire import CONNECTIONS, PatientProtocol, bind
from clipwatch.service.page import load_page

RETRY_SECONDS: Final = (1.0, 5.0, 30.0)
"""Pauses after a death or a port that was taken; the last one again and again."""

HEAD_BYTES: Final = 32 * 1024
KEEP_ALIVE_SECONDS: Final = 15
CLOSE_SECONDS: Final = 1.0

STALLED_SECONDS: Final = 120.0
"""A loop that has not turned for so long will not turn again by itself; single steps may walk a large directory."""

ASK_SECONDS: Final = 3.0


class LoopView:
    """The daemon's loop as other threads may see it, without waiting long for it."""

    def __init__(
        self,
        ask: Callable[[Callable[[], dict[str, Any]], float], dict[str, Any]],
        status: Callable[[], dict[str, Any]],
        *,
        turned: Callable[[], float],
        stuck: Callable[[], Sequence[str]],
        clock: Clock,
    ) -> None:
        """*ask* has *status* answered on the loop's thread within so many seconds, or raises `StoreUnavailable`.

        *turned*: the monotonic moment at which the loop last turned. *stuck*: the workers that stand still with work.
        """
        self._ask, self._status, self._clock = ask, status, clock
        self._turned, self._stuck = turned, stuck
        self._latest: dict[str, Any] | None = None

    @property
    def age_seconds(self) -> float:
        """Since the loop last turned."""
        return self._clock.monotonic() - self._turned()

    def healthy(self) -> bool:
        """False only where a restart would help."""
        return self.age_seconds < STALLED_SECONDS and not self._stuck()

    def status(self) -> dict[str, Any]:
        """The status, and `loop_age_seconds`; while the loop is in a long step, the last one that is known."""
        try:
            self._latest = self._ask(self._status, ASK_SECONDS)
        except StoreUnavailable:
            if self._latest is None:
                raise
        return {**self._latest, "loop_age_seconds": round(self.age_seconds, 3)}


class HttpServer:
    """Serves until closed; started anew when it dies or its port was taken."""

    def __init__(
        self,
        config: HttpConfig,
        *,
        status: Callable[[], dict[str, Any]],
        unready: Callable[[], list[str]],
        healthy: Callable[[], bool],
        search: Callable[[Mapping[str, Any]], dict[str, Any]],
        image: Callable[[str], OpenImage | None],
        metrics: Callable[[], tuple[bytes, str]],
        body_bytes: int,
        clock: Clock,
        logger: Any,
    ) -> None:
        """Start, unless `http.listen` is empty. The calls are as `http_app.Views` says."""
        self._listen, self._access = config.listen, Access.of(config)
        self._views = Views(status, unready, healthy, search, image, metrics, body_bytes)
        self._clock, self._logger = clock, logger
        self._stop = threading.Event()
        self._server: QuietServer | None = None
        self.address = ""
        """`http://host:port` while it listens."""
        self.trouble = ""
        """Why it does not listen, in a sentence."""
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        if self._listen:
            self._thread.start()

    def describe(self) -> dict[str, Any]:
        """For status."""
        return {"listen": self._listen, "address": self.address, "trouble": self.trouble}

    def close(self) -> None:
        """Stop answering; soon, whatever is being answered."""
        self._stop.set()
        if self._server is not None:
            self._server.end()
        if self._thread.is_alive():
            self._thread.join(2 * CLOSE_SECONDS)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began = self._clock.monotonic()
            try:
                self._serve()
            except ConfigError as error:
                self._fail(error.sentence())
            except Exception as error:  # noqa: BLE001 - whatever ended the server must not end the mirror
                self._fail(f"The server ended: {error!r}.", exc_info=error)
            else:
                if self._stop.is_set():
                    return
                self._fail("The server ended by itself.")
            failures = 1 if self._clock.monotonic() - began > RETRY_SECONDS[-1] else failures + 1
            self._clock.wait(self._stop, RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1])

    def _fail(self, reason: str, **fields: Any) -> None:
        self.address = ""
        if self.trouble != reason:
            self._logger.error("http.failed", reason=reason, listen=self._listen, **fields)
        self.trouble = reason

    def _serve(self) -> None:
        with closing(bind(self._listen)) as listening:
            host, port = listening.getsockname()[:2]
            self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            self.trouble = ""
            self._logger.info("http.listening", address=self.address, token=bool(self._access.token))
            asyncio.run(self._answer(listening))

    async def _answer(self, listening: Any) -> None:
        app = application(self._views, self._access, load_page(), self._logger)
        self._server = QuietServer(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=PatientProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=int(CLOSE_SECONDS),
                h11_max_incomplete_event_size=HEAD_BYTES,
            )
        )
        if self._stop.is_set():
            self._server.end()
        await self._server.serve(sockets=[listening])
