"""Puts a verified bundle into place so that no reader ever takes a part of one for a model."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from clipwatch.errors import LockHeld, ModelError
from clipwatch.model.bundle import Bundle, file_sha256, read_bundle, write_bundle


@contextmanager
def staging_folder(directory: Path, name: str) -> Iterator[Path]:
    """*directory*`/.name`, on the file system of the models and for one process at a time; it stays afterwards."""
    folder = directory / f".{name}"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockHeld(f"Another clipwatch writes into {folder} right now.", hint="Let it finish.") from error
        yield folder
    finally:
        os.close(descriptor)


def install(staged: Mapping[str, Path], directory: Path, bundle: Bundle) -> Path:
    """Move *staged* (final name → file on the same file system) into *directory*; the vision tower's path.

    The vision tower comes last: until it is there nobody takes the folder for a model, and by then `bundle.json`
    names the only one that fits. The hashes of *bundle*, and `files` of its card, are filled in here.
    """
    vision = bundle.vision_file
    try:
        directory.mkdir(parents=True, exist_ok=True)
        described = _described(staged, bundle)
        written = write_bundle(described, staged[vision].parent)
        rest = {name: path for name, path in staged.items() if name != vision}
        for name, path in (*rest.items(), (written.name, written), (vision, staged[vision])):
            _sync(path)
            path.chmod(0o644)
            path.replace(directory / name)
            _sync(directory)
    except OSError as error:
        raise ModelError(
            f"The model cannot be put into {directory}: {error.strerror or error}.",
            hint="Free some space or choose a folder that can be written, and run the same command again.",
        ) from error
    return directory / vision


def installed(directory: Path, name: str) -> dict[str, str] | None:
    """File name → SHA-256 of the bundle *name* in *directory*; None unless it is there, and every file as recorded."""
    try:
        bundle = read_bundle(directory / "bundle.json")
    except ModelError:
        return None
    files = bundle.card.get("files") if bundle is not None and bundle.name == name else None
    if not isinstance(files, dict):
        return None
    for file, sha256 in files.items():
        path = directory / file
        if not path.is_file() or file_sha256(path) != sha256:
            return None
    return files


def _described(staged: Mapping[str, Path], bundle: Bundle) -> Bundle:
    files = {name: file_sha256(path) for name, path in sorted(staged.items())}
    text = replace(bundle.text, sha256=files[bundle.text.file]) if bundle.text else None
    return replace(bundle, vision_sha256=files[bundle.vision_file], text=text, card={**bundle.card, "files": files})


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
