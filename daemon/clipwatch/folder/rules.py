"""Which names below a folder are looked at."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import lru_cache

from clipwatch.config import WatchConfig, normal_extension
from clipwatch.folder.ignore import Ignore


@dataclass(frozen=True, slots=True)
class FileRules:
    """A watch table's `extensions`, `ignore` and `recursive`, compiled; names are bytes."""

    extensions: frozenset[bytes]
    """What follows the last dot, in lower case."""
    endings: tuple[bytes, ...]
    """Extensions that hold a dot themselves, with the dot before them."""
    ignore: Ignore
    recursive: bool

    @staticmethod
    def from_config(watch: WatchConfig) -> FileRules:
        """Raises `ConfigError` for an ignore pattern that could never match."""
        return _compiled(watch.extensions, watch.ignore, watch.recursive)

    def is_image_name(self, name: bytes) -> bool:
        """Whether the extension is one of ours; case is ignored for ASCII letters."""
        _, dot, extension = name.rpartition(b".")
        if dot and extension.lower() in self.extensions:
            return True
        return bool(self.endings) and name.lower().endswith(self.endings)

    def ignores_file(self, path: bytes, name: bytes) -> bool:
        """Whether a pattern has the file *path*, which ends with *name*, passed over; its directory is entered."""
        return self.ignore.ignores_file(path, name)

    def ignores_directory(self, path: bytes, name: bytes) -> bool:
        """The same for a directory."""
        return self.ignore.ignores_directory(path, name)

    def enters(self, directory: bytes) -> bool:
        """Whether files in *directory* (a path below the folder, empty for the folder itself) are looked at."""
        return not directory or (self.recursive and not self.ignore.hides(directory))

    def admits(self, path: bytes) -> bool:
        """Whether a file at *path* below the folder would be a candidate."""
        directory, _, name = path.rpartition(b"/")
        return self.is_image_name(name) and not self.ignores_file(path, name) and self.enters(directory)


def rules_digest(watch: WatchConfig) -> str:
    """Equal for settings under which the same files have a point."""
    extensions = sorted({normal_extension(extension) for extension in watch.extensions})
    rules = (extensions, watch.ignore, watch.recursive, watch.follow_symlinks, watch.max_images)
    return hashlib.sha256(json.dumps(rules).encode()).hexdigest()[:32]


@lru_cache(maxsize=64)
def _compiled(extensions: tuple[str, ...], ignore: tuple[str, ...], recursive: bool) -> FileRules:
    normal = [os.fsencode(normal_extension(extension)) for extension in extensions]
    endings = tuple(b"." + extension for extension in normal if b"." in extension)
    return FileRules(frozenset(normal), endings, Ignore.of(ignore), recursive)
