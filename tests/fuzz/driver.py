"""What every fuzz target starts from: seeds on disk, a mutator that keeps checksums right, and one that knows JSON."""

from __future__ import annotations

import atexit
import json
import math
import os
import random
import shutil
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import atheris

MAX_BYTES = 16_384

Mutator = Callable[[bytes, int, int], bytes]


def fuzz(target: Callable[[bytes], None], seeds: Iterable[bytes], mutator: Mutator) -> None:
    """Run *target* on bytes for ever, or as libFuzzer's options on the command line say (`-runs`, `-max_total_time`).

    A folder given on the command line is the corpus, and grows; without one it is forgotten at the end.
    """
    with tempfile.TemporaryDirectory(prefix="clipwatch-fuzz-") as temporary:
        for number, seed in enumerate(seeds):
            (Path(temporary) / str(number)).write_bytes(seed)
        options = [f"-max_len={MAX_BYTES}", "-timeout=10", "-rss_limit_mb=2048", f"-artifact_prefix={temporary}-"]
        atheris.Setup([sys.argv[0], *options, *sys.argv[1:], temporary], target, custom_mutator=mutator)
        atheris.Fuzz()


def mutated_png(data: bytes, max_size: int, seed: int) -> bytes:
    """Any change; of a PNG mostly with the checksums put right, or hardly a change would get past them."""
    mutated: bytes = atheris.Mutate(data, len(data))
    return with_checksums(mutated)[:max_size] if seed % 8 else mutated[:max_size]


def with_checksums(data: bytes) -> bytes:
    """*data* with the CRC of each PNG chunk as it should be."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    right = bytearray(data)
    at = 8
    while at + 12 <= len(right):
        (length,) = struct.unpack_from(">I", right, at)
        end = at + 8 + length
        if end + 4 > len(right):
            break
        struct.pack_into(">I", right, end, zlib.crc32(right[at + 4 : end]))
        at = end + 4
    return bytes(right)


def mutated_json(keys: Sequence[str]) -> Mutator:
    """Changes a document as a document, with *keys* where one is added; now and then as mere bytes."""

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if not chance.randrange(8):
            return bytes(atheris.Mutate(data, max_size))
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = {}
        for _ in range(chance.randint(1, 3)):
            value = _changed(value, keys, chance)
        return json.dumps(value).encode()[:max_size]

    return mutate


def _changed(value: Any, keys: Sequence[str], chance: random.Random) -> Any:
    if isinstance(value, dict) and chance.random() < 0.85:
        key = chance.choice(keys if chance.random() < 0.4 else [*value, chance.choice(keys)])
        if chance.random() < 0.1:
            return {k: item for k, item in value.items() if k != key}
        return {**value, key: _changed(value.get(key), keys, chance)}
    if isinstance(value, list) and value and chance.random() < 0.7:
        at = chance.randrange(len(value))
        return [*value[:at], _changed(value[at], keys, chance), *value[at + 1 :]]
    return chance.choice(
        (
            *(None, True, False, 0, -1, 1, 224, 4096, 4097, 2**31, 10**30, chance.randrange(1000)),
            *(0.0, 0.5, 1.0, 5e-324, 1e300, math.nan, math.inf, -math.inf, chance.random()),
            *("", "bicubic", "../x", "/x", ".", "\0", "\ud800", "{}", "{0.__class__}", "AAAA", chance.choice(keys)),
            *([], [value] * 3, [value] * 2, {}, {chance.choice(keys): value}, [0.5, 0.5, 0.5]),
            {"height": 224, "width": chance.choice((224, 225))},
        )
    )


def folder_in_memory() -> Path:
    """Somewhere to write a file for each run."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="clipwatch-fuzz-", dir=memory)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
