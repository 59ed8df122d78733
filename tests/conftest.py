"""What every process of the tests begins with."""

from __future__ import annotations

import signal

import clipwatch  # noqa: F401 - before any test module imports a library that would send telemetry


def pytest_configure() -> None:
    """A shell has its background jobs ignore some signals, and whatever they start inherits that."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
