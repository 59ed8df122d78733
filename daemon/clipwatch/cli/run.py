"""`clipwatch run`: the daemon."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

from clipwatch import __version__
from clipwatch.cli.assemble import Context, Parts, limits_key, opened, quiet_libraries
from clipwatch.cli.handlers import handlers, while_starting
from clipwatch.cli.parser import load_config
from clipwatch.cli.serve import serve_http
from clipwatch.config import is_server
from clipwatch.config_file import LoadedConfig
from clipwatch.errors import Interrupted
from clipwatch.mirror.mirror import Mirror
from clipwatch.service.control import ControlServer
from clipwatch.service.daemon import Daemon, Stop, store_listener
from clipwatch.service.http import HttpServer
from clipwatch.service.liveness import Sign, mirror_signs
from clipwatch.service.notify import Notifier
from clipwatch.service.reload import reload
from clipwatch.service.state import keeper, state_lock


def main(arguments: argparse.Namespace, context: Context) -> int:
    """Until SIGTERM or SIGINT."""
    stop = Stop(threading.Event())
    stop.install()
    try:
        _run(arguments, context, stop)
    except Interrupted:
        context.logger.info("daemon.stopping", in_hand=0)
        context.logger.info("daemon.stopped", finished=True)
        sys.stderr.flush()
        os._exit(0)  # a model that is being loaded or compiled cannot be told to stop
    return 0


def _run(arguments: argparse.Namespace, context: Context, stop: Stop) -> None:
    config, logger = context.config, context.logger
    started = context.clock.monotonic()
    notifier = Notifier(os.environ)
    quiet_libraries(logger)
    log_what_nobody_expects(logger)
    daemon: Daemon | None = None

    def mirror_of() -> Any:
        return daemon.mirror if daemon is not None else None

    with state_lock(context.state) as lock:
        logger.info(
            "daemon.started",
            version=__version__,
            pid=os.getpid(),
            config=str(context.loaded.file or "defaults"),
            store=config.store.url,
            collection=config.store.collection,
            folders=[watch.path for watch in config.watch],
        )
        answers = while_starting()
        control = ControlServer(context.state, answers, logger)
        listener = store_listener(mirror_of)
        with (
            closing(control),
            opened(
                context,
                stop=stop.requested,
                give_up_seconds=None,
                on_state=listener,
                rebuild=arguments.rebuild,
                make=True,
                listen=True,
            ) as parts,
        ):
            with notifier.loading("opening the store and the model"):
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
                signs=partial(signs, mirror, parts, context, notifier.watchdog_seconds or 0.0),
                keep=keeper({"lock": lock.renew, "control socket": control.renew}, logger),
                started=started,
            )
            http: HttpServer | None = None
            status = partial(describe, daemon, parts, context, lambda: http)
            http = serve_http(daemon, parts, context, status)
            answers |= handlers(daemon, parts, context, status)

            def take(loaded: LoadedConfig, changed: tuple[str, ...]) -> None:
                nonlocal http
                parts.reconfigure(loaded.config)
                context.loaded = loaded
                if context.output is not None:
                    context.output.configure(loaded.config.log.format, loaded.config.log.level)
                mirror.reconfigure(loaded.config, limits=limits_key(loaded.config))
                if http is not None and any(key.startswith(("http.", "limits.")) for key in changed):
                    http.close()
                    http = serve_http(daemon, parts, context, status)

            daemon.reload = lambda: reload(context.config, partial(load_config, arguments), take, logger)
            try:
                daemon.run()
            finally:
                http.close()
                mirror.close(wait_seconds=1)


def signs(mirror: Mirror, parts: Parts, context: Context, watchdog_seconds: float) -> list[Sign]:
    """Of life, by the settings that are in force now."""
    return mirror_signs(
        mirror,
        store_requests=parts.requests_of(mirror.writer.name),
        decoding_since=parts.decoding_since,
        config=context.config,
        watchdog_seconds=watchdog_seconds,
    )


def describe(daemon: Daemon, parts: Parts, context: Context, http: Callable[[], HttpServer | None]) -> dict[str, Any]:
    """The whole status; on the loop's thread."""
    result = daemon.status()
    result["version"] = __version__
    result["model"]["text"] = parts.encoder.files.text is not None
    result["store"]["kind"] = "server" if is_server(context.config.store.url) else "embedded"
    result["store"]["retries"] = parts.store.retries
    result["store"]["unavailable_seconds"] = round(parts.store.seconds_unavailable, 3)
    if parts.rebuild.under_way:
        done, of = result["points"], parts.rebuild.old_points
        held = daemon.mirror.doubt
        result["rebuild"] = {"collection": parts.rebuild.target, "done": done, "of": max(done, of), "held": held}
    result["log"] = context.log_stream.describe() if context.log_stream is not None else {}
    server = http()
    result["http"] = server.describe() if server is not None else {}
    return result


def log_what_nobody_expects(logger: Any) -> None:
    """An exception that reaches the top is our bug: one line of the log says so, whichever thread it ends."""

    def main_thread(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        logger.error("daemon.failed", exc_info=(kind, error, trace))

    def other_thread(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else ""
        logger.error("thread.failed", thread=name, exc_info=(args.exc_type, args.exc_value, args.exc_traceback))

    sys.excepthook = main_thread
    threading.excepthook = other_thread
