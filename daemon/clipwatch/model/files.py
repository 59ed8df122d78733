"""Which files make up the model at a path.

A folder may hold, in Hugging Face's layout, a vision tower under one of `VISION_NAMES` (the first that exists is taken;
`bundle.json` may name another), a text tower, `tokenizer.json` and `preprocessor_config.json`. A single file has the
same neighbours: those in its folder, and in the folder above where its own is called `onnx`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Final

from clipwatch.errors import ModelError
from clipwatch.model.bundle import Bundle, read_bundle

VISION_NAMES: Final = (
    "clip_vision.onnx",
    "vision_model.onnx",
    "onnx/vision_model.onnx",
    "model.onnx",
    "onnx/model.onnx",
)
TEXT_NAMES: Final = ("clip_text.onnx", "text_model.onnx", "onnx/text_model.onnx")
TOKENIZER_NAME: Final = "tokenizer.json"
PREPROCESSOR_NAMES: Final = ("preprocessor_config.json", "processor_config.json")
BUNDLE_NAME: Final = "bundle.json"


Stamp = tuple[int, int, int, int]


def stamp(file: Path) -> Stamp:
    """Changes when *file* is written to or replaced. Raises OSError."""
    status = os.stat(file)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What was found; only the vision tower must be there."""

    folder: Path
    vision: Path
    text: Path | None
    tokenizer: Path | None
    preprocessor: Path | None
    bundle: Bundle | None
    demonstration: bool
    stamps: Mapping[Path, Stamp] = field(default_factory=dict)
    """Of what is opened at the first question by words only, and must still be what lay there."""

    @property
    def pair_unproven(self) -> bool:
        """Two towers in one folder, and nothing but that says that they belong together."""
        return self.text is not None and self.bundle is None


def demonstration_folder() -> Path:
    """The small model that ships inside the package."""
    return Path(str(resources.files("clipwatch.model"))) / "demonstration"


def locate(path: str, *, explicit_path: bool) -> ModelFiles:
    """The files of the model at *path* (a file or a folder).

    Where nothing is there: the demonstration model, unless *explicit_path* says that a person asked for *path*.
    Raises `ModelError`.
    """
    try:
        return _locate(Path(path), explicit_path)
    except OSError as error:
        raise ModelError(f"The model {path} cannot be looked at: {error.strerror}.") from error


def _locate(named: Path, explicit_path: bool) -> ModelFiles:
    if not named.exists():
        # A link that leads nowhere was put there by someone who meant a model.
        if explicit_path or named.is_symlink():
            raise ModelError(
                f"There is no model at {named}.",
                hint="Get one with `clipwatch model fetch`, or correct model.path.",
            )
        return _folder(demonstration_folder())
    return _folder(named) if named.is_dir() else _file(named)


def _folder(folder: Path) -> ModelFiles:
    bundle = read_bundle(folder / BUNDLE_NAME)
    if bundle is not None:
        vision = folder / bundle.vision_file
        if not vision.is_file():
            raise ModelError(f"{folder / BUNDLE_NAME} names {bundle.vision_file}, which is not there.")
        return _files(folder, vision, bundle)
    found = _first(folder, VISION_NAMES)
    if found is None:
        raise ModelError(
            f"{folder} holds none of {', '.join(VISION_NAMES)}.",
            hint="Get a model with `clipwatch model fetch`, or set model.path to the ONNX file itself.",
        )
    return _files(folder, found, None)


def _file(vision: Path) -> ModelFiles:
    folder = vision.parent
    if folder.name == "onnx" and _first(folder, PREPROCESSOR_NAMES) is None:
        folder = folder.parent
    bundle = read_bundle(folder / BUNDLE_NAME)
    if bundle is not None and (folder / bundle.vision_file).resolve() != vision.resolve():
        bundle = None
    return _files(folder, vision, bundle)


def _files(folder: Path, vision: Path, bundle: Bundle | None) -> ModelFiles:
    text = _first(folder, (bundle.text.file,) if bundle.text else ()) if bundle else _first(folder, TEXT_NAMES)
    tokenizer = _first(folder, (TOKENIZER_NAME,))
    return ModelFiles(
        folder=folder,
        vision=vision,
        text=text,
        tokenizer=tokenizer,
        preprocessor=_first(folder, PREPROCESSOR_NAMES),
        bundle=bundle,
        demonstration=bool(bundle and bundle.demonstration),
        stamps={file: stamp(file) for file in (text, tokenizer) if file is not None},
    )


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)
