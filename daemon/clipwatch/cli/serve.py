"""The daemon's HTTP server, from its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clipwatch import __version__
from clipwatch.cli.assemble import Context, Parts
from clipwatch.service.daemon import Daemon
from clipwatch.service.http import HttpServer, LoopView
from clipwatch.service.http_files import image_opener
from clipwatch.service.metrics import exposition


def serve_http(daemon: Daemon, parts: Parts, context: Context, status: Callable[[], dict[str, Any]]) -> HttpServer:
    """Start it; *status* is asked on the loop's thread."""
    config = context.config
    view = LoopView(daemon.ask, status, turned=lambda: daemon.turned, stuck=lambda: daemon.stuck, clock=context.clock)
    answers = parts.answers()
    file_bytes = config.limits.file_bytes
    return HttpServer(
        config.http,
        status=view.status,
        unready=daemon.unready,
        healthy=view.healthy,
        search=answers.search,
        image=image_opener(
            answers.front,
            lambda: [folder.watch for folder in list(daemon.mirror.folders.values())],
            file_bytes=file_bytes,
        ),
        metrics=exposition(view.status, __version__),
        body_bytes=file_bytes,
        clock=context.clock,
        logger=context.logger,
    )
