"""Every kind of change at once, the same for the same round."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from support.mirrors import picture, put


def change_everything(folder: Path, round_: int) -> None:
    """New, overwritten, touched, renamed, copied, deleted and spoiled files, all at once."""
    dice = random.Random(round_)
    files = sorted(path for path in folder.iterdir() if path.name != "bad.png")
    for seed in range(10):
        put(folder, f"new-{round_}-{seed}.png", picture(1000 * (round_ + 1) + seed))
    if len(files) < 12:
        return
    overwritten, touched, renamed, copied, deleted, spoiled, *rest = dice.sample(files, len(files))
    put(folder, overwritten.name, picture(1000 * (round_ + 1) + 500))
    os.utime(touched)
    renamed.rename(folder / f"renamed-{round_}.png")
    shutil.copy2(copied, folder / f"copy-{round_}.png")
    for file in (deleted, *rest[12:]):
        file.unlink()
    spoiled.rename(folder / "bad.png")
    put(folder, "bad.png", os.urandom(64))
