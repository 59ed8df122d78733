"""`clipwatch run`: the daemon."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from clipwatch import __version__
from clipwatch.cli.assemble import Context, Parts, opened, quiet_libraries, state_lock
from clipwatch.cli.serve import serve_http
from clipwatch.config import is_server
from clipwatch.service.answers import export, forget
from clipwatch.service.control import Answer, ControlServer, Handler
from clipwatch.service.daemon import Daemon, Stop, store_listener
from clipwatch.service.http import HttpServer
from clipwatch.service.notify import Notifier


def main(_arguments: argparse.Namespace, context: Context) -> int:
    """Until SIGTERM or SIGINT."""
    import threading

    config, logger = context.config, context.logger
    started = context.clock.monotonic()
    notifier = Notifier(os.environ)
    quiet_libraries(logger)
    stop = Stop(threading.Event())
    stop.install()
    daemon: Daemon | None = None

    def mirror_of() -> Any:
        return daemon.mirror if daemon is not None else None

    with state_lock(context.state):
        logger.info(
            "daemon.started",
            version=__version__,
            pid=os.getpid(),
            config=str(context.loaded.file or "defaults"),
            store=config.store.url,
            collection=config.store.collection,
            folders=[watch.path for watch in config.watch],
        )
        notifier.extend(120)
        listener = store_listener(mirror_of)
        with opened(context, stop=stop.requested, give_up_seconds=None, on_state=listener) as parts:
            parts.open_together()
            mirror = parts.mirror()
            stop.rewire(mirror.inbox.wake)
            daemon = Daemon(
                mirror,
                stop=stop,
                clock=context.clock,
                logger=logger,
                limiter=context.limiter,
                notifier=notifier,
                started=started,
            )
            http: HttpServer | None = None
            status = partial(describe, daemon, parts, context, lambda: http)
            http = serve_http(daemon, parts, context, status)
            control = ControlServer(context.state, handlers(daemon, parts, context, status), logger)
            try:
                daemon.run()
            finally:
                control.close()
                http.close()
                mirror.close(wait_seconds=1)
    return 0


def describe(daemon: Daemon, parts: Parts, context: Context, http: Callable[[], HttpServer | None]) -> dict[str, Any]:
    """The whole status; on the loop's thread."""
    result = daemon.status()
    result["version"] = __version__
    result["model"]["text"] = parts.encoder.files.text is not None
    result["store"]["kind"] = "server" if is_server(context.config.store.url) else "embedded"
    result["store"]["retries"] = parts.store.retries
    result["store"]["unavailable_seconds"] = round(parts.store.seconds_unavailable, 3)
    server = http()
    result["http"] = server.describe() if server is not None else {}
    return result


def handlers(
    daemon: Daemon, parts: Parts, context: Context, whole_status: Callable[[], dict[str, Any]]
) -> dict[str, Handler]:
    """What the control socket answers."""
    answers = parts.answers()

    def status(_request: dict[str, Any]) -> Answer:
        yield from ()
        result: dict[str, Any] = daemon.ask(whole_status)
        return result

    def search(request: dict[str, Any]) -> Answer:
        yield from ()
        return answers.search(request)

    def verify(request: dict[str, Any]) -> Answer:
        yield from ()
        return answers.verify(deep=bool(request.get("deep")))

    def export_points(request: dict[str, Any]) -> Answer:
        yield from export(parts.store, vectors=bool(request.get("vectors")))
        return {}

    def forget_folder(request: dict[str, Any]) -> Answer:
        yield from ()
        return forget(context.config, parts.store, str(request.get("name", "")))

    def sync(_request: dict[str, Any]) -> Answer:
        return (yield from _watched_sync(daemon, None))

    def confirm(_request: dict[str, Any]) -> Answer:
        before = daemon.ask(lambda: daemon.mirror.counts.deleted)
        result = yield from _watched_sync(daemon, daemon.mirror.confirm)
        after = daemon.ask(lambda: daemon.mirror.counts.deleted)
        return {"deleted": after - before, "undone": result["undone"]}

    return {
        "status": status,
        "search": search,
        "verify": verify,
        "export": export_points,
        "forget": forget_folder,
        "sync": sync,
        "confirm": confirm,
    }


def _watched_sync(daemon: Daemon, looks: Any) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """Ask the loop for a pass and tell how it goes until it is done."""
    request = daemon.ask(lambda: daemon.request_sync(looks))
    while not request.done.wait(0.5):
        yield daemon.ask(lambda: {"counts": request.counts(), "pending": daemon.mirror.pending()})
    return {**request.result, "undone": request.undone}
