"""Answers of the collection as it was, while another one is built."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from clipwatch.cli.old_model import Remembered
from clipwatch.config import Config
from clipwatch.errors import CollectionMissing
from clipwatch.mirror.pipeline import Decoder
from clipwatch.model.encoder import VisionEncoder
from clipwatch.records import Preprocessing
from clipwatch.service.answers import Answers, Before
from clipwatch.store.contract import Store
from clipwatch.store.rebuild import Rebuild


class OldAnswers:
    """`Before` for as long as *rebuild* shows the old collection. Loads the old model when a question finds it."""

    def __init__(
        self,
        config: Config,
        *,
        rebuild: Rebuild,
        front: Store,
        target: Store,
        fingerprint: str,
        find: Callable[[], tuple[VisionEncoder, Remembered] | None],
        decoder: Callable[[Preprocessing], Decoder],
    ) -> None:
        self._config, self._rebuild, self._front, self._target = config, rebuild, front, target
        self._fingerprint, self._find, self._decoder = fingerprint, find, decoder
        self._lock = threading.Lock()
        self._answers: Answers | None = None

    def __call__(self) -> Before | None:
        if not self._rebuild.shows_old:
            with self._lock:
                self._answers = None
            return None
        with self._lock:
            # Whoever puts the old model back is answered by it from the next question on.
            answers = self._answers = self._answers or self._load()
        try:
            done = self._target.count(model=self._fingerprint)
        except CollectionMissing:
            done = 0  # Nobody has begun.
        try:
            return Before(done, max(done, self._front.count()), answers)
        except CollectionMissing:
            return None  # The switch has come in between.

    def _load(self) -> Answers | None:
        found = self._find()
        if found is None:
            return None
        encoder, remembered = found
        decoder = self._decoder(encoder.preprocessing)
        text: list[Any] = []

        def rows(texts: Sequence[str]) -> Any:
            if not text:
                from clipwatch.model.text import load_text_encoder

                text.append(load_text_encoder(encoder, remembered.config))
            return text[0].encode(texts)

        return Answers(self._config, store=self._front, encoder=encoder, decoder=lambda: decoder, text=rows)
