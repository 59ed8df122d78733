"""uvicorn for a program that is mostly idle and ends by its own rules."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator

import uvicorn


class QuietServer(uvicorn.Server):
    """Waits to be told to end, rather than ask itself ten times a second; leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        """In place of uvicorn's, which also keeps the date of a header that we do not send."""
        self._loop = asyncio.get_running_loop()
        if not self.should_exit:
            await self._ending.wait()

    def end(self) -> None:
        """Stop answering; from any thread, at any time."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._ending.set)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """A terminal and a service manager signal the whole group; who owns this server decides what ends it."""
        yield
