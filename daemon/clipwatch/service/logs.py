"""The log: one JSON object a line on stderr, or the same for people; repeats are summarised."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import structlog

from clipwatch.clock import Clock, rfc3339
from clipwatch.service.log_stream import LogStream
from clipwatch.service.notify import is_journal
from clipwatch.visible import visible

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
PRIORITY: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""syslog(3) levels, as journald reads them from a `<n>` in front of a line (sd-daemon(3))."""

FIRST_REPEATS: Final = 5
SUMMARY_SECONDS: Final = 60.0
RECENT_TROUBLES: Final = 5
REPEATING: Final = frozenset(
    {
        "image.rejected",
        "directory.unreadable",
        "events.lost",
        "library.message",
        "http.refused",
        "http.request_failed",
        "decode.worker_replaced",
        "engine.died",
        "engine.output",
        "engine.started",
    }
)
"""Events that a sick folder or disk, or a hostile folder, can produce by the thousand."""
FIRST_OF: Final[Mapping[str, int]] = {"engine.output": 50}
"""How many are told at first, where that is not `FIRST_REPEATS`: a traceback is worth nothing without its last line."""

EventDict = MutableMapping[str, Any]


class RepeatLimiter:
    """A structlog processor: of one event and reason, the first few in a minute pass, the rest are counted."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}
        self._untold: Counter[tuple[str, str]] = Counter()
        self.troubles: deque[dict[str, Any]] = deque(maxlen=RECENT_TROUBLES)
        """The last warnings and errors, for `status`."""

    def remember(self, _logger: Any, name: str, event: EventDict) -> EventDict:
        """Another processor, before any that drops events: keep what `status` tells, as plain values."""
        if LEVELS.get(name, 0) >= LEVELS["warning"]:
            fields = {key: value for key, value in event.items() if key != "exc_info"}
            plain = json.loads(json.dumps(fields, default=str))
            self.troubles.append({"at": rfc3339(self._clock.now()), "level": name, **plain})
        return event

    def __call__(self, _logger: Any, _name: str, event: EventDict) -> EventDict:
        """Pass *event* on, or drop it."""
        if event.get("event") not in REPEATING:
            return event
        key = (str(event["event"]), str(event.get("reason", "")))
        with self._lock:
            self._end_window(key)
            began, count = self._windows.get(key, (self._clock.monotonic(), 0))
            self._windows[key] = (began, count + 1)
        if count >= _first_of(key):
            raise structlog.DropEvent
        return event

    def summaries(self, *, last: bool = False) -> list[tuple[str, str, int]]:
        """Event, reason and number of what was dropped in minutes that are over; the *last* time, in all."""
        with self._lock:
            for key in list(self._windows):
                self._end_window(key, last=last)
            untold, self._untold = self._untold, Counter()
        return [(*key, number) for key, number in untold.items()]

    def _end_window(self, key: tuple[str, str], *, last: bool = False) -> None:
        began, count = self._windows.get(key, (0.0, 0))
        if count and (last or self._clock.monotonic() - began >= SUMMARY_SECONDS):
            del self._windows[key]
            if count > _first_of(key):
                self._untold[key] += count - _first_of(key)


def _first_of(key: tuple[str, str]) -> int:
    return FIRST_OF.get(key[0], FIRST_REPEATS)


def tell_summaries(limiter: RepeatLimiter, logger: Any, *, last: bool = False) -> None:
    """A line for each event and reason of which some were not told."""
    for event, reason, repeated in limiter.summaries(last=last):
        logger.warning("log.summary", of=event, reason=reason, repeated=repeated)


def _timestamp(now: Callable[[], datetime]) -> Callable[[Any, str, EventDict], EventDict]:
    def add(_logger: Any, name: str, event: EventDict) -> EventDict:
        return {"timestamp": rfc3339(now()), "level": name, "event": event.pop("event"), **event}

    return add


def _json(_logger: Any, _name: str, event: Mapping[str, Any]) -> str:
    return json.dumps(event, default=str, ensure_ascii=True)


def _visible_values(_logger: Any, _name: str, event: EventDict) -> EventDict:
    shown = {key: visible(value) if isinstance(value, str) else value for key, value in event.items()}
    if "exception" in event:
        shown["exception"] = "\n".join(visible(line) for line in str(event["exception"]).splitlines())
    return shown


class LogOutput:
    """From which level on lines are written, and how they look; may change while they are."""

    def __init__(self, format: str, level: str) -> None:  # noqa: A002 - the key's name
        self.configure(format, level)

    def configure(self, format: str, level: str) -> None:  # noqa: A002 - the key's name
        """From the next line on."""
        self._format, self._threshold = format, LEVELS[level]

    def gate(self, _logger: Any, name: str, event: EventDict) -> EventDict:
        """A processor: drop what is below the level."""
        if LEVELS.get(name, LEVELS["error"]) < self._threshold:
            raise structlog.DropEvent
        return event

    def renderer(self, *, colors: bool) -> Callable[[Any, str, EventDict], str]:
        """A processor: the line."""
        console = structlog.dev.ConsoleRenderer(
            colors=colors,
            pad_event_to=22,
            sort_keys=False,
            exception_formatter=structlog.dev.plain_traceback,
        )

        def render(logger: Any, name: str, event: EventDict) -> str:
            if self._format == "json":
                return _json(logger, name, event)
            return str(console(logger, name, _visible_values(logger, name, event)))

        return render


def make_logger(
    *,
    format: str,  # noqa: A002 - the key's name
    level: str,
    clock: Clock,
    stream: TextIO | None = None,
    environment: Mapping[str, str] | None = None,
    output: LogOutput | None = None,
    lines: LogStream | None = None,
) -> tuple[Any, RepeatLimiter]:
    """A logger that knows nothing global, and its limiter. *output* lets the caller change format and level later.

    *lines*: where its lines go, for a caller who wants to know how that goes; by default onto *stream*.
    """
    target = stream or sys.stderr
    lines = lines or LogStream(target)
    environment = os.environ if environment is None else environment
    limiter = RepeatLimiter(clock)
    output = output or LogOutput(format, level)
    processors: list[Any] = [
        limiter.remember,
        output.gate,
        limiter,
        structlog.processors.format_exc_info,
        _timestamp(lambda: datetime.now(UTC)),
        output.renderer(colors=target.isatty() and not environment.get("NO_COLOR")),
    ]
    if is_journal(target, environment):
        processors.append(lambda _logger, name, text: f"<{PRIORITY.get(name, 6)}>{text}")
    logger = structlog.wrap_logger(
        lines,
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS["debug"]),
        cache_logger_on_first_use=True,
    )
    lines.on_recovered = lambda lost, reason: logger.warning("log.lost", lines=lost, reason=reason)
    return logger, limiter


class LibraryHandler(logging.Handler):
    """What libraries say through the standard `logging`, as lines of ours."""

    def __init__(self, logger: Any) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on."""
        self._logger.warning("library.message", reason=record.name, message=record.getMessage())
