"""Whether everything that has work gets on with it: what the watchdog of a service manager is fed by.

A timer that pings whatever happens would hide a hang. So each thread that works tells whether it has something to do
and a number that changes whenever it gets on; the one that has work and stands still for too long is stuck.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from clipwatch.config import Config
from clipwatch.mirror.mirror import Mirror

ENCODE_SECONDS_PER_IMAGE: Final = 5.0
"""Well above what the largest model takes for one picture on one slow core."""

STORE_TIMEOUTS: Final = 2
"""A request ends by itself after one, and its answer may drip for another."""

LONGEST_PAUSE_SECONDS: Final = 90.0
"""Above the pause between two attempts on a store that is away, and the time for a decode worker to start."""


WORKERS: Final = ("decode", "encode", "store")
"""Those that work beside the loop."""


@dataclass(frozen=True, slots=True)
class Sign:
    """One worker's sign of life: whether it has work, and a number that moves with it."""

    worker: str
    working: bool
    progress: float
    limit_seconds: float
    """How long it may stand still while it has work."""


class Liveness:
    """Compares signs over time."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}

    def stuck(self, signs: Iterable[Sign], now: float) -> list[str]:
        """The workers that have work and did not move for longer than their limit, at monotonic *now*."""
        stuck = []
        for sign in signs:
            progress, since = self._seen.get(sign.worker, (sign.progress, now))
            if not sign.working or progress != sign.progress:
                since = now
            self._seen[sign.worker] = sign.progress, since
            if now - since > sign.limit_seconds:
                stuck.append(sign.worker)
        return stuck


def mirror_signs(
    mirror: Mirror, *, store_requests: int, decoding_since: float | None, config: Config, watchdog_seconds: float
) -> list[Sign]:
    """Of the mirror's two lanes and its decoders.

    *store_requests*: that the store's lane has begun so far, so that an outage which is waited out is no hang.
    *decoding_since*: when the picture that takes longest was begun. No limit is below *watchdog_seconds*.
    """
    encode, write = mirror.pipeline.inference, mirror.writer
    limits = {
        "encode": ENCODE_SECONDS_PER_IMAGE * config.batch.size,
        "store": STORE_TIMEOUTS * config.store.timeout_seconds + LONGEST_PAUSE_SECONDS,
        "decode": config.limits.decode_seconds + LONGEST_PAUSE_SECONDS,
    }
    signs = (
        ("encode", encode.queued > 0, encode.answered),
        ("store", write.queued > 0, write.answered + store_requests),
        ("decode", decoding_since is not None, decoding_since or 0.0),
    )
    return [
        Sign(worker, working, progress, max(watchdog_seconds, limits[worker])) for worker, working, progress in signs
    ]
