"""A daemon in this process, from the parts that `run` puts together, for tests that look at it from inside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from clipwatch.cli.assemble import Context, opened
from clipwatch.cli.run import describe, signs
from clipwatch.clock import SystemClock
from clipwatch.config import Config, HttpConfig, StateConfig, StoreConfig, WatchConfig
from clipwatch.config_file import LoadedConfig
from clipwatch.service.answers import Answers
from clipwatch.service.daemon import Daemon, Stop, store_listener
from clipwatch.service.logs import RepeatLimiter
from clipwatch.service.notify import Notifier
from clipwatch.service.state import make_state_directory
from support.folders import LogBook, wait_until


class Running:
    """A daemon whose loop a test turns step by step, or lets run; and its status as others are told it."""

    def __init__(
        self, daemon: Daemon, logs: LogBook, status: Callable[[], dict[str, Any]], answers: Answers, stop: Stop
    ) -> None:
        self.daemon, self.logs, self.status, self.answers = daemon, logs, status, answers
        self._stop = stop

    def until(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Step until *condition* holds of the status, and give that."""
        found: dict[str, Any] = {}

        def met() -> object:
            self.daemon.mirror.step()
            found.update(self.status())
            return condition(found)

        wait_until(met, 60)
        return found

    @contextmanager
    def turning(self) -> Iterator[None]:
        """Meanwhile the loop runs by itself, on a thread; ask it by `Daemon.ask`."""
        thread = threading.Thread(target=self.daemon.run)
        thread.start()
        try:
            yield
        finally:
            self._stop.requested.set()
            self.daemon.mirror.inbox.wake.set()
            thread.join(60)
            assert not thread.is_alive()


@contextmanager
def running(home: Path, *, store_url: str = "", watchdog_seconds: float = 0) -> Iterator[Running]:
    """A daemon on `images` below *home*, by default with an embedded store."""
    config = Config(
        watch=(WatchConfig(path=str(home / "images"), settle_seconds=0.05),),
        store=StoreConfig(url=store_url or f"embedded:{home / 'store'}", timeout_seconds=1),
        state=StateConfig(path=str(home / "state")),
        http=HttpConfig(listen=""),
    )
    make_state_directory(home / "state")
    clock, logs, ended = SystemClock(), LogBook(), threading.Event()
    context = Context(LoadedConfig(config, {}, None), logs, RepeatLimiter(clock), json=False)
    box: list[Daemon] = []
    listener = store_listener(lambda: box[0].mirror if box else None)
    with opened(context, stop=ended, give_up_seconds=None, on_state=listener, make=True) as parts:
        mirror = parts.mirror()
        stop = Stop(mirror.inbox.wake)
        daemon = Daemon(
            mirror,
            stop=stop,
            clock=clock,
            logger=logs,
            limiter=context.limiter,
            notifier=Notifier({"WATCHDOG_USEC": str(int(watchdog_seconds * 1e6))} if watchdog_seconds else {}),
            signs=partial(signs, mirror, parts, context, watchdog_seconds),
            started=clock.monotonic(),
        )
        box.append(daemon)
        try:
            status = partial(describe, daemon, parts, context, lambda: None)
            yield Running(daemon, logs, status, parts.answers(), stop)
        finally:
            ended.set()
            mirror.stop()
            daemon.close()
            mirror.close(wait_seconds=2)
