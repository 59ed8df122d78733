"""Which names below a folder are looked at."""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass

from clipwatch.config import WatchConfig


@dataclass(frozen=True, slots=True)
class FileRules:
    """A watch table's `extensions`, `ignore` and `recursive`, compiled; names are bytes, `*` and `?` match bytes."""

    endings: tuple[bytes, ...]
    ignored: re.Pattern[bytes] | None
    recursive: bool

    @classmethod
    def from_config(cls, watch: WatchConfig) -> FileRules:
        endings = tuple(b"." + os.fsencode(extension.lstrip(".")).lower() for extension in watch.extensions)
        translated = (fnmatch.translate(os.fsencode(pattern).decode("latin-1")) for pattern in watch.ignore)
        joined = "|".join(translated).encode("latin-1")
        return cls(endings, re.compile(joined) if joined else None, watch.recursive)

    def is_image_name(self, name: bytes) -> bool:
        """Whether the extension is one of ours; case is ignored for ASCII letters."""
        return name.lower().endswith(self.endings)

    def is_ignored(self, name: bytes) -> bool:
        """Whether one name, of a file or a directory, matches an ignore pattern."""
        return self.ignored is not None and self.ignored.match(name) is not None

    def enters(self, directory: bytes) -> bool:
        """Whether files in *directory* (a path below the folder, empty for the folder itself) are looked at."""
        if not directory:
            return True
        return self.recursive and not any(self.is_ignored(name) for name in directory.split(b"/"))

    def admits(self, path: bytes) -> bool:
        """Whether a file at *path* below the folder would be a candidate."""
        directory, _, name = path.rpartition(b"/")
        return self.is_image_name(name) and not self.is_ignored(name) and self.enters(directory)
