"""The log: few lines for many repeats, nothing hidden from `status`, and no line that a terminal could not show."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipwatch.service.ask import ask
from clipwatch.service.control import ControlServer
from clipwatch.service.logs import (
    FIRST_OF,
    FIRST_REPEATS,
    REPEATING,
    SUMMARY_SECONDS,
    LogOutput,
    make_logger,
    tell_summaries,
)
from support.events_in_code import events_in_code
from support.folders import HandClock, LogBook


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Log:
    """A logger, and what it wrote."""

    def __init__(
        self,
        *,
        format: str = "json",  # noqa: A002 - the key's name
        level: str = "info",
        stream: io.StringIO | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.clock, self.stream = HandClock(), stream or io.StringIO()
        self.output = LogOutput(format, level)
        self.logger, self.limiter = make_logger(
            format=format,
            level=level,
            clock=self.clock,
            stream=self.stream,
            environment=environment or {},
            output=self.output,
        )

    def reject(self, times: int, reason: str = "truncated") -> None:
        for number in range(times):
            self.logger.warning("image.rejected", folder="images", path=f"{number}.png", reason=reason, message="")

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


# -- repeats -----------------------------------------------------------------------------------------------


def test_of_many_repeats_the_first_few_are_told_and_then_one_number() -> None:
    log = Log()
    log.reject(FIRST_REPEATS + 7)
    assert [line["path"] for line in log.lines] == [f"{number}.png" for number in range(FIRST_REPEATS)]
    assert log.limiter.summaries() == [], "the minute is not over"
    log.clock.seconds += SUMMARY_SECONDS
    assert log.limiter.summaries() == [("image.rejected", "truncated", 7)]
    assert log.limiter.summaries() == []
    log.reject(1)
    assert len(log.lines) == FIRST_REPEATS + 1


def test_another_reason_and_another_event_have_their_own_count() -> None:
    log = Log()
    log.reject(FIRST_REPEATS + 1)
    log.reject(1, reason="empty")
    log.logger.warning("http.refused", reason="truncated")
    for number in range(FIRST_REPEATS + 1):
        log.logger.info("batch.stored", points=number)
    assert len(log.lines) == FIRST_REPEATS + 2 + FIRST_REPEATS + 1


def test_what_was_not_told_before_the_next_minute_began_is_still_counted() -> None:
    log = Log()
    log.reject(FIRST_REPEATS + 3)
    log.clock.seconds += SUMMARY_SECONDS
    log.reject(FIRST_REPEATS + 2)
    assert len(log.lines) == 2 * FIRST_REPEATS
    assert log.limiter.summaries() == [("image.rejected", "truncated", 3)]
    assert log.limiter.summaries(last=True) == [("image.rejected", "truncated", 2)]


def test_few_repeats_need_no_summary() -> None:
    log = Log()
    log.reject(FIRST_REPEATS)
    assert log.limiter.summaries(last=True) == []


def test_a_summary_is_a_warning_that_names_what_it_is_of() -> None:
    log = Log()
    log.reject(FIRST_REPEATS + 2)
    tell_summaries(log.limiter, log.logger, last=True)
    line = log.lines[-1]
    assert [line[key] for key in ("level", "event", "of", "reason", "repeated")] == [
        "warning",
        "log.summary",
        "image.rejected",
        "truncated",
        2,
    ]


def test_a_traceback_of_the_engine_is_told_whole() -> None:
    log = Log()
    for number in range(FIRST_OF["engine.output"] + 1):
        log.logger.warning("engine.output", line=str(number))
    assert len(log.lines) == FIRST_OF["engine.output"] >= 40
    assert log.limiter.summaries(last=True) == [("engine.output", "", 1)]


def test_an_engine_that_cannot_live_does_not_fill_the_log() -> None:
    log = Log()
    for pid in range(20):
        log.logger.info("engine.started", pid=pid)
        log.logger.warning("engine.died", pid=pid, status=-7)
    assert len(log.lines) == 2 * FIRST_REPEATS
    assert log.limiter.summaries(last=True) == [("engine.started", "", 15), ("engine.died", "", 15)]


def test_only_events_that_exist_are_limited() -> None:
    assert events_in_code().keys() >= REPEATING >= FIRST_OF.keys()


# -- what `status` is told -----------------------------------------------------------------------------------


@pytest.fixture
def log() -> Log:
    return Log(level="error")


@pytest.fixture
def troubles(log: Log, tmp_path: Path) -> Iterator[Any]:
    """Asks for them as another command does."""

    def answer(_request: dict[str, Any]) -> Any:
        yield from ()
        return {"troubles": list(log.limiter.troubles)}

    server = ControlServer(tmp_path, {"status": answer}, LogBook())

    def asked() -> list[dict[str, Any]]:
        answer = ask(tmp_path, {"command": "status"}, 20)
        assert answer is not None
        with pytest.raises(StopIteration) as end:
            next(answer)
        found: list[dict[str, Any]] = end.value.value["troubles"]
        return found

    yield asked
    server.close()


def test_an_error_with_its_exception_does_not_break_status(log: Log, troubles: Any) -> None:
    error = OSError("no such luck")
    log.logger.error("http.request_failed", path="/", error=repr(error), exc_info=error)
    log.logger.error("control.failed", command=Path("a"), exc_info=error)
    assert [(told["event"], told["level"], set(told)) for told in troubles()] == [
        ("http.request_failed", "error", {"at", "level", "event", "path", "error"}),
        ("control.failed", "error", {"at", "level", "event", "command"}),
    ]
    assert "OSError: no such luck" in log.lines[0]["exception"]


def test_a_warning_that_is_not_written_is_told_to_status_all_the_same(log: Log, troubles: Any) -> None:
    log.logger.info("batch.stored", points=1)
    log.reject(FIRST_REPEATS + 1)
    assert [told["path"] for told in troubles()] == [f"{number}.png" for number in range(1, FIRST_REPEATS + 1)]
    assert log.lines == []


# -- the lines -----------------------------------------------------------------------------------------------


def test_a_line_is_one_object_with_time_level_and_event_first() -> None:
    log = Log()
    log.logger.info("batch.stored", points=3, path="a\nb\x1b[2J")
    (text,) = log.stream.getvalue().splitlines()
    assert list(json.loads(text)) == ["timestamp", "level", "event", "points", "path"]
    assert json.loads(text)["path"] == "a\nb\x1b[2J"
    assert text.isascii()
    assert "\x1b" not in text


def test_what_is_below_the_level_is_not_written_and_the_level_may_change() -> None:
    log = Log(level="warning")
    log.logger.info("batch.stored", points=1)
    log.logger.warning("events.lost", folder="images", reason="x")
    log.output.configure("json", "debug")
    log.logger.debug("ledger.read", folder="images")
    assert [line["event"] for line in log.lines] == ["events.lost", "ledger.read"]


@pytest.mark.parametrize(
    ("format", "stream", "environment", "coloured"),
    [
        ("console", Terminal, {}, True),
        ("console", Terminal, {"NO_COLOR": "1"}, False),
        ("console", Terminal, {"NO_COLOR": ""}, True),
        ("console", io.StringIO, {}, False),
        ("json", Terminal, {}, False),
    ],
)
def test_colour_is_for_people_on_a_terminal_who_want_it(
    format: str,  # noqa: A002 - the key's name
    stream: type[io.StringIO],
    environment: dict[str, str],
    coloured: bool,
) -> None:
    log = Log(format=format, stream=stream(), environment=environment)
    log.logger.warning("events.lost", folder="images", reason="x")
    assert ("\x1b[" in log.stream.getvalue()) is coloured


def test_on_a_terminal_no_field_moves_the_cursor_and_an_exception_can_be_read() -> None:
    log = Log(format="console", stream=Terminal(), environment={"NO_COLOR": "1"})
    try:
        raise OSError("a\x1b[2Jb")
    except OSError as error:
        log.logger.error("control.failed", command="x\ny", exc_info=error)
    text = log.stream.getvalue()
    assert "\x1b" not in text
    assert r"command=x\ny" in text.replace("'", "")
    first, *_, last = text.splitlines()
    assert "control.failed" in first
    assert last == r"OSError: a\x1b[2Jb"
