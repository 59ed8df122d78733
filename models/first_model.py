"""Have a model before the first run: the one that is there, else CLIP from the hub, else say which one it will be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

GIVE_UP_SECONDS = 10
CARD = "clip-vit-base-patch32"


def main() -> None:
    """Never fails: the demonstration model is always there."""
    if Path("models/clip_vision.onnx").exists():
        return
    print(f"Fetching the model {CARD} once (giving up within {GIVE_UP_SECONDS} s where there is no network) ...")
    command = [sys.executable, "-m", "clipwatch", "model", "fetch", CARD, "--give-up-seconds", str(GIVE_UP_SECONDS)]
    if subprocess.run(command, check=False).returncode != 0:
        print(
            "So it starts on the small demonstration model that ships: it knows drawings, not photographs.\n"
            f"Later: `.venv/bin/clipwatch model fetch {CARD}`, then start again; everything is embedded anew by itself."
        )


if __name__ == "__main__":
    main()
