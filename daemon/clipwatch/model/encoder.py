"""The resident vision tower: uint8 pictures → unit vectors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from clipwatch.errors import ModelError
from clipwatch.model.contract import Matrix
from clipwatch.model.engine import Engine, float32
from clipwatch.model.files import ModelFiles
from clipwatch.model.fingerprint import WHITE, fingerprint
from clipwatch.model.graph import VisionPorts, choose_pooling, choose_ports
from clipwatch.records import Pixels, Preprocessing

_SINGLES: Final = 0.5
"""A rest below this share of a batch is run one by one: a picture alone costs 1.4 to 2 times its share of a batch."""
_ROW_AGREEMENT: Final = 0.99
"""Cosine of one picture alone and among others; arithmetic that quantises over the batch moves it by 0.001."""


class VisionEncoder:
    """`Encoder` over any engine.

    Runs have two sizes only (one picture, and what the graph fixes or the engine likes, at most *batch_size*), so that
    memory stays flat. One run at a time: a session uses all its threads anyway, and the input buffer is reused.
    """

    def __init__(
        self,
        engine: Engine,
        files: ModelFiles,
        vision_sha256: str,
        *,
        preprocess: Callable[[int | None], Preprocessing],
        pooling: str,
        batch_size: int,
        name: str,
        precision: str = "",
        background: tuple[int, int, int] = WHITE,
        fallback: Callable[[], Engine] | None = None,
    ) -> None:
        """*preprocess* gets the side that the graph fixes (or None). *fallback* makes an engine on the CPU.

        *precision* ("" unless it moves vectors) and *background* (RGB behind transparency) are for the fingerprint.
        Runs the graph once or twice to see what comes out. Raises `ModelError` where the graph is no vision tower.
        """
        source = str(files.vision)
        self.files = files
        self.vision_sha256 = vision_sha256
        self._engine = engine
        self._fallback = fallback
        self._second: Engine | None = None
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        """Held by who waits for the lock, so that a question comes between two runs of a batch, not after it."""
        self._name = name
        self._ports = choose_ports(engine.inputs, engine.outputs, source)
        self._preprocessing = preprocess(self._ports.side)
        self._table = _table(self._preprocessing, self._ports.dtype)
        self._large = self._ports.batch or min(batch_size, engine.rows or batch_size)
        self._sizes = (self._ports.batch,) if self._ports.batch else (1, self._large)
        side = self._preprocessing.side
        self._buffer = np.zeros((self._large, 3, side, side), self._ports.dtype)
        self._pooling, self._width = self._probe(pooling, source)
        self._fingerprint = fingerprint(
            vision_sha256,
            self._preprocessing,
            self._pooling,
            self._ports.output,
            precision,
            background=background,
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def demonstration(self) -> bool:
        return self.files.demonstration

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def width(self) -> int:
        return self._width

    @property
    def preprocessing(self) -> Preprocessing:
        return self._preprocessing

    @property
    def pooling(self) -> str:
        """`mean` or `none`."""
        return self._pooling

    @property
    def ports(self) -> VisionPorts:
        """The input and output in use."""
        return self._ports

    @property
    def describe(self) -> dict[str, object]:
        return {
            **self._engine.describe,
            "file": str(self.files.vision),
            "sha256": self.vision_sha256,
            "width": self._width,
            "pooling": self._pooling,
            "demonstration": self.demonstration,
        }

    def encode(self, pixels: Sequence[Pixels]) -> Matrix:
        side = self._preprocessing.side
        for picture in pixels:
            if picture.shape != (side, side, 3) or picture.dtype != np.uint8:
                raise ValueError(f"a picture must be uint8 [{side}, {side}, 3], not {picture.dtype} {picture.shape}")
        rows = np.empty((len(pixels), self._width), np.float32)
        for start, count, size in plan_batches(len(pixels), self._sizes):
            with self._turn:
                self._lock.acquire()
            try:
                rows[start : start + count] = self._encode(pixels[start : start + count], size)
            finally:
                self._lock.release()
        return rows

    def _encode(self, part: Sequence[Pixels], size: int) -> Matrix:
        try:
            vectors, good = unit_rows(self._pooled(part, size, self._engine))
        except ModelError:
            if self._fallback is None:
                raise
            # The accelerator is out of memory, say: slower is better than not at all.
            vectors = np.full((len(part), self._width), np.nan, np.float32)
            good = np.zeros(len(part), np.bool_)
        for i in range(len(part)):
            if not good[i]:
                # Once more, alone, on the CPU: half precision or a neighbour may have spoilt it.
                vectors[i] = unit_rows(self._pooled(part[i : i + 1], self._sizes[0], self._second_engine()))[0][0]
        return vectors

    def _second_engine(self) -> Engine:
        if self._fallback is None:
            return self._engine
        if self._second is None:
            self._second = self._fallback()
        return self._second

    def _pooled(self, part: Sequence[Pixels], size: int, engine: Engine) -> NDArray[np.float32]:
        """Raw vectors `[len(part), d]`, a sequence already averaged."""
        output = self._forward(part, size, engine)[: len(part)]
        return output.mean(axis=1) if self._pooling == "mean" else output

    def _forward(self, part: Sequence[Pixels], size: int, engine: Engine) -> NDArray[np.float32]:
        """What comes out for *part*, padded to *size*."""
        batch = self._buffer[:size]
        for i, picture in enumerate(part):
            for channel in range(3):
                np.take(self._table[channel], picture[:, :, channel], out=batch[i, channel], mode="clip")
        # Rows left from an earlier batch would colour this one where the graph quantises over the whole batch.
        batch[len(part) :] = batch[0]
        return float32(engine.run(self._ports.output, {self._ports.input: batch}))

    def _probe(self, pooling: str, source: str) -> tuple[str, int]:
        """Pooling and width, seen in what really comes out; a picture alone must equal itself among others."""
        side = self._preprocessing.side
        noise = list(np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8))
        alone = self._forward(noise[:1], self._sizes[0], self._engine)
        found = choose_pooling(pooling, alone.shape, self._ports.output, source)
        if alone.shape[0] != self._sizes[0]:
            raise ModelError(
                f"{source} gives {self._ports.output} {list(alone.shape)} for {self._sizes[0]} picture(s).",
                hint="Export it with the batch as the first axis of input and output.",
            )
        if self._large > 1:
            size = self._ports.batch or 2
            pair = self._forward(noise[::-1], size, self._engine)
            if pair.shape[0] != size or not _agree(alone[0], pair[1]):
                raise ModelError(
                    f"{source} gives a picture another vector when others are in its batch.",
                    hint="Export it with a dynamic batch as the first axis of input and output.",
                )
        return found, int(alone.shape[-1])


def plan_batches(pictures: int, sizes: Sequence[int]) -> list[tuple[int, int, int]]:
    """(start, count, padded size) of each run: whole batches, then the rest together, or one by one if cheaper."""
    small, large = sizes[0], sizes[-1]
    runs: list[tuple[int, int, int]] = []
    start = 0
    while start < pictures:
        rest = pictures - start
        size = small if rest < max(2, large * _SINGLES) else large
        runs.append((start, min(rest, size), size))
        start += size
    return runs


def unit_rows(vectors: NDArray[np.float32]) -> tuple[Matrix, NDArray[np.bool_]]:
    """L2-normalised rows, and which of them are good; a row that is non-finite or zero becomes all NaN."""
    # float64 inside: the squares of a float16 model's largest numbers overflow float32.
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    good = np.isfinite(norms) & (norms > 0)
    divisor = np.where(good, norms, np.nan)
    return (vectors / divisor[:, None]).astype(np.float32), good


def _table(preprocessing: Preprocessing, dtype: str) -> NDArray[np.floating]:
    """`[3, 256]`: what each byte of each channel becomes; exact, and one gather for a whole picture."""
    levels = np.arange(256, dtype=np.float64) * preprocessing.rescale
    mean, std = np.array(preprocessing.mean)[:, None], np.array(preprocessing.std)[:, None]
    table: NDArray[np.floating] = ((levels - mean) / std).astype(dtype)
    return table


def _agree(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    a, b = a.ravel(), b.ravel()
    product = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    # Broken numbers are not this check's business: they are refused row by row.
    return not np.isfinite(product) or product == 0 or float(a @ b) / product >= _ROW_AGREEMENT
