"""Have a model before the first run: the one that is there, else CLIP from the hub, else say which one it will be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from clipwatch.config_file import find_file, load
from clipwatch.errors import ConfigError

GIVE_UP_SECONDS = 10
CARD = "clip-vit-base-patch32"


def main() -> None:
    """The demonstration model is always there: nothing fails but for who interrupts."""
    if not wanted():
        return
    print(f"Fetching the model {CARD} once (giving up within {GIVE_UP_SECONDS} s where there is no network) ...")
    command = [sys.executable, "-m", "clipwatch", "model", "fetch", CARD, "--give-up-seconds", str(GIVE_UP_SECONDS)]
    if subprocess.run(command, check=False).returncode != 0:
        print(
            "So it starts on the small demonstration model that ships: it knows emoji-like drawings, not photographs.\n"
            f"Later: `.venv/bin/clipwatch model fetch {CARD}`, then start again; everything is embedded anew by itself."
        )


def wanted() -> bool:
    """Whether the daemon would look for the default model in vain."""
    try:
        loaded = load(find_file(None, os.environ), os.environ)
    except ConfigError:
        return False  # the daemon says what is wrong
    return not loaded.chosen("model.path") and not Path(loaded.config.model.path).exists()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
