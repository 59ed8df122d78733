"""The models that were in use here before, to search an old collection with while a new one is built.

Their places and settings lie in the state directory, in a file that may be lost: then searches wait.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from clipwatch.config import ModelConfig
from clipwatch.errors import ModelError
from clipwatch.model.encoder import VisionEncoder

FILE: Final = "models.json"
MODELS_KEPT: Final = 8

Folder = tuple[tuple[str, int, int, int], ...]
"""What lies beside a model: names, sizes, times and inodes."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """Where a model was found, and how it was used."""

    fingerprint: str
    vision_sha256: str
    config: ModelConfig


def remember(state: Path, encoder: VisionEncoder, config: ModelConfig, logger: Any) -> None:
    """Note the model in use as the latest."""
    settings = {**asdict(config), "path": str(encoder.files.vision.absolute())}
    latest = Remembered(encoder.fingerprint, encoder.vision_sha256, ModelConfig(**settings))
    known = remembered(state)
    models = [latest, *(model for model in known if model.fingerprint != latest.fingerprint)][:MODELS_KEPT]
    if models == known:
        return
    unborn = state / f".{FILE}.part"
    try:
        unborn.write_text(json.dumps({"models": [asdict(model) for model in models]}))
        unborn.replace(state / FILE)
    except OSError as error:
        logger.warning("model.not_remembered", reason=str(error))
        with contextlib.suppress(OSError):
            unborn.unlink(missing_ok=True)


def remembered(state: Path) -> list[Remembered]:
    """The latest first; nothing where the file is absent, torn, or another version's."""
    keys = {field.name for field in fields(ModelConfig)}
    try:
        return [
            Remembered(
                str(entry["fingerprint"]),
                str(entry["vision_sha256"]),
                ModelConfig(**{key: value for key, value in entry["config"].items() if key in keys}),
            )
            for entry in json.loads((state / FILE).read_bytes())["models"]
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []


def find_old(
    state: Path, present: str, points_of: Callable[[str], int], logger: Any, refused: set[Folder]
) -> tuple[VisionEncoder, Remembered] | None:
    """The remembered model, not the *present* fingerprint, that made most of the old points, loaded.

    None where no point is of a model that is remembered, or its file is gone or another one by now. *refused*: model
    folders that were read in vain, to be read again only when something in them has changed.
    """
    counted = [(points_of(model.fingerprint), model) for model in remembered(state) if model.fingerprint != present]
    points, model = max(counted, key=lambda item: item[0], default=(0, None))
    if model is None or not points:
        return None
    folder = _folder(Path(model.config.path).parent)
    if folder in refused:
        return None
    encoder = _loaded(model, logger)
    if encoder is None:
        refused.add(folder)
        return None
    return encoder, model


def _loaded(model: Remembered, logger: Any) -> VisionEncoder | None:
    from clipwatch.model.load import load_encoder
    from clipwatch.model.weights import read_weights

    try:
        if read_weights(Path(model.config.path)).sha256 != model.vision_sha256:
            return None
        encoder = load_encoder(model.config, batch_size=1, logger=logger, explicit_path=True)
    except ModelError as error:
        logger.info("model.old_unusable", reason=error.message)
        return None
    return encoder if encoder.fingerprint == model.fingerprint else None


def _folder(directory: Path) -> Folder:
    try:
        found = [(entry.name, entry.stat()) for entry in os.scandir(directory) if entry.is_file()]
    except OSError:
        return ()
    return tuple(sorted((name, status.st_size, status.st_mtime_ns, status.st_ino) for name, status in found))
